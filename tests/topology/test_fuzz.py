"""Random files and random networks: the loader only ever refuses, and what resolves is sound."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.topology.helpers import check_forwarding
from wanlab.errors import TopologyError
from wanlab.topology import catalogue
from wanlab.topology.document import from_document, rebuild
from wanlab.topology.files import read
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.lines import lines_of_toml
from wanlab.topology.nat import Filtering
from wanlab.topology.network import Network
from wanlab.topology.topology import Router, Switch, Topology

MIXED = """\
title = "x" # [host.no]
[switch.wan]
subnet = ["172.16.0.0/24", "fd00::/64"]
mtu = 9000
[switch.b]
link = "wan"
[router.inner]
uplink = "home"
[router.home]
uplink = "wan"
address = "172.16.0.1"
lan = '10.1.0.254/24'
nat = "article"
firewall = true
[[router.home.interface]]
link = "office"
[switch.office]
[host.alice]
link = "home"
address = "10.1.0.1"
interface = "wlan0"
[host.laptop]
[[host.laptop.interface]]
link = "inner"
mtu = 1400
[[host.laptop.interface]]
link = "b"
name = "eth1"
[[link]]
ends = ["alice", {node = "laptop", name = "x", address = "10.9.0.1/24"}]
subnet = "10.9.0.0/24"
"""

MIXED_YAML = """\
title: "x"
switch:
  wan: {subnet: [172.16.0.0/24, "fd00::/64"], mtu: 1500}
  office:
router:
  home:
    uplink: wan
    lan: 10.1.0.254/24
    nat: article
    interface:
      - link: office
host:
  alice: {link: home, address: 10.1.0.1}
  bob:
    interface: [{link: office, name: up}]
link:
  - ends: [alice, {node: bob}]
"""

FUZZ = settings(deadline=None)  # the first example pays for importing pydantic

TEXTS = {
    "toml": [MIXED, *(catalogue.text(name) for name in catalogue.names())],
    "yaml": [MIXED_YAML],
}


def resolved_or_refused(make: Callable[[], Topology]) -> tuple[Topology, Network] | TopologyError:
    try:
        topology = make()
        return topology, topology.resolve()
    except TopologyError as error:
        return error


def only_refuses(make: Callable[[], Topology]) -> None:
    """Nothing but a TopologyError of one line comes out; what is taken survives the way to a document and back."""
    attempt = resolved_or_refused(make)
    if isinstance(attempt, TopologyError):
        assert "\n" not in str(attempt)
        str(attempt).encode()  # raises for lone surrogates, which cannot be printed
        return
    topology, network = attempt
    document = json.loads(json.dumps(topology.to_document()))
    assert from_document(document).resolve() == rebuild(document).resolve() == network
    check_soundness(network)


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["toml", "yaml"])
@given(text=st.text(max_size=200) | st.text("[]{}:=.,\"'\n #-&*!|>?%@\\host0", max_size=60))
@settings(FUZZ)
def test_any_text_is_a_lab_or_refused(format: str, text: str) -> None:
    only_refuses(lambda: read(text, f"lab.{format}", format))


@st.composite
def mutated(draw: st.DrawFn, format: str) -> str:
    """A good file with a few mistakes in it."""
    text = draw(st.sampled_from(TEXTS[format]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        match draw(st.integers(0, 4)):
            case 0:  # lose some
                text = text[:start] + text[start + draw(st.integers(1, 9)) :]
            case 1:  # write some
                text = text[:start] + draw(st.text(max_size=6)) + text[start:]
            case 2:  # write something that means something
                text = text[:start] + draw(st.sampled_from(SIGNS)) + text[start:]
            case 3:  # lose, double or move a line
                lines = text.splitlines(keepends=True) or [""]
                line = draw(st.integers(0, len(lines) - 1))
                moved = lines.pop(line) if draw(st.booleans()) else lines[line]
                lines.insert(draw(st.integers(0, len(lines))), moved)
                text = "".join(lines)
            case _:  # say something else, well written
                words = draw(st.permutations(WORDS))
                text = text.replace(words[0], words[1], 1)
    return text


SIGNS = ["[", "]", "{", "}", "=", ":", '"', "'", "\n", ",", ".", "-", "0", "/24", "#", '"""', "true"]
WORDS = [
    *("wan", "home", "alice", "laptop", "office", "inner", "b", "172.16.0.1", "10.1.0.1", "172.16.0.0/24"),
    *("10.1.0.254/24", "fd00::/64", "10.9.0.1/24", "10.9.0.0/24", "article", "none", "link", "uplink", "address"),
    *("host", "router", "switch", "lan", "name", "9000", "1400", "true"),
]


@pytest.mark.parametrize("format", ["toml", "yaml"])
@given(data=st.data())
@settings(FUZZ, max_examples=300)
def test_a_good_file_with_mistakes_in_it_is_a_lab_or_refused(format: str, data: st.DataObject) -> None:
    text = data.draw(mutated(format))
    only_refuses(lambda: read(text, f"lab.{format}", format))


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every path of a file's data."""
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from paths(inner, (*path, key))


