"""Routes, checked by forwarding packets hop by hop through networks that nothing but their routes leads through."""

from __future__ import annotations

import itertools

import pytest

from tests.topology.helpers import Arrival, check_forwarding, forward, toml
from wanlab.topology.topology import Topology


def mesh(size: int, subnets: list[str] | None = None) -> Topology:
    """Core routers, each cabled to each, each with a host."""
    t = Topology("mesh")
    routers = [t.router(f"r{n}") for n in range(size)]
    for number, (a, b) in enumerate(itertools.combinations(routers, 2)):
        a.connect(b, subnet=[f"172.20.{number}.0/30", f"fd00:20:{number}::/64"] if subnets else None)
    for n, router in enumerate(routers):
        t.host(f"h{n}", router)
    return t


@pytest.mark.parametrize("lab", ["cable", "switch", "two-lans", "star:5", "chain:1", "chain:2", "chain:9"])
def test_everything_in_the_catalogue_that_can_arrive_arrives(lab: str) -> None:
    check_forwarding(Topology.load(lab).resolve())


def test_a_packet_passes_each_router_of_a_chain_once_each_way() -> None:
    network = Topology.load("chain:20").resolve()
    assert forward(network, "alice", network["bob"].address) == Arrival("bob", 20)
    assert forward(network, "bob", network["alice"].address) == Arrival("alice", 20)


def test_nothing_outside_knows_the_way_behind_a_nat() -> None:
    network = Topology.load("two-lans").resolve()
    assert forward(network, "coordinator", "10.1.0.1") is None
    assert forward(network, "bob", "10.1.0.1") is None
    assert forward(network, "alice", "172.16.0.100") == Arrival("coordinator", 1)
    assert network["coordinator"].routes == ()


def test_routers_behind_routers_lead_up_and_know_what_is_below_without_nat() -> None:
    network = toml("""
        [switch.wan]
        [host.server]
        link = "wan"
        [router.isp]
        uplink = "wan"
        nat = "none"
        [router.home]
        uplink = "isp"
        [router.cellar]
        uplink = "home"
        nat = "none"
        [host.cat]
        link = "cellar"
        [host.dog]
        link = "home"
    """).resolve()
    check_forwarding(network)
    assert forward(network, "cat", network["server"].address) == Arrival("server", 3)
    assert forward(network, "dog", network["cat"].address) == Arrival("cat", 1)
    assert forward(network, "server", network["home"].address) == Arrival("home", 1)
    assert forward(network, "server", network["cat"].address) is None


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_mesh_of_core_routers_takes_the_straight_way(size: int) -> None:
    network = mesh(size).resolve()
    check_forwarding(network)
    for a, b in itertools.permutations(range(size), 2):
        assert forward(network, f"h{a}", network[f"h{b}"].address) == Arrival(f"h{b}", 2)


def test_a_ring_of_core_routers_goes_the_shorter_way_round() -> None:
    t = Topology("ring")
    routers = [t.router(f"r{n}") for n in range(7)]
    for a, b in zip(routers, routers[1:] + routers[:1], strict=True):
        a.connect(b)
    for n, router in enumerate(routers):
        t.host(f"h{n}", router)
    network = t.resolve()
    check_forwarding(network)
    assert forward(network, "h0", network["h5"].address) == Arrival("h5", 3)


def test_with_two_gateways_each_destination_goes_by_the_one_that_leads_to_it() -> None:
    network = toml("""
        [switch.office]
        [switch.lab]
        [switch.wan]
        [router.inner]
        [[router.inner.interface]]
        link = "office"
        [[router.inner.interface]]
        link = "lab"
        [router.gate]
        uplink = "wan"
        [[router.gate.interface]]
        link = "office"
        [host.desk]
        link = "office"
        [host.bench]
        link = "lab"
        [host.server]
        link = "wan"
    """).resolve()
    check_forwarding(network)
    assert forward(network, "desk", network["bench"].address) == Arrival("bench", 1)
    assert forward(network, "desk", network["server"].address) == Arrival("server", 1)
    assert forward(network, "bench", network["server"].address) == Arrival("server", 2)


def test_a_host_with_two_uplinks_prefers_the_first_in_both_families() -> None:
    network = toml("""
        [switch.wan]
        subnet = ["5.5.5.0/24", "fd00::/64"]
        [router.home]
        uplink = "wan"
        lan = ["10.1.0.0/24", "fd00:1::/64"]
        [router.phone]
        uplink = "wan"
        lan = ["10.2.0.0/24", "fd00:2::/64"]
        [host.laptop]
        [[host.laptop.interface]]
        link = "home"
        [[host.laptop.interface]]
        link = "phone"
    """).resolve()
    check_forwarding(network)
    defaults = [r for r in network["laptop"].routes if r.is_default]
    assert [(r.destination.version, r.interface, r.metric) for r in defaults if r.destination.version == 4] == [
        (4, "eth0", 0),
        (4, "eth1", 100),
    ]
    # An IPv6 route of metric 0 gets 1024 from the kernel: the second choice must be above that.
    first, second = [r for r in defaults if r.destination.version == 6]
    assert (first.interface, first.metric) == ("eth0", 0)
    assert (second.interface, second.metric > 1024) == ("eth1", True)


def test_a_family_that_a_short_way_lacks_takes_the_long_way() -> None:
    t = Topology("mixed")
    for name, subnet in {
        "near": ["10.1.0.0/24", "fd00:1::/64"],
        "short": ["10.2.0.0/24"],
        "long": ["10.3.0.0/24", "fd00:3::/64"],
        "longer": ["10.4.0.0/24", "fd00:4::/64"],
        "far": ["10.5.0.0/24", "fd00:5::/64"],
    }.items():
        t.switch(name, subnet)
    for router, ends in {
        "a": "near short",
        "b": "short far",
        "c": "near long",
        "d": "long longer",
        "e": "longer far",
    }.items():
        node = t.router(router)
        for switch in ends.split():
            node.connect(switch)
    t.host("x", "near")
    t.host("y", "far")
    network = t.resolve()
    check_forwarding(network)
    assert forward(network, "x", network["y"].address) == Arrival("y", 2)
    assert forward(network, "x", network["y"].interfaces[0].addresses[1].ip) == Arrival("y", 3)


def test_a_dual_stack_mesh_forwards_both_families() -> None:
    t = mesh(4, subnets=["both"])
    for n in range(4):
        router = t.nodes[f"r{n}"]
        t.switch(f"s{n}", [f"10.{n}.0.0/24", f"fd00:{n}::/64"])
        router.connect(f"s{n}")
        t.host(f"d{n}", f"s{n}")
    network = t.resolve()
    check_forwarding(network)
    target = next(a.ip for a in network["d3"].interfaces[0].addresses if a.version == 6)
    assert forward(network, "d0", target) == Arrival("d3", 2)


def test_a_router_with_a_host_on_a_cable_is_the_host_s_gateway() -> None:
    network = toml("""
        [switch.wan]
        [host.server]
        link = "wan"
        [router.r]
        uplink = "wan"
        [host.a]
        [[link]]
        ends = ["a", "r"]
    """).resolve()
    check_forwarding(network)
    assert forward(network, "a", network["server"].address) == Arrival("server", 1)
    assert network["a"].routes[0].is_default
