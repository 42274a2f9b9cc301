"""What links do to packets, as it is declared: words, units, profiles, directions, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.support.impairments import WAYS
from tests.topology.helpers import refusal, toml
from wanlab.errors import TopologyError
from wanlab.topology.document import from_document, rebuild
from wanlab.topology.impairment import Bursts, Distribution, Impairment, LinkImpairment, QueueUnit
from wanlab.topology.impairment_text import impairment_table, parse_impairment, plain, rate_text
from wanlab.topology.profiles import PROFILES
from wanlab.topology.topology import Topology

HOST = '[switch.wan]\n[host.alice]\nlink = "wan"\n'


def parse(said: Any) -> LinkImpairment | None:
    return parse_impairment(said, lambda *keys: None, "host 'alice'")


def both(**values: Any) -> LinkImpairment:
    return LinkImpairment(Impairment(**values), Impairment(**values))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"delay": "20ms"}, both(delay_ms=20)),
        ({"delay": "0.1ms"}, both(delay_ms=0.1)),
        ({"delay": "1.5s", "jitter": "500us"}, both(delay_ms=1500, jitter_ms=0.5)),
        (
            {"delay": "20ms", "jitter": "5ms", "distribution": "pareto"},
            both(delay_ms=20, jitter_ms=5, distribution=Distribution.PARETO),
        ),
        ({"loss": "1%"}, both(loss_percent=1)),
        ({"gemodel": {"p": "1%", "r": "25%", "1-h": "90%"}}, both(bursts=Bursts(1, 25, 90, 0))),
        ({"rate": "10mbit"}, both(rate_bps=10_000_000)),
        ({"rate": "1.5Mbit", "queue": 20}, both(rate_bps=1_500_000, queue=20)),
        ({"rate": "1gbit", "queue": "64kb"}, both(rate_bps=10**9, queue=65536, queue_unit=QueueUnit.BYTES)),
        ({"rate": "56kbit", "queue": "2s"}, both(rate_bps=56_000, queue=2000, queue_unit=QueueUnit.MS)),
        (
            {"duplicate": "1%", "corrupt": "0.1%", "delay": "1ms", "reorder": "25%"},
            both(duplicate_percent=1, corrupt_percent=0.1, delay_ms=1, reorder_percent=25),
        ),
        (
            {"loss": "50%", "seed": 7, "hit_arp": True},
            LinkImpairment(
                Impairment(loss_percent=50, seed=7, hit_arp=True), Impairment(loss_percent=50, seed=8, hit_arp=True)
            ),
        ),
        (
            {"delay": "20ms", "up": {"rate": "1mbit"}, "down": {"delay": "30ms"}},
            LinkImpairment(Impairment(20, rate_bps=1_000_000), Impairment(30)),
        ),
        ({"up": {"loss": "5%"}}, LinkImpairment(Impairment(loss_percent=5), None)),
        ("4g", LinkImpairment(PROFILES["4g"].up, PROFILES["4g"].down)),
        (
            {"profile": "4g", "loss": "2%"},
            LinkImpairment(
                replace(PROFILES["4g"].up, loss_percent=2), replace(PROFILES["4g"].down, loss_percent=2)
            ),
        ),
        ({"profile": "wifi-bad", "loss": "2%", "up": {"gemodel": {"p": "1%", "r": "9%"}}}, LinkImpairment(
            replace(PROFILES["wifi-bad"].up, bursts=Bursts(1, 9)),
            replace(PROFILES["wifi-bad"].down, bursts=None, loss_percent=2),
        )),
        ("none", None),
        ({"delay": "0"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_words_and_units_of_tc_are_understood(said: Any, meant: LinkImpairment | None) -> None:
    assert parse(said) == meant
    assert parse(impairment_table(meant)) == meant


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("impairment = '5h'", "3: host 'alice': impairment '5h' is not known; there is none, lan"),
        ("impairment = {loss = '130%'}", "3: host 'alice': impairment: loss 130% is out of range; use 0% to 100%"),
        ("impairment = {rate = '0mbit'}", "3: host 'alice': impairment: rate 0 bit/s is out of range; use 1kbit"),
        ("impairment = {rate = '10mbps'}", "3: host 'alice': rate '10mbps' is ambiguous: tc means bytes by it"),
        ("impairment = {delay = '20'}", "3: host 'alice': delay '20' is not understood; write it like \"20ms\""),
        ("impairment = {delay = '5ms', jitter = '6ms'}", "3: host 'alice': impairment: jitter 6ms is more than the"),
        ("impairment = {loss = '1%', gemodel = {p = '1%', r = '1%'}}", "3: host 'alice': impairment: loss and gemodel"),
        ("impairment = {gemodel = {p = '1%', r = '101%'}}", "3: host 'alice': impairment: r 101% is out of range"),
        ("impairment = {queue = 5}", "3: host 'alice': impairment: a queue without a rate never fills; add a rate"),
        ("impairment = {rate = '1mbit', queue = '5x'}", "3: host 'alice': queue '5x' is not understood; write packets"),
        ("impairment = {reorder = '5%'}", "3: host 'alice': impairment: reorder without a delay"),
        ("impairment = {distribution = 'gauss'}", "3: host 'alice': distribution 'gauss' is not known; there is"),
        ("impairment = {dealy = '5ms'}", "3: unknown key 'dealy' in 'impairment' of host 'alice'; did"),
        ("impairment = {loss = 1}", "3: 'loss' of 'impairment' of host 'alice' must be text, not 1"),
        ("impairment = 5", "3: 'impairment' of host 'alice' must be the name of a profile or a table, not 5"),
        ("[host.alice.impairment]\ndelay = '5ms'\n[host.alice.impairment.up]\nloss = '-1%'", "7: host 'alice': loss"),
        ("[host.alice.impairment.gemodel]\np = '1%'\nr = '1%'\n1-j = '1%'", "7: unknown key '1-j' in 'gemodel' of"),
    ],
)  # fmt: skip
def test_what_no_link_can_be_is_refused_in_its_line(said: str, message: str) -> None:
    text = HOST + said if said.startswith("[") else HOST.replace("link", f"{said}\nlink")
    assert refusal(text).startswith(f"lab.toml:{message}")


def test_a_python_program_is_told_its_own_line() -> None:
    t = Topology("mine")
    wan = t.switch("wan")
    with pytest.raises(TopologyError, match=r"test_impairment.py:\d+: host 'alice': impairment: loss 130% is out of"):
        t.host("alice", wan, impairment={"loss": "130%"})
    with pytest.raises(TopologyError, match="has an interface and no link"):
        t.host("bob", impairment="4g")
    with pytest.raises(TopologyError, match="has no uplink"):
        t.router("r", impairment="4g")


def test_each_end_of_a_link_has_what_it_sends() -> None:
    network = toml(
        """
        [switch.wan]
        [switch.far]
        link = [{switch = "wan", impairment = {up = {delay = "7ms"}, down = {delay = "8ms"}}}]
        [router.home]
        uplink = "wan"
        impairment = {up = {delay = "1ms"}, down = {delay = "2ms"}}
        [router.two]
        uplink = "wan"
        [host.alice]
        link = "home"
        impairment = {up = {delay = "3ms"}, down = {delay = "4ms"}}
        [host.bob]
        link = "two"
        [[host.carol.interface]]
        link = "two"
        impairment = {up = {delay = "5ms"}}
        [[link]]
        ends = ["alice", "home"]
        impairment = {up = {delay = "10ms"}, down = {delay = "11ms"}}
        """
    ).resolve()
    delays = {(i.node, i.name): i.egress.delay_ms for node in network for i in node.interfaces if i.egress is not None}
    assert delays == {
        ("home", "wan"): 1,
        ("wan", "home"): 2,
        ("alice", "eth0"): 3,
        ("home", "lan"): 4,
        ("carol", "eth0"): 5,
        ("far", "wan"): 7,
        ("wan", "far"): 8,
        ("alice", "eth1"): 10,
        ("home", "eth0"): 11,
    }


def test_an_impaired_topology_survives_the_way_to_a_document_and_back() -> None:
    t = Topology("mine")
    wan = t.switch("wan")
    far = t.switch("far")
    t.switch("third").connect(wan, impairment="leo")
    far.connect(wan, impairment={"delay": "80ms", "up": {"seed": 2**63}})
    home = t.router("home", wan, impairment="adsl")
    alice = t.host("alice", home, impairment=Impairment(loss_percent=0.123456789))
    bob = t.host("bob", wan)
    bob.connect(alice, impairment=LinkImpairment(None, Impairment(5.5, 1.25, Distribution.PARETONORMAL)))
    document = json.loads(json.dumps(t.to_document()))
    assert document["router"]["home"]["impairment"] == "adsl"
    for back in (from_document(document), rebuild(document)):
        assert back.resolve() == t.resolve()
        assert back.to_document() == document


@given(up=WAYS, down=WAYS)
def test_any_impairment_survives_words_and_rows(up: Impairment, down: Impairment) -> None:
    link = LinkImpairment(up, down)
    assert parse(json.loads(json.dumps(impairment_table(link)))) == link
    row = [tuple(value) if isinstance(value, list) else value for value in json.loads(json.dumps(up.to_row()))]
    assert Impairment.from_row(tuple(row)) == up


def test_a_queue_is_as_long_as_was_asked_for_beside_what_is_under_way() -> None:
    way = Impairment(100, rate_bps=12_112_000, queue=50)  # a thousand full frames a second
    assert way.limit(1500) == 100 + 50 + 1
    assert replace(way, queue=15_140, queue_unit=QueueUnit.BYTES).limit(1500) == 100 + 10 + 1
    assert replace(way, queue=20, queue_unit=QueueUnit.MS).limit(1500) == 100 + 20 + 1
    assert replace(way, queue=1, queue_unit=QueueUnit.MS, delay_ms=0).limit(9000) == 0 + 1 + 1


def test_nothing_is_dropped_where_no_queue_was_asked_for() -> None:
    for delay in (0.0, 20.0, 600.0):
        for rate in (None, 10**6, 10**9):
            smallest_a_second = min((rate or 10**12) / 8 / 42, 10**6)
            assert Impairment(delay, rate_bps=rate).limit(1500) >= 1000 + delay / 1000 * smallest_a_second


def test_every_profile_has_a_source_and_impairs_both_ways() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert profile.about
        assert len(profile.source) > 20
        assert not profile.up.is_clean
        assert not profile.down.is_clean


def test_the_long_run_of_bursts_is_known() -> None:
    assert Bursts(1, 25, 90).loss_percent == pytest.approx(90 / 26)
    assert Bursts(0, 0).loss_percent == 0
    assert Impairment(bursts=Bursts(0, 50)).is_clean


def test_the_reference_lists_every_profile_with_its_rates() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "file.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.* \| .* \| .*) \|$", page.partition("## Profiles")[2], re.MULTILINE))
    assert list(rows) == list(PROFILES)
    for name, profile in PROFILES.items():
        for way, cell in zip((profile.up, profile.down), rows[name].split(" | ")[1:], strict=True):
            assert f"{plain(way.delay_ms)}ms" in cell
            assert rate_text(way.rate_bps or 0) in cell
