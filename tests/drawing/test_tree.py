"""The drawing of a network: every node is in it, in full once, and it stays legible."""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given

from tests.drawing.networks import networks, patiently
from tests.support.shapes import SHAPES, chain, core, dual_stack, odd, star, switch, two_lans
from wanlab.drawing.tree import draw_tree
from wanlab.topology.network import Kind, Network
from wanlab.topology.topology import Router, Switch, Topology


def drawn(topology: Topology) -> list[str]:
    return draw_tree(topology.resolve()).splitlines()


def bare(line: str) -> str:
    """A line without its branches."""
    return line.lstrip("│├└─ ")


def mentions(drawing: str) -> Counter[str]:
    """How often a node is named at the start of a line or at the end of a cable."""
    places = [bare(line) for line in drawing.splitlines()]
    places += [line.split(" ── ")[1] for line in places if " ── " in line]
    return Counter(place.split(" ")[0] for place in places)


def test_two_lans_are_drawn_as_their_wan_with_what_hangs_below_it() -> None:
    assert drawn(two_lans()) == [
        "wan  switch 172.16.0.0/24",
        "├── home-a  router 172.16.0.1, NAT article",
        "│   └── lan 10.1.0.254/24",
        "│       └── alice  10.1.0.1",
        "├── home-b  router 172.16.0.2, NAT article",
        "│   └── lan 10.2.0.254/24",
        "│       └── bob  10.2.0.1",
        "└── coordinator  172.16.0.100",
    ]


def test_a_cable_is_drawn_as_one_host_below_the_other() -> None:
    assert drawn(SHAPES["cable"]()) == ["alice  172.16.0.1", "└── bob  172.16.0.2"]


def test_hosts_of_a_switch_are_drawn_in_the_order_of_its_ports() -> None:
    assert [bare(line).split()[0] for line in drawn(switch())] == ["wan", "alice", "bob", "coordinator"]


def test_core_routers_are_roots_and_their_cables_are_named_at_both_ends() -> None:
    lines = drawn(core())
    assert [line.split()[0] for line in lines if line[0].isalpha()] == ["r1", "r2", "r3"]
    assert "├── eth1 5.8.0.2/24 ── r2  router eth1 5.8.0.1" in lines
    assert "├── eth1 5.8.0.1/24 ── r1  router eth1 5.8.0.2" in lines


def test_a_switch_with_one_gateway_hangs_below_it_and_one_with_several_holds_them() -> None:
    t = Topology()
    exchange, access = t.switch("exchange"), t.switch("access")
    for name in ("r1", "r2"):
        t.router(name).connect(exchange)
    t.nodes["r1"].connect(access)
    assert [bare(line).split()[0] for line in drawn(t)] == ["exchange", "r1", "eth1", "access", "r2"]


