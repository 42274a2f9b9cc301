"""The shape of a lab file: what is refused in which words, and the way back from a topology to a file."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from tests.topology.helpers import refusal, toml
from wanlab.errors import TopologyError
from wanlab.topology.document import from_document, rebuild
from wanlab.topology.nat import ARTICLE, Filtering, Hairpin, Nat, Ports
from wanlab.topology.topology import Topology

BASE = '[switch.wan]\n[router.home]\nuplink = "wan"\n[host.alice]\nlink = "home"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + 'adress = "10.1.0.1"', "lab.toml:6: unknown key 'adress' in host 'alice'; did you mean 'address'?"),
        ("hosts = 1", "lab.toml:1: unknown key 'hosts' in the lab; did you mean 'host'?"),
        ("[swich.wan]", "lab.toml:1: unknown key 'swich' in the lab; did you mean 'switch'?"),
        ("[switch.wan]\n\nzzz = 1", "lab.toml:3: unknown key 'zzz' in switch 'wan'; there is link, mtu, subnet"),
        ("[router.r]\nfirewal = true", "lab.toml:2: unknown key 'firewal' in router 'r'; did you mean 'firewall'?"),
        (
            '[[link]]\nend = ["a", "b"]\nends = ["a", "b"]',
            "lab.toml:2: unknown key 'end' in link 1; did you mean 'ends'?",
        ),
        (
            '[[link]]\nends = [\n  "a",\n  {nod = "b", node = "b"},\n]',
            "lab.toml:4: unknown key 'nod' in end 2 of link 1; did you mean 'node'?",
        ),
        (
            "[host.a]\n[[host.a.interface]]\nlink = 'x'\n[[host.a.interface]]\nlink = 'y'\nnam = 'z'",
            "lab.toml:6: unknown key 'nam' in interface 2 of host 'a'; did you mean 'name'?",
        ),
        (BASE + 'mtu = "1500"', "lab.toml:6: 'mtu' of host 'alice' must be a whole number, not '1500'"),
        (BASE + "mtu = true", "lab.toml:6: 'mtu' of host 'alice' must be a whole number, not true"),
        (BASE + "mtu = 1500.0", "lab.toml:6: 'mtu' of host 'alice' must be a whole number, not 1500.0"),
        (BASE + "address = 10", "lab.toml:6: 'address' of host 'alice' must be text or a list of texts, not 10"),
        (BASE + 'address = [\n"10.1.0.1",\n5]', "lab.toml:8: entry 2 of 'address' of host 'alice' must be text, not 5"),
        (
            "[router.r]\nfirewall = 'yes'",
            "lab.toml:2: router 'r': firewall 'yes' is not known; use true, false",
        ),
        ("host = 5", "lab.toml:1: 'host' must be a table, not 5"),
        ("[host]\nalice = 5", "lab.toml:2: host 'alice' must be a table, not 5"),
        ("link = 5", "lab.toml:1: 'link' must be a list, not 5"),
        ("[host.a]\ninterface = 5", "lab.toml:2: 'interface' of host 'a' must be text or tables, not 5"),
        ("[[link]]\nsubnet = '10.0.0.0/24'", "lab.toml:1: link 1 has no key 'ends'; add it"),
        ("[[link]]\nends = ['a']", "lab.toml:2: 'ends' of link 1 must be two, not 1; a cable has two ends"),
        ("[[link]]\nends = ['a', 'b', 'c']", "lab.toml:2: 'ends' of link 1 must be two, not 3; a cable has two ends"),
        ("[[link]]\nends = ['a', 5]", "lab.toml:2: end 2 of link 1 must be a node's name or a table, not 5"),
        ("[[link]]\nends = ['a', {}]", "lab.toml:2: end 2 of link 1 has no key 'node'; add it"),
        ("[host.a]\n[[host.a.interface]]\nname = 'x'", "lab.toml:2: interface 1 of host 'a' has no key 'link'; add it"),
        ("title = 1979-05-27", "lab.toml:1: 'title' must be text, not datetime.date(1979, 5, 27)"),
        ("title = 'a'\nname = 'a_b'", "lab.toml:2: 'a_b' is no hostname; use letters"),
        ('title = "a\\nb"', "lab.toml:1: the title is not one line of text"),
        ("name = 'x'\n[host.a_b]", "lab.toml:2: 'a_b' is no hostname"),
        ("[host.A]\n[switch.a]", "lab.toml:1: host 'A': there is a switch 'a' already (lab.toml:2)"),
        (BASE + "address = '10.0.0'", "lab.toml:6: '10.0.0' is no IP address"),
        (BASE + "mtu = 5", "lab.toml:6: mtu 5 is out of range; use 68 to 65535 bytes"),
        (BASE + "interface = 'eth 0'", "lab.toml:6: 'eth 0' cannot name an interface"),
        (
            "[switch.a]\nsubnet = '10.0.0.1/24'",
            "lab.toml:2: '10.0.0.1/24' is an address inside 10.0.0.0/24, not a subnet",
        ),
        ("[host.a]\nlink = 'hom'\n[router.home]", "lab.toml:2: no node 'hom'; did you mean 'home'?"),
        ("[router.a]\nuplink = 'wam'\n[switch.wan]", "lab.toml:2: no node 'wam'; did you mean 'wan'?"),
        ("[router.a]\nuplink = 'a'", "lab.toml:2: router 'a' is its own uplink"),
        ("[router.a]\nnat = 'linux'", "lab.toml:1: router 'a' has no uplink"),
        ("[router.a]\nlan = '10.0.0.1'", "lab.toml:2: router 'a': lan '10.0.0.1' is no subnet"),
        (
            "[switch.s]\n[router.a]\nuplink = 's'\nnat = 'articel'",
            "lab.toml:4: router 'a': nat 'articel' is not known; did you mean 'article'?",
        ),
        ("[host.a]\naddress = '10.0.0.1'", "lab.toml:2: host 'a' has an address and no link; say what it is linked to"),
        ("[host.a]\ninterface = 'x'", "lab.toml:2: host 'a' has an interface and no link"),
        ("[host.a]\nmtu = 1400", "lab.toml:2: host 'a' has an mtu and no link"),
        (
            "[host.a]\n[host.b]\nlink = 'a'",
            "lab.toml:3: host 'b': a link to host 'a' is a cable; write it as a [[link]]",
        ),
        ("[host.a]\nlink = 'a'", "lab.toml:2: host 'a' cannot be linked to itself"),
        ("[switch.a]\nlink = 'a'", "lab.toml:2: switch 'a' cannot be linked to itself"),
        ("[switch.a]\nlink = 'b'\n[host.b]", "lab.toml:2: switch 'a': 'b' is a host"),
        ("[switch.a]\n[host.b]\n[[link]]\nends = ['a', 'b']", "lab.toml:4: link 1: 'a' is a switch"),
        ("[host.b]\n[[link]]\nends = ['b', 'c']", "lab.toml:3: no node 'c'; there is b"),
        ("[host.b]\n[[link]]\nends = ['b', 'b']", "lab.toml:2: host 'b' cannot be linked to itself"),
    ],
)
def test_a_file_that_makes_no_lab_is_refused_in_its_line(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_the_first_mistake_of_a_file_is_told() -> None:
    assert refusal("[host.a]\nx = 1\n[switch.b]\ny = 1\n[host.c]\nz = 1").startswith("lab.toml:2: unknown key 'x'")
    assert refusal("[host.a]\n[switch.b]\ny = 1\n[host.c]\nmtu = 'z'").startswith("lab.toml:3: unknown key 'y'")


def test_a_long_value_is_cut_in_an_error() -> None:
    message = refusal(f"[host.a]\nmtu = '{'x' * 5000}'")
    assert len(message) < 160


@pytest.mark.parametrize("data", [None, 5, "text", [], [1], {"host": {"a": [{}]}}, {"link": {"a": {}}}])
def test_data_that_is_no_lab_is_refused(data: object) -> None:
    with pytest.raises(TopologyError, match="must be"):
        from_document(data)


def test_a_lab_without_a_name_is_called_after_its_file() -> None:
    assert toml("[host.a]", "some/where/mine.toml").name == "mine"
    assert toml("[host.a]", "my_lab v2.toml").name == "my-lab-v2"
    assert toml("[host.a]", "???.toml").name == "lab"
    assert toml("name = 'other'\n[host.a]", "mine.toml").name == "other"


# -- back to a document ----------------------------------------------------------------------------------------------

EVERYTHING = """
    name = "all"
    title = "Everything a file can say"
    overlapping_lans = true
    [switch.wan]
    subnet = ["5.5.5.0/24", "fd00::/64"]
    mtu = 9000
    link = "spare"
    [switch.spare]
    [switch.office]
    [router.late]
    uplink = "early"
    address = "10.1.0.77"
    lan = ["10.2.0.254/24", "fd00:2::/64"]
    nat = "none"
    firewall = false
    mtu = 1400
    [router.early]
    uplink = "wan"
    lan = "10.1.0.0/24"
    nat = "article"
    [[router.early.interface]]
    link = "office"
    name = "office"
    address = "10.3.0.9/24"
    mtu = 1300
    [router.core]
    [host.alice]
    link = "late"
    address = ["10.2.0.1", "fd00:2::9"]
    interface = "wlan0"
    mtu = 1500
    [host.laptop]
    [[host.laptop.interface]]
    link = "early"
    [[host.laptop.interface]]
    link = "office"
    name = "dock"
    [host.n]
    [host.m]
    link = "wan"
    [[link]]
    ends = ["n", {node = "m", name = "x", address = ["192.168.9.1/24"]}]
    mtu = 1600
    [[link]]
    ends = ["core", "early"]
    subnet = "192.168.10.0/30"
    [[link]]
    ends = ["n", "core"]
