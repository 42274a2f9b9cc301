"""What a router does with IPv6 at its uplink, and whom its firewall lets in: declared, refused, worked out."""

from __future__ import annotations

import json
from ipaddress import IPv6Address, IPv6Network, ip_address

import pytest

from tests.support import shapes
from tests.topology.helpers import refusal, toml
from wanlab.drawing.tree import draw_tree
from wanlab.plan.change import change
from wanlab.plan.steps import AddCable, AddRoute, RemoveRoute
from wanlab.topology.document import from_document
from wanlab.topology.ipv6 import Ipv6, PrefixPair
from wanlab.topology.journey import Atlas, End
from wanlab.topology.kept import Kept
from wanlab.topology.nat import Filtering
from wanlab.topology.topology import Topology

HOME = """
[switch.wan]
subnet = ["5.5.5.0/24", "2001:470:1::/64"]

[host.server]
link = "wan"

[router.home]
uplink = "wan"
lan = ["192.168.1.0/24", "fd00:1::/64"]
{}

[host.laptop]
link = "home"
"""


def test_ipv6_is_routed_where_nothing_is_said() -> None:
    home = toml(HOME.format("")).resolve()["home"]
    assert home.ipv6 is Ipv6.ROUTE
    assert not home.prefixes
    assert not home.translates(6)
    assert home.filtering is None


@pytest.mark.parametrize("ipv6", ["route", "prefix-translation", "masquerade"])
def test_what_becomes_of_ipv6_is_a_key_of_the_router_and_survives_a_document(ipv6: str) -> None:
    topology = toml(HOME.format(f'ipv6 = "{ipv6}"'))
    network = topology.resolve()
    assert network["home"].ipv6 is Ipv6(ipv6)
    assert from_document(json.loads(json.dumps(topology.to_document()))).resolve() == network


@pytest.mark.parametrize("kind", [kind.value for kind in Filtering])
def test_a_firewall_s_filtering_is_named_and_survives_a_document(kind: str) -> None:
    topology = toml(HOME.format(f'firewall = "{kind}"'))
    home = topology.resolve()["home"]
    assert home.firewall
    assert home.filtering is Filtering(kind)
    assert topology.to_document()["router"]["home"]["firewall"] == kind
    assert from_document(topology.to_document()).resolve() == topology.resolve()


def test_a_prefix_is_chosen_the_same_way_each_time_and_passes_over_what_is_in_use() -> None:
    home = toml(HOME.format('ipv6 = "prefix-translation"')).resolve()["home"]
    assert home.prefixes == (PrefixPair(IPv6Network("fd00:1::/64"), IPv6Network("2a00:5:1::/64")),)
    taken = toml(HOME.replace("2001:470:1::/64", "2a00:5:1:9::/64").format('ipv6 = "prefix-translation"')).resolve()
    assert [str(pair.outside) for pair in taken["home"].prefixes] == ["2a00:5:1::/64"]  # another subnet of that /48
    taken = toml(HOME.replace("2001:470:1::/64", "2a00:5:1::/64").format('ipv6 = "prefix-translation"')).resolve()
    assert [str(pair.outside) for pair in taken["home"].prefixes] == ["2a00:5:2::/64"]


def test_a_given_prefix_is_dealt_out_to_the_subnets_inside() -> None:
    office = shapes.prefix_translation().resolve()["office"]
    assert [(str(p.inside), str(p.outside)) for p in office.prefixes] == [("fd00:3::/60", "2001:470:3::/60")]
    t = Topology("two")
    wan = t.switch("wan", "2001:470:1::/64")
    site = t.router(
        "site", wan, lan="fd00:1::/64", ipv6="prefix-translation", ipv6_prefix="2001:470:8::/48", nat="none"
    )
    t.router("inner", site, lan="fd00:20::/60", nat="none")
    assert [(str(p.inside), str(p.outside)) for p in t.resolve()["site"].prefixes] == [
        ("fd00:1::/64", "2001:470:8::/64"),
        ("fd00:20::/60", "2001:470:8:10::/60"),  # the next one that begins where a /60 may
    ]