def test_a_router_behind_routers_is_drawn_below_their_lans() -> None:
    depths = {bare(line).split()[0]: (len(line) - len(bare(line))) // 4 for line in drawn(chain())}
    assert [depths[f"r{n}"] for n in (1, 2, 3)] == [0, 2, 4]
    assert depths["h3"] == 6


def test_a_host_with_several_interfaces_is_drawn_at_each_place_by_the_interface_there() -> None:
    lines = [bare(line) for line in drawn(odd())]
    assert "twin  eth0 5.5.5.5" in lines
    assert "twin  slow0 5.6.0.1" in lines


def test_a_trunk_is_drawn_as_a_switch_below_a_switch() -> None:
    lines = drawn(odd())
    assert lines[0] == "upper  switch 5.5.5.0/24, mtu 9000"
    assert lines[1] == "├── lower  switch"


def test_a_host_without_links_is_drawn_as_such() -> None:
    assert drawn(odd())[-1] == "alone  host, no link"


def test_both_families_are_drawn() -> None:
    lines = [bare(line) for line in drawn(dual_stack())]
    assert "laptop  192.168.1.2, 2001:470:2::2" in lines
    assert "lan 192.168.1.1/24, 2001:470:2::1/64" in lines


def test_a_router_says_where_it_differs_from_a_home_router() -> None:
    t = Topology()
    wan = t.switch("wan", "5.5.5.0/24")
    t.router("open", wan, nat="linux", firewall=False)
    t.router("guard", wan, nat="none")
    t.router("plain", wan, nat="none", firewall=False)
    assert [bare(line) for line in drawn(t)[1:]] == [
        "open  router 5.5.5.1, NAT linux, no firewall",
        "guard  router 5.5.5.2, firewall",
        "plain  router 5.5.5.3",
    ]


def test_a_router_with_an_empty_lan_shows_it() -> None:
    t = Topology()
    t.router("r", lan="10.1.0.0/24")
    assert drawn(t) == ["r  router", "└── lan 10.1.0.1/24"]


def test_an_empty_network_is_an_empty_drawing() -> None:
    assert draw_tree(Topology().resolve()) == ""


def test_a_long_run_of_hosts_is_drawn_once_and_counted() -> None:
    assert drawn(star(100)) == [
        "hub  switch 5.5.0.0/16",
        "├── h1  5.5.0.1",
        "├── h2  5.5.0.2",
        "├── h3  5.5.0.3",
        "└── h4 ... h100  (97 hosts) 5.5.0.4 - 5.5.0.100",
    ]


def test_a_short_run_is_drawn_in_full() -> None:
    assert len(drawn(star(8))) == 9


def test_a_host_that_differs_breaks_a_run() -> None:
    t = star(40)
    other = t.switch("other")
    t.nodes["h20"].connect(other)
    lines = [bare(line).split("  ")[0] for line in drawn(t)]
    assert lines[1:9] == ["h1", "h2", "h3", "h4 ... h19", "h20", "h21", "h22", "h23"]
    assert lines[9] == "h24 ... h40"


def homes(size: int) -> Topology:
    t = Topology("homes")
    wan = t.switch("wan", "5.5.0.0/16")
    for n in range(1, size + 1):
        home = t.router(f"home{n}", wan)
        t.host(f"pc{n}", home)
        t.host(f"tv{n}", home)
    return t


def test_homes_that_are_alike_inside_are_counted_together() -> None:
    lines = drawn(homes(100))
    assert len(lines) == 1 + 3 * 4 + 1
    assert lines[-1] == ("└── home4 ... home100  (97 routers) 5.5.0.4 - 5.5.0.100, NAT linux, each like home3")


def test_homes_that_differ_inside_are_not_counted_together() -> None:
    t = homes(20)
    t.host("extra", "home10")
    names = [bare(line) for line in drawn(t)]
    assert any(name.startswith("extra  ") for name in names)
    assert any(name.startswith(("home4 ... home9", "home9  ")) for name in names)


def test_a_deep_network_goes_on_at_the_left_instead_of_leaving_the_page() -> None:
    t = Topology("deep")
    up: Switch | Router = t.switch("wan")
    for n in range(1, 101):
        up = t.router(f"r{n}", up)
    lines = drawn(t)
    assert max(len(line) for line in lines) < 120
    assert sum(line.endswith("(continued below)") for line in lines) == sum(line[0] == "r" for line in lines)


def test_a_thousand_hosts_are_drawn_at_once() -> None:
    network = star(1000).resolve()
    start = time.perf_counter()
    assert len(draw_tree(network).splitlines()) == 5
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("shape", SHAPES)
def test_every_node_of_every_shape_is_drawn(shape: str) -> None:
    network = SHAPES[shape]().resolve()
    assert set(mentions(draw_tree(network))) >= set(network.nodes)


@patiently
@given(networks())
def test_every_node_and_every_address_of_any_network_is_drawn(network: Network) -> None:
    drawing = draw_tree(network)
    words = set(re.split(r"[\s,/]+", drawing))
    for node in network:
        assert node.name in words
        for interface in node.interfaces:
            for address in interface.addresses:
                assert str(address.ip) in words, interface


@patiently
@given(networks())
def test_every_node_of_any_network_is_at_home_in_one_place(network: Network) -> None:
    lines = draw_tree(network).splitlines()
    for switch_ in network.of(Kind.SWITCH):
        ports = sum(interface.master is not None for interface in switch_.interfaces)
        named = mentions("\n".join(lines))[switch_.name]
        assert 1 <= named <= max(ports, 1) + 1


@patiently
@given(networks())
def test_branches_of_any_drawing_join(network: Network) -> None:
    lines = draw_tree(network).splitlines()
    for above, line in pairwise(lines):
        column = len(line) - len(bare(line))
        if column:
            corner = column - 4
            assert len(above) > corner
            assert above[corner] in "│├" or len(above) - len(bare(above)) == corner
