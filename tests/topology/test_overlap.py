"""Which segments may share a subnet."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.compliance.requirement import requirement
from tests.topology.helpers import check_forwarding, refusal, toml
from wanlab.topology.pools import SubnetPool
from wanlab.topology.topology import Topology

HOMES = """\
overlapping_lans = {allowed}
[switch.wan]
subnet = "5.5.5.0/24"
[router.home-a]
uplink = "wan"
lan = "{a}"
[router.home-b]
uplink = "wan"
lan = "{b}"
[host.alice]
link = "home-a"
[host.bob]
link = "home-b"
"""


def homes(a: str, b: str, allowed: bool = False) -> str:
    return HOMES.format(a=a, b=b, allowed=str(allowed).lower())


@pytest.mark.parametrize(
    ("a", "b"), [("10.1.0.0/24", "10.1.0.0/24"), ("10.1.0.0/24", "10.0.0.0/8"), ("10.0.0.0/8", "10.1.0.254/24")]
)
def test_lans_that_overlap_are_refused_at_the_later_one_naming_the_earlier(a: str, b: str) -> None:
    message = refusal(homes(a, b))
    assert message.startswith("lab.toml:7: the lan of 'home-b': ")
    assert "overlaps the lan of 'home-a' (lab.toml:4)" in message
    assert message.endswith("give one of them another subnet, or say overlapping_lans = true")


def test_homes_behind_different_nats_may_use_one_subnet_where_the_lab_says_so() -> None:
    network = toml(homes("192.168.1.0/24", "192.168.1.0/24", allowed=True)).resolve()
    assert str(network["alice"].address) == str(network["bob"].address) == "192.168.1.2"
    check_forwarding(network)


@requirement("RFC 4787 REQ-7")
def test_a_lan_never_overlaps_the_wan_above_it() -> None:
    message = refusal(homes("5.5.5.0/24", "10.1.0.0/24", allowed=True))
    assert "overlaps" in message
    assert "overlapping_lans" not in message


def test_a_home_behind_a_home_never_shares_its_subnet() -> None:
    message = refusal("""
        overlapping_lans = true
        [switch.wan]
        [router.outer]
        uplink = "wan"
        lan = "192.168.1.0/24"
        [router.inner]
        uplink = "outer"
        lan = "192.168.1.0/24"
    """)
    assert message.startswith("lab.toml:6: the lan of 'inner': 192.168.1.0/24 overlaps the lan of 'outer' (lab.toml:3)")


def test_lans_behind_routers_without_nat_never_share_a_subnet() -> None:
    text = homes("192.168.1.0/24", "192.168.1.0/24", allowed=True)
    for times in (1, 2):  # bob, behind the NAT that is left, would take alice for a neighbour
        assert "overlaps" in refusal(text.replace('uplink = "wan"', 'uplink = "wan"\nnat = "none"', times))


def test_everything_inside_a_home_may_overlap_another_home() -> None:
    network = toml("""
        overlapping_lans = true
        [switch.wan]
        [router.home-a]
        uplink = "wan"
        lan = "10.1.0.0/24"
        [router.cellar-a]
        uplink = "home-a"
        nat = "none"
        lan = "10.2.0.0/24"
        [router.home-b]
        uplink = "wan"
        lan = "10.1.0.0/24"
        [router.cellar-b]
        uplink = "home-b"
        nat = "none"
        lan = "10.2.0.0/24"
        [host.a]
        link = "cellar-a"
        [host.b]
        link = "cellar-b"
    """).resolve()
    assert network["a"].address == network["b"].address
    check_forwarding(network)


def test_a_host_in_two_homes_cannot_tell_equal_subnets_apart() -> None:
    text = homes("192.168.1.0/24", "192.168.1.0/24", allowed=True)
    text += '[host.both]\n[[host.both.interface]]\nlink = "home-a"\n[[host.both.interface]]\nlink = "home-b"\n'
    assert "overlaps the lan of 'home-a'" in refusal(text)


def test_a_chosen_subnet_keeps_clear_of_one_that_others_lie_within() -> None:
    pool = SubnetPool([ip_network("10.0.0.0/9"), ip_network("10.1.0.0/24"), ip_network("10.128.0.0/16")])
    assert str(pool.take(public=False, interfaces=2)) == "10.129.0.0/24"


def test_a_chosen_lan_keeps_clear_of_overlapping_ones() -> None:
    t = Topology("mine", overlapping_lans=True)
    t.switch("wan")
    t.router("a", "wan", lan="10.0.0.0/9")
    t.router("b", "wan", lan="10.1.0.0/24")
    t.host("x")
    t.host("y").connect("x")
    (subnet,) = t.resolve().segments["y--x"].subnets
    assert not subnet.overlaps(ip_network("10.0.0.0/9"))