@given(mutated("toml"))
@settings(FUZZ, max_examples=300)
def test_every_path_of_whatever_is_toml_has_a_line(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except ValueError:
        return
    lines = lines_of_toml(text)
    last = text.replace("\r\n", "\n").count("\n") + 1
    for path in paths(data):
        line = lines.of(path)
        assert line is not None
        assert 1 <= line <= last
        assert path in lines._known  # its own line, not that of what is around it


# -- trees -----------------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=8)
    | st.sampled_from(
        ["a", "b", "wan", "10.0.0.1", "10.0.0.0/24", "10.0.0.9/24", "fd00::/64", "fd00::1", "linux", "none"]
    )
)
KEYS = st.sampled_from(
    [
        *("switch", "router", "host", "link", "name", "title", "overlapping_lans", "interface", "ends", "node"),
        *("address", "subnet", "mtu", "uplink", "lan", "nat", "firewall", "ipv6", "ipv6_prefix", "a", "b", "wan"),
    ]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
@settings(FUZZ, max_examples=300)
def test_any_tree_is_a_lab_or_refused(tree: Any) -> None:
    only_refuses(lambda: from_document(tree))


NAMES = st.sampled_from(["a", "b", "c", "d"])
ADDRESS = st.sampled_from(
    ["10.0.0.1", "10.0.0.2", "10.0.0.1/24", "10.0.1.1/24", "10.0.0.0", "fd00::1", "fd00::2/64", "10.0.0.255", "x"]
)
ADDRESSES = ADDRESS | st.lists(ADDRESS, max_size=2)
SUBNET = st.sampled_from(["10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/30", "fd00::/64", "10.0.0.0/8", "10.0.0.254/24"])
SUBNETS = SUBNET | st.lists(SUBNET, max_size=2)
MTU = st.sampled_from([1500, 1400, 9000, 0, 68])
INTERFACE_NAME = st.sampled_from(["eth0", "eth1", "wan", "lan", "lo", "a"])


def table(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required or {}, optional=optional)


FILTERINGS = [kind.value for kind in Filtering]
IPV6 = [kind.value for kind in Ipv6]
TIME = st.sampled_from(["20ms", "0.5s", "100us", "0", "70s", "5", "-1ms"])
PERCENT = st.sampled_from(["1%", "0.1%", "100%", "101%", "0%", "1"])
DIRECTION: dict[str, Any] = {
    "delay": TIME,
    "jitter": TIME,
    "distribution": st.sampled_from(["uniform", "normal", "pareto", "gauss"]),
    "loss": PERCENT,
    "gemodel": table({"p": PERCENT, "r": PERCENT}, **{"1-h": PERCENT, "1-k": PERCENT}),
    "rate": st.sampled_from(["10mbit", "1gbit", "0.5kbit", "10mbps", "0mbit"]),
    "queue": st.sampled_from([100, 0, "50ms", "64kb", "x"]),
    "duplicate": PERCENT,
    "corrupt": PERCENT,
    "reorder": PERCENT,
    "seed": st.integers(-1, 9),
    "hit_arp": st.booleans(),
}
PROFILE = st.sampled_from(["none", "4g", "wifi-bad", "5h"])
IMPAIRMENT = PROFILE | table(profile=PROFILE, up=table(**DIRECTION), down=table(**DIRECTION), **DIRECTION)
INTERFACES = st.lists(
    table({"link": NAMES}, name=INTERFACE_NAME, address=ADDRESSES, mtu=MTU, impairment=IMPAIRMENT), max_size=2
)
SWITCH_LINK = NAMES | table({"switch": NAMES}, impairment=IMPAIRMENT)
SHAPED = table(
    name=NAMES,
    overlapping_lans=st.booleans(),
    switch=st.dictionaries(
        NAMES, table(subnet=SUBNETS, mtu=MTU, link=SWITCH_LINK | st.lists(SWITCH_LINK, max_size=2)), max_size=2
    ),
    router=st.dictionaries(
        NAMES,
        table(
            uplink=NAMES,
            address=ADDRESSES,
            lan=SUBNETS,
            nat=st.sampled_from(["linux", "article", "none"]),
            firewall=st.booleans() | st.sampled_from([*FILTERINGS, "x"]),
            ipv6=st.sampled_from([*IPV6, "x"]),
            ipv6_prefix=st.sampled_from(["2a00:5:1::/64", "fd00::/64", "fd00::/127", "10.0.0.0/24"]),
            mtu=MTU,
            impairment=IMPAIRMENT,
            interface=INTERFACES,
        ),
        max_size=3,
    ),
    host=st.dictionaries(
        NAMES,
        table(link=NAMES, address=ADDRESSES, mtu=MTU, impairment=IMPAIRMENT, interface=INTERFACE_NAME | INTERFACES),
        max_size=3,
    ),
    link=st.lists(
        table(
            {
                "ends": st.lists(
                    NAMES | table({"node": NAMES}, name=INTERFACE_NAME, address=ADDRESSES), min_size=2, max_size=2
                )
            },
            subnet=SUBNETS,
            mtu=MTU,
            impairment=IMPAIRMENT,
        ),
        max_size=2,
    ),
)


@given(SHAPED)
@settings(FUZZ, max_examples=500)
def test_anything_of_the_right_shape_is_a_lab_or_refused(tree: dict[str, Any]) -> None:
    only_refuses(lambda: from_document(tree))


# -- networks --------------------------------------------------------------------------------------------------------


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Good topologies of every kind of wiring: trunks, routers behind routers, core routers, cables."""
    t = Topology("random", overlapping_lans=draw(st.booleans()))
    dual = draw(st.booleans())
    translating = dual and draw(st.booleans())  # then every segment has IPv6, and trees only: no way around a router
    asked_for = ["linux", "article"] if translating or not dual else []  # a NAT that is asked for needs IPv4
    number = itertools.count(1)

    def subnets() -> list[str] | None:
        n = next(number)
        if translating or draw(st.booleans()):
            return [f"172.{16 + n // 200}.{n % 200}.0/24", *([f"fd00:{n}::/64"] if dual else [])]
        return [f"fd00:{n}::/64"] if dual and draw(st.booleans()) else None

    switches = [t.switch("s0", subnets())]
    above: list[Switch | Router] = [switches[0]]
    for n in range(draw(st.integers(0, 5))):
        if not translating and draw(st.integers(0, 3)) == 0:
            core = t.router(f"c{n}", lan=subnets())
            for other in draw(st.lists(st.sampled_from(above), unique=True, max_size=2)):
                core.connect(other, subnet=subnets() if isinstance(other, Router) else None)
            above.append(core)
            continue
        router = t.router(
            f"r{n}",
            draw(st.sampled_from(above)),
            nat=draw(st.sampled_from(["none", None, *asked_for])),
            firewall=draw(st.booleans()),
            ipv6=draw(st.sampled_from(IPV6)) if translating else None,
            lan=subnets(),
        )
        above.append(router)
        if draw(st.booleans()):
            inside = t.switch(f"s{n + 1}", subnets())
            router.connect(inside)
            switches.append(inside)
            above.append(inside)
            if draw(st.booleans()):
                t.switch(f"t{n}").connect(inside)
    hosts = [t.host(f"h{n}") for n in range(draw(st.integers(1, 5)))]
    for n, host in enumerate(hosts):
        for place in draw(st.lists(st.sampled_from(above), unique=True, max_size=2)):
            host.connect(place)
        if n and draw(st.integers(0, 3)) == 0:
            host.connect(draw(st.sampled_from(hosts[:n])), subnet=subnets())
    return t


def check_soundness(network: Network) -> None:
    """What every network keeps to, whatever was declared."""
    for segment in network.segments.values():
        members = network.peers(segment.name)
        seen = [(a.ip, a.network) for i in members for a in i.addresses]
        assert len({ip for ip, _ in seen}) == len(seen)
        for ip, subnet in seen:
            assert subnet in segment.subnets
            if subnet.prefixlen < subnet.max_prefixlen - 1:
                assert ip != subnet.network_address
                assert ip.version == 6 or ip != subnet.broadcast_address
        for interface in members:  # in each of the segment's subnets
            assert {a.network for a in interface.addresses} == set(segment.subnets)
    for node in network:
        names = [i.name for i in node.interfaces]
        assert len(set(names)) == len(names)
        assert all(len(name) <= 15 for name in names)
        attached = {i.segment for i in node.interfaces if i.addresses}
        for one, two in itertools.combinations(attached, 2):
            for a, b in itertools.product(network.segments[one].subnets, network.segments[two].subnets):
                assert not a.overlaps(b)
        for route in node.routes:
            out = node.interface(route.interface)
            assert any(route.via in a.network for a in out.addresses)
            assert any(route.via == a.ip for i in network.peers(out.segment) for a in i.addresses if i is not out)
    ends = [end for link in network.links for end in (link.a, link.b)]
    assert len(set(ends)) == len(ends)
    assert set(ends) == {(i.node, i.name) for node in network for i in node.interfaces if not i.bridge}


@given(topologies())
@settings(FUZZ, max_examples=200)
def test_whatever_resolves_is_sound_and_forwards_and_survives_a_document(topology: Topology) -> None:
    network = topology.resolve()
    assert topology.resolve() == network
    check_soundness(network)
    subnets = [subnet for segment in network.segments.values() for subnet in segment.subnets]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(subnets, 2))
    document = json.loads(json.dumps(topology.to_document()))
    assert from_document(document).resolve() == rebuild(document).resolve() == network
    check_forwarding(network)
