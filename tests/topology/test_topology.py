"""Declaring a topology in Python: what is refused at once, and where the error says it is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from wanlab.errors import TopologyError
from wanlab.topology.nat import Nat
from wanlab.topology.topology import Topology


@pytest.fixture
def lab() -> Topology:
    t = Topology("mine")
    t.switch("wan", "5.5.5.0/24")
    t.router("home", "wan", lan="192.168.1.0/24")
    t.host("laptop", "home")
    return t


def test_the_lab_of_the_readme_resolves() -> None:
    t = Topology("mine")
    wan = t.switch("wan", "5.5.5.0/24")
    server = t.host("server", wan)
    home = t.router("home", wan, lan="192.168.1.0/24", nat="linux")
    laptop = t.host("laptop", home)
    laptop.connect(wan)
    network = t.resolve()
    assert str(network[server.name].address) == "5.5.5.2"
    assert str(network["home"].address) == "5.5.5.1"
    assert [i.name for i in network["laptop"].interfaces] == ["eth0", "eth1"]
    assert [str(i.address) for i in network["laptop"].interfaces] == ["192.168.1.2", "5.5.5.3"]


def test_importing_wanlab_and_resolving_a_topology_imports_neither_pydantic_nor_yaml() -> None:
    code = (
        "import sys, wanlab; t = wanlab.Topology('x'); t.host('a', t.switch('s')); t.resolve();"
        "from wanlab.topology.document import rebuild; rebuild(t.to_document()).resolve();"
        "print([m for m in ('pydantic', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_names_the_line_of_the_program_that_declared_it() -> None:
    t = Topology("mine")
    with pytest.raises(TopologyError, match=r"^test_topology\.py:\d+: no node 'wam'"):
        t.host("a", "wam")


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "a_b", "a.b", "a b", "ä", "a" * 64, "localhost", "LocalHost", "ip6-localhost", "1", "0x7f", "a\n"],
)
def test_a_name_that_is_no_hostname_is_refused(name: str) -> None:
    with pytest.raises(TopologyError, match=r"is no hostname|cannot be a node"):
        Topology("mine").switch(name)


@pytest.mark.parametrize("name", ["a", "A-1", "a" * 63, "1a", "home-a", "dead-beef"])
def test_a_hostname_is_taken(name: str) -> None:
    Topology("mine").host(name)


def test_two_nodes_whose_names_differ_in_case_only_are_refused(lab: Topology) -> None:
    with pytest.raises(
        TopologyError, match=r"switch 'Laptop': there is a host 'laptop' already \(test_topology.py:\d+\)"
    ):
        lab.switch("Laptop")


@pytest.mark.parametrize("name", ["lo", "all", "default", "br", "eth 0", "a/b", "", "-x", "a" * 16])
def test_an_interface_name_that_linux_or_ip_would_not_take_is_refused(lab: Topology, name: str) -> None:
    with pytest.raises(TopologyError, match="cannot name an interface"):
        lab.host("x", "wan", interface=name) if name else lab.nodes["laptop"].connect("wan", name=name)


def test_a_misspelt_node_is_refused_with_a_suggestion(lab: Topology) -> None:
    with pytest.raises(TopologyError, match="no node 'hom'; did you mean 'home'"):
        lab.host("x", "hom")


def test_a_node_of_another_topology_is_refused(lab: Topology) -> None:
    other = Topology("other").switch("wan")
    with pytest.raises(TopologyError, match="no node 'wan'"):
        lab.host("x", other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.host("x", "wan", address="10.1.0.300"), "'10.1.0.300' is no IP address"),
        (lambda t: t.host("x", "wan", address="fe80::1%eth0"), "is no IP address"),
        (lambda t: t.host("x", "wan", address="127.0.0.1"), "127.0.0.0/8 means the machine itself"),
        (lambda t: t.host("x", "wan", address="10.0.0.1/0"), "of no use in a lab"),
        (lambda t: t.host("x", "wan", address="224.0.0.1"), "means multicast"),
        (lambda t: t.host("x", "wan", address="::1"), "means the machine itself"),
        (lambda t: t.host("x", "wan", address="fe80::1/64"), "means one link only"),
        (lambda t: t.host("x", "wan", mtu=67), "mtu 67 is out of range"),
        (lambda t: t.host("x", "wan", mtu=65536), "mtu 65536 is out of range"),
        (lambda t: t.host("x", address="10.0.0.1"), "host 'x' has an interface and no link"),
        (lambda t: t.switch("x", "10.0.0.1/24"), "an address inside 10.0.0.0/24, not a subnet"),
        (lambda t: t.switch("x", "ten"), "'ten' is no subnet"),
        (lambda t: t.switch("x", ["10.0.0.0/24", "10.1.0.0/24"]), "two IPv4 subnets on one segment"),
        (lambda t: t.switch("x", "10.0.0.0/32"), "no room for two interfaces"),
        (lambda t: t.switch("x", "0.0.0.0/0"), "of no use in a lab"),
        (lambda t: t.router("x", "laptop"), "its uplink 'laptop' is a host"),
        (lambda t: t.router("x", "x"), "router 'x' is its own uplink"),
        (lambda t: t.router("x", nat="linux"), "has no uplink"),
        (lambda t: t.router("x", firewall=True), "has no uplink"),
        (lambda t: t.router("x", mtu=1400), "has no uplink"),
        (lambda t: t.router("x", "wan", nat="cone"), "router 'x': nat 'cone' is not known"),
        (lambda t: t.router("x", "wan", nat="linus"), "did you mean 'linux'"),
        (lambda t: t.router("x", "wan", nat=""), "router 'x': nat '' is not known"),
        (lambda t: t.router("x", "wan", nat=5), "router 'x': nat 5 is no NAT; name one, or give a dictionary or a Nat"),
        (lambda t: t.router("x", "wan", nat=["home"]), "router 'x': nat ['home'] is no NAT"),
        (lambda t: t.router("x", "wan", nat={5: 5}), "router 'x': nat: unknown key 5"),
        (lambda t: t.router("x", "wan", nat={"limit": "5"}), "limit must be a whole number or None, not '5'"),
        (lambda t: t.router("x", "wan", nat={"udp_ports": 53}), "udp_ports must be whole numbers in a tuple or None"),
        (lambda t: t.router("x", "wan", nat={"tcp_ports": ["53"]}), "tcp_ports must be whole numbers in a tuple"),
        (lambda t: t.router("x", "wan", nat={"mapping": 5}), "nat: mapping 5 is not known"),
        (lambda t: t.router("x", "wan", nat={"parity": 1}), "parity must be True or False, not 1"),
        (lambda t: t.router("x", "wan", lan="10.1.0.254"), "write the LAN's subnet"),
        (lambda t: t.router("x", "wan", lan="lan"), "write the LAN's subnet"),
        (lambda t: t.nodes["home"].plug_in("wan"), "router 'home' has an uplink already: 'wan'"),
        (lambda t: t.nodes["laptop"].connect("laptop"), "cannot be linked to itself"),
        (lambda t: t.nodes["laptop"].connect("wan", subnet="10.0.0.0/24"), "are for cables"),
        (lambda t: t.nodes["laptop"].connect("wan", peer_name="x"), "are for cables"),
        (lambda t: t.nodes["wan"].connect("laptop"), "cannot be plugged into host 'laptop'"),
        (
            lambda t: t.nodes["wan"].connect(t.switch("x"), address="5.5.5.9"),
            "ports have no name, address or mtu",
        ),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_declared(lab: Topology, call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(TopologyError) as caught:
        call(lab)
    assert message in str(caught.value)
    assert str(caught.value).startswith("test_topology.py:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"mapping": "endpoint-independent"},
            "nat 'custom': mapping must be of Mapping, not 'endpoint-independent'; take one of Mapping's, or give a "
            "dictionary in place of a Nat",
        ),
        ({"udp_timeout_s": 1.5}, "nat 'custom': udp_timeout_s must be a whole number, not 1.5"),
        ({"udp_timeout_s": True}, "nat 'custom': udp_timeout_s must be a whole number, not True"),
        ({"udp_ports": [53]}, "nat 'custom': udp_ports must be whole numbers in a tuple or None, not [53]"),
        ({"overloading": "no"}, "nat 'custom': overloading must be True or False, not 'no'"),
        ({"name": 5}, "nat 5: name must be text, not 5"),
    ],
)
def test_a_nat_whose_fields_are_of_other_kinds_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        Nat(**said)
    assert str(caught.value) == message


def test_a_router_with_an_uplink_translates_and_guards_unless_told_otherwise() -> None:
    t = Topology("mine")
    t.switch("wan")
    assert (t.router("a", "wan").nat, t.nodes["a"].firewall) == (t.router("b", "wan", nat="linux").nat, True)  # type: ignore[union-attr]
    plain = t.router("c", "wan", nat="none", firewall=False)
    assert (plain.nat, plain.firewall) == (None, False)
    core = t.router("d")
    assert (core.nat, core.firewall) == (None, False)
