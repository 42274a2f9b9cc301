"""The ready labs."""

from __future__ import annotations

import pytest

from tests.topology.helpers import address
from wanlab.errors import TopologyError
from wanlab.topology import catalogue
from wanlab.topology.files import load
from wanlab.topology.nat import ARTICLE
from wanlab.topology.network import Kind


@pytest.mark.parametrize("name", [*catalogue.names(), "star:1", "star:1023", "homes:250", "chain:1", "chain:63"])
def test_every_lab_loads_and_says_what_it_is(name: str) -> None:
    network = load(name).resolve()
    assert network.name == name.replace(":", "-")
    assert network.title == catalogue.about(name)
    assert catalogue.text(name).startswith("# ")
    assert max(len(line) for line in catalogue.text(name).splitlines()) <= 120


def test_two_lans_is_the_article_s_lab() -> None:
    network = load("two-lans").resolve()
    assert {n.name: n.kind.value for n in network} == {
        "wan": "switch",
        "home-a": "router",
        "home-b": "router",
        "coordinator": "host",
        "alice": "host",
        "bob": "host",
    }
    assert [str(s) for s in network.segments["wan"].subnets] == ["172.16.0.0/24"]
    assert address(network, "coordinator") == "172.16.0.100/24"
    assert address(network, "home-a", "wan") == "172.16.0.1/24"
    assert address(network, "home-a", "lan") == "10.1.0.254/24"
    assert address(network, "alice") == "10.1.0.1/24"
    assert address(network, "home-b", "wan") == "172.16.0.2/24"
    assert address(network, "home-b", "lan") == "10.2.0.254/24"
    assert address(network, "bob") == "10.2.0.1/24"
    assert all(router.nat == ARTICLE and router.firewall for router in network.of(Kind.ROUTER))
    assert [(str(r.destination), str(r.via)) for r in network["alice"].routes] == [("0.0.0.0/0", "10.1.0.254")]


def test_cable_is_the_article_s_first_stage() -> None:
    network = load("cable").resolve()
    assert [n.name for n in network] == ["ns1", "ns2"]
    assert (address(network, "ns1"), address(network, "ns2")) == ("172.16.0.1/24", "172.16.0.2/24")
    assert len(network.links) == 1


def test_switch_is_the_article_s_second_stage() -> None:
    network = load("switch").resolve()
    assert {n.name: str(n.address) for n in network.of(Kind.HOST)} == {
        "ns1": "172.16.0.1",
        "ns2": "172.16.0.100",
        "ns3": "172.16.0.2",
    }
    assert len(network.of(Kind.SWITCH)) == 1


@pytest.mark.parametrize(("name", "hosts"), [("star", 4), ("star:1", 1), ("star:100", 100)])
def test_a_star_has_as_many_hosts_as_asked_for(name: str, hosts: int) -> None:
    assert len(load(name).resolve().of(Kind.HOST)) == hosts


@pytest.mark.parametrize(("name", "routers"), [("chain", 3), ("chain:1", 1), ("chain:30", 30)])
def test_a_chain_has_as_many_routers_as_asked_for_which_only_forward(name: str, routers: int) -> None:
    network = load(name).resolve()
    assert len(network.of(Kind.ROUTER)) == routers
    assert not any(router.nat or router.firewall for router in network.of(Kind.ROUTER))
    assert [host.name for host in network.of(Kind.HOST)] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("lab", "message"),
    [
        ("two-lan", "no lab 'two-lan' in the catalogue and no such file; did you mean 'two-lans'?"),
        ("starr:5", "no lab 'starr:5' in the catalogue and no such file; did you mean 'star'?"),
        (
            "",
            "no lab '' in the catalogue and no such file; there is cable, carrier, chain, double-nat, dual-stack, "
            "homes, ipv6-only, roaming, star, switch, two-continents, two-lans",
        ),
        ("star:0", "'0' is no size for lab 'star'; use a whole number, like star:10"),
        ("star:x", "'x' is no size for lab 'star'"),
        ("star:", "'' is no size for lab 'star'"),
        ("star:-1", "'-1' is no size for lab 'star'"),
        ("star:٣", "'٣' is no size for lab 'star'"),
        ("star:99999999999999999999", "is no size for lab 'star'"),
        ("star:100000", "star:100000 is too large: a switch has 1023 ports"),
        ("star:5000", "star-5000.toml:5: switch 'hub' has 5000 ports; a Linux bridge has 1023 at most"),
        ("chain:64", "chain:64 is too large: a packet starts with 64 hops to live"),
        ("two-lans:3", "lab 'two-lans' takes no size; labs with a size: homes, star, chain"),
    ],
)
def test_a_lab_that_the_catalogue_has_not_is_refused(lab: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(lab).resolve()
    assert message in str(caught.value)


def test_the_text_of_a_lab_that_is_not_there_is_refused() -> None:
    with pytest.raises(TopologyError, match="no lab 'nope' in the catalogue"):
        catalogue.text("nope")