def test_translation_keeps_the_host_s_bits() -> None:
    pair = PrefixPair(IPv6Network("fd00:1::/64"), IPv6Network("2a00:5:1::/64"))
    assert pair.outwards(IPv6Address("fd00:1::12:34")) == IPv6Address("2a00:5:1::12:34")
    assert pair.inwards(IPv6Address("2a00:5:1::12:34")) == IPv6Address("fd00:1::12:34")
    assert pair.outwards(IPv6Address("fd00:2::1")) is None
    assert pair.outwards(ip_address("10.0.0.1")) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            'ipv6 = "translate"',
            "lab.toml:10: router 'home': ipv6 'translate' is not known; there is masquerade",
        ),
        ('ipv6 = "maskerade"', "lab.toml:10: router 'home': ipv6 'maskerade' is not known; did you mean 'masquerade'?"),
        ("ipv6 = true", "lab.toml:10: 'ipv6' of router 'home' must be text, not true"),
        ('ipv6_prefix = "2a00:5:1::/64"', "lab.toml:10: router 'home': ipv6_prefix '2a00:5:1::/64', and no prefix is"),
        (
            'ipv6 = "prefix-translation"\nipv6_prefix = "10.0.0.0/24"',
            "lab.toml:11: router 'home': ipv6_prefix '10.0.0.0/24' is not IPv6; write it like 2a00:5:1::/48",
        ),
        (
            'ipv6 = "prefix-translation"\nipv6_prefix = "2a00:5:1::1/64"',
            "lab.toml:11: '2a00:5:1::1/64' is an address inside 2a00:5:1::/64, not a subnet",
        ),
        (
            'ipv6 = "prefix-translation"\nipv6_prefix = "2a00:5:1::/80"',
            "lab.toml:7: router 'home': ipv6_prefix 2a00:5:1::/80 has no room for fd00:1::/64; give it a shorter one",
        ),
        (
            'ipv6 = "prefix-translation"\nipv6_prefix = "2001:470::/32"',
            "lab.toml:7: router 'home': ipv6_prefix 2001:470::/32 overlaps switch 'wan' (2001:470:1::/64)",
        ),
        (
            'firewall = "open"',
            "lab.toml:10: router 'home': firewall 'open' is not known; use true, false, or",
        ),
        (
            'ipv6 = "masquerade"\nfirewall = "endpoint-independent"',
            "lab.toml:7: router 'home': firewall 'endpoint-independent' is about what is not hidden by a NAT, and all",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_its_line(keys: str, message: str) -> None:
    assert refusal(HOME.format(keys)).startswith(message)


@pytest.mark.parametrize("ipv6", ["prefix-translation", "masquerade"])
def test_a_router_without_ipv6_has_none_to_translate(ipv6: str) -> None:
    no_outside = HOME.replace(', "2001:470:1::/64"', "").format(f'ipv6 = "{ipv6}"')
    assert refusal(no_outside).startswith(
        f"lab.toml:7: router 'home': ipv6 '{ipv6}', and it has no IPv6 at its uplink; give what it is plugged into one"
    )
    no_inside = HOME.replace(', "fd00:1::/64"', "").format(f'ipv6 = "{ipv6}"')
    assert refusal(no_inside).startswith(f"lab.toml:7: router 'home': ipv6 '{ipv6}', and it has no IPv6 inside")


@pytest.mark.parametrize("nat", ["linux", "home", "carrier"])
def test_a_nat_that_is_asked_for_needs_ipv4_at_the_uplink(nat: str) -> None:
    text = HOME.replace('"5.5.5.0/24", ', "")
    assert refusal(text.format(f'nat = "{nat}"')) == (
        f"lab.toml:8: router 'home': nat '{nat}', and it has no IPv4 at its uplink; give what it is plugged into an "
        'IPv4 subnet, or say nat = "none"'
    )
    for silent in ("", 'nat = "none"'):
        topology = toml(text.format(silent))
        assert from_document(topology.to_document()).resolve() == topology.resolve()


def test_two_routers_cannot_have_one_external_prefix() -> None:
    text = HOME.format('ipv6 = "prefix-translation"\nipv6_prefix = "2a00:9::/64"')
    text += (
        '\n[router.b]\nuplink = "wan"\nlan = "fd00:2::/64"\nipv6 = "prefix-translation"\nipv6_prefix = "2a00:9::/64"'
    )
    assert "ipv6_prefix 2a00:9::/64 overlaps that of router" in refusal(text)


def test_a_way_around_a_prefix_translation_is_refused() -> None:
    t = Topology("around")
    wan = t.switch("wan", "2001:470:1::/64")
    inside = t.switch("inside", "fd00:1::/64")
    t.router("site", wan, ipv6="prefix-translation", nat="none").connect(inside)
    t.router("around", wan, nat="none").connect(inside)
    with pytest.raises(Exception, match="its inside and its uplink are joined by another router"):
        t.resolve()


def test_homes_with_equal_prefixes_may_stand_side_by_side_where_both_translate() -> None:
    text = "overlapping_lans = true\n" + HOME.format('ipv6 = "prefix-translation"')
    text += '\n[router.b]\nuplink = "wan"\nlan = ["192.168.1.0/24", "fd00:1::/64"]\nipv6 = "{}"\n[host.bob]\nlink = "b"'
    network = toml(text.replace("{}", "prefix-translation")).resolve()
    assert [str(p.outside) for r in ("home", "b") for p in network[r].prefixes] == ["2a00:5:1::/64", "2a00:5:2::/64"]
    assert Atlas(network).journey("laptop", ip_address("2a00:5:2::2")).end is End.UNASKED
    assert "overlaps" in refusal(text.replace("{}", "route"))


def test_the_outside_knows_the_external_prefix_and_not_what_is_behind_it() -> None:
    network = shapes.prefix_translation().resolve()
    for outsider in ("server", "isp", "desk", "office"):
        journey = Atlas(network).journey(outsider, ip_address("2a00:5:1::2"))
        assert journey.last == "home"
        assert journey.end is End.UNASKED
        assert Atlas(network).journey(outsider, ip_address("fd00:1::2")).last != "laptop"
    into_the_office = Atlas(network).journey("laptop", ip_address("2001:470:3::2"))
    assert into_the_office.delivered
    assert (into_the_office.last, str(into_the_office.source)) == ("desk", "2a00:5:1::3")


def test_masquerade_hides_all_behind_the_router_s_own_address() -> None:
    network = shapes.ipv6_only().resolve()
    journey = Atlas(network).journey("laptop", network["server"].address)
    assert journey.source == network["hidden"].address
    assert not any(route.destination == IPv6Network("fd00:1::/64") for route in network["server"].routes)


def test_prefixes_are_translated_one_after_the_other() -> None:
    network = shapes.ipv6_only().resolve()
    journey = Atlas(network).journey("camera", network["server"].address)
    assert [step.router for step in journey.translations] == ["flat", "site"]
    inner = network["flat"].outwards(network["camera"].address)
    assert inner is not None
    assert journey.source == network["site"].outwards(inner)


def test_a_drawing_says_what_becomes_of_ipv6_and_how_a_firewall_filters() -> None:
    drawing = draw_tree(shapes.ipv6_only().resolve())
    assert "hidden  router 2001:470:1::1, IPv6 masquerade" in drawing
    assert "guarded  router 2001:470:1::2, firewall endpoint-independent" in drawing
    assert "site  router 2001:470:1::3, IPv6 prefix-translation 2a00:5:2::/64 2a00:5:3::/64" in drawing


def sites(*names: str, given: str | None = None) -> Topology:
    t = Topology("sites")
    wan = t.switch("wan", "2001:470:1::/64")
    for number, name in enumerate(("one", "two", "three"), 1):
        if name in names:
            prefix = given if name == names[0] else None
            lan = f"fd00:{number}::/64"
            site = t.router(name, wan, lan=lan, nat="none", ipv6="prefix-translation", ipv6_prefix=prefix)
            t.host(f"in-{name}", site, address=f"fd00:{number}::5")
    return t


def test_a_lab_that_changes_keeps_the_prefixes_that_were_chosen_for_it() -> None:
    before = sites("one", "two").resolve()
    assert [str(before[name].prefixes[0].outside) for name in ("one", "two")] == ["2a00:5:1::/64", "2a00:5:2::/64"]
    for after in (sites("two"), sites("two", "three"), sites("one", "two", "three")):
        after.kept = Kept.from_json(json.loads(json.dumps(Kept.of(before).to_json())))
        network = after.resolve()
        for node in ("two", "in-two"):
            assert (network[node].interfaces, network[node].prefixes) == (
                before[node].interfaces,
                before[node].prefixes,
            )
        # Only routes to the others come and go: its rules, and what they remember, are not touched.
        touched = {
            type(step) for step in change(before, network) if not isinstance(step, AddCable) and step.node == "two"
        }
        assert touched <= {AddRoute, RemoveRoute}
        others = [each.prefixes[0].outside for each in network if each.prefixes]
        assert len(set(others)) == len(others)


def test_a_prefix_that_was_chosen_gives_way_to_one_that_is_given() -> None:
    before = sites("one", "two").resolve()
    after = sites("one", "two", given="2a00:5:2::/48")
    after.kept = Kept.of(before)
    network = after.resolve()
    assert str(network["one"].prefixes[0].outside) == "2a00:5:2::/64"
    assert not network["two"].prefixes[0].outside.overlaps(network["one"].prefixes[0].outside)