"""


def test_a_topology_survives_the_way_to_a_document_and_back() -> None:
    t = toml(EVERYTHING)
    document = json.loads(json.dumps(t.to_document()))
    for back in (from_document(document), rebuild(document)):
        assert back.resolve() == t.resolve()
        assert list(back.resolve().nodes) == list(t.resolve().nodes)
        assert back.to_document() == document
        assert (back.title, back.overlapping_lans) == (t.title, True)


def test_a_document_holds_only_what_was_said() -> None:
    text = 'name = "x"\n[switch.s]\n[router.r]\nuplink = "s"\n[host.a]\nlink = "r"\n'
    assert toml(text).to_document() == {
        "name": "x",
        "switch": {"s": {}},
        "router": {"r": {"uplink": "s"}},
        "host": {"a": {"link": "r"}},
    }


def test_links_made_in_any_order_in_python_survive() -> None:
    t = Topology("mine")
    a, b = t.host("a"), t.host("b")
    b.connect(a, subnet="10.9.0.0/24", peer_name="x", peer_address="10.9.0.7", address="10.9.0.8", mtu=1400)
    s = t.switch("s")
    a.connect(s)
    a.connect(b)
    b.connect(s, name="up")
    r = t.router("r")
    r.plug_in(s, nat="none")
    r.connect(a)
    back = from_document(t.to_document())
    assert back.resolve() == t.resolve()
    assert [i.name for i in back.resolve()["a"].interfaces] == ["eth0", "x", "eth1", "eth2"]
    assert back.resolve()["a"].interface("x").addresses == (ip_interface("10.9.0.7/24"),)


@pytest.mark.parametrize(
    "nat",
    [
        replace(ARTICLE, name="mine", udp_timeout_s=5),
        Nat("mine", filtering=Filtering.ENDPOINT_INDEPENDENT, hairpin=Hairpin.INTERNAL, udp_ports=(53, 443)),
        Nat("mine", ports=Ports.RANDOM, block=64, parity=False, addresses=3, limit=9),
    ],
)
def test_a_nat_of_ones_own_survives_the_document(nat: Nat) -> None:
    t = Topology("mine")
    t.router("r", t.switch("s"), nat=nat)
    assert rebuild(t.to_document()).resolve()["r"].nat == nat
    assert from_document(t.to_document()).resolve()["r"].nat == nat
