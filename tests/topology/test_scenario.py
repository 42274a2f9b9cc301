"""Scenarios: when their events happen, how files write them, and what is wrong with those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from wanlab import Event, Scenario, Topology, TopologyError
from wanlab.plan.rehearsal import rehearse
from wanlab.topology.edits import Become, Change, Link, NewAddress, Plug
from wanlab.topology.files import read
from wanlab.topology.network import LinkState
from wanlab.topology.scenario import Reboot, Redial, Say
from wanlab.topology.scenario_file import load_scenario, write_events

DOWN = Link(("alice",), LinkState.DOWN)
UP = Link(("alice",), LinkState.UP)

FILE = """\
title = "an evening"
[[event]]
at = "2s"
flap = "alice"
every = "500ms"
times = 3
[[event]]
at = 1
ladder = { node = "home-a", key = "nat", values = ["full", "symmetric"] }
every = "1min"
[[event]]
at = "0.5s"
do = [{ say = "now" }, { reboot = "home-b", off = "200ms" }, { plug = "bob", into = "home-a", address = "10.1.0.9" }]
every = 0.25
[[event]]
at = "3s"
unplug = ["alice", "home-a:wan"]
[[event]]
at = "1h"
apply = "two-lans"
[[event]]
at = "2h"
new_address = "home-a"
[[event]]
at = "2h"
redial = "alice"
address = "10.1.0.7"
off = "1s"
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "evening.toml"
    file.write_text(text)
    return file


def test_a_lab_that_a_scenario_becomes_is_looked_for_beside_it(tmp_path: Path) -> None:
    (tmp_path / "next.toml").write_text("[host.a]\n")
    file = tmp_path / "scenario.toml"
    file.write_text('[[event]]\nat = 0\napply = "next.toml"\n[[event]]\nat = 1\napply = "two-lans"\n')
    becomes = [event.actions[0] for event in load_scenario(file).events]
    assert becomes == [Become(str(tmp_path / "next.toml")), Become("two-lans")]


def test_a_file_says_what_happens_and_when(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, FILE))
    assert scenario.title == "an evening"
    assert [(cue.at_s, cue.action, cue.event) for cue in scenario.cues()] == [
        (0.5, Say("now"), 3),
        (0.75, Reboot("home-b", 0.2), 3),
        (1.0, Change({"home-a": {"nat": "full"}}), 2),
        (1.0, Plug("bob", "home-a", "10.1.0.9"), 3),
        (2.0, DOWN, 1),
        (2.5, UP, 1),
        (3.0, DOWN, 1),
        (3.0, Link(("alice", "home-a:wan"), LinkState.UNPLUGGED), 4),
        (61.0, Change({"home-a": {"nat": "symmetric"}}), 2),
        (3600.0, Become("two-lans"), 5),
        (7200.0, NewAddress("home-a"), 6),
        (7200.0, Redial("alice", "10.1.0.7", 1.0), 7),
    ]


def test_a_lab_file_has_a_timeline_that_is_written_down_with_it(tmp_path: Path) -> None:
    lab = '[switch.wan]\n[router.home-a]\nuplink = "wan"\n[router.home-b]\nuplink = "wan"\n'
    lab += '[host.alice]\nlink = "home-a"\n[host.bob]\nlink = "home-b"\n'
    topology = read(lab + FILE.partition("\n")[2], "lab.toml", "toml")
    assert len(topology.events) == 7
    again = Topology.load(written(tmp_path, lab))
    again.events = topology.events
    assert again.to_document()["event"] == write_events(topology.events) == topology.to_document()["event"]
    assert load_scenario(written(tmp_path, lab + FILE.partition("\n")[2])).events == topology.events


def test_what_is_played_again_follows_what_was_played() -> None:
    scenario = Scenario((Event(1, (DOWN,)), Event(2, (UP,))), repeat=3, length_s=5)
    assert [cue.at_s for cue in scenario.cues()] == [1, 2, 6, 7, 11, 12]
    assert [cue.at_s for cue in Scenario((Event(1, (DOWN, UP), every_s=1),), repeat=2).cues()] == [1, 2, 3, 4]


def test_a_rehearsal_knows_each_topology_on_the_way() -> None:
    topology = Topology.load("two-lans")
    scenario = Scenario((Event(0, (Plug("alice", "home-b"), Plug("alice", "home-a")), every_s=1),))
    (_, there), (_, back) = rehearse(scenario, topology, topology.resolve())
    assert there is not None
    assert back is not None
    assert str(there.network["alice"].address).startswith("10.2.0.")
    assert str(back.network["alice"].address).startswith("10.1.0.")
    assert there.steps
    assert back.old is there.topology


@pytest.mark.parametrize(
    ("event", "line", "said"),
    [
        ('at = "-1s"\ndown = "alice"', 2, "at = '-1s': a time before the beginning"),
        ('at = -1\ndown = "alice"', 2, "a time before the beginning"),
        ('at = "soon"\ndown = "alice"', 2, "at = 'soon': no time; write it like 5s, 500ms or 2min"),
        ('down = "alice"', 1, "event 1 has no key 'at'"),
        ('at = "1s"', 1, "an event says nothing that happens; give it one of down, up"),
        ('at = "1s"\ndown = "alice"\nup = "bob"', 1, "an event says several things: down, up"),
        ('at = "1s"\ndonw = "alice"', 3, "unknown key 'donw' in event 1; did you mean 'down'?"),
        ('at = "1s"\ndown = "alice"\noff = "1s"', 4, "'off' goes with 'reboot' or 'redial', not with 'down'"),
        ('at = "1s"\ndown = "alice"\ntimes = 3', 2, "event 3 times at once; say how often, by 'every'"),
        ('at = "1s"\ndown = "alice"\ntimes = 0', 2, "event 0 times"),
        ('at = "1s"\nflap = "alice"\nevery = 0', 2, "event every 0 s"),
        ('at = "1s"\ndo = []', 3, "'do' of event 1 is empty"),
        ('at = "1s"\nladder = { node = "a", key = "nat" }', 3, "has no key 'values'"),
        ('at = true\ndown = "alice"', 2, "'at' of event 1 must be a time, not true"),
    ],
)
def test_what_is_no_event_is_told_with_its_line(tmp_path: Path, event: str, line: int, said: str) -> None:
    with pytest.raises(TopologyError) as raised:
        load_scenario(written(tmp_path, f"[[event]]\n{event}\n"))
    assert said in str(raised.value)
    assert raised.value.where is not None
    assert raised.value.where.line == line


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ('plug = "alice"\ninto = "nowhere"', "event 2, at 2 s (alice: plugged in at nowhere): no node 'nowhere'"),
        ('reboot = "hom-a"', "event 2, at 2 s (hom-a: reboots): no node 'hom-a'"),
        ('change.home-a.nat = "simetric"', "event 2, at 2 s (home-a: nat = simetric): router 'home-a'"),
        ('change.home-a.natt = "home"', "unknown key 'natt'"),
        ('down = "wan"', "switch 'wan' has 3 links"),
        ('apply = "no-such-lab"', "no lab 'no-such-lab' in the catalogue"),
    ],
)
def test_an_event_that_cannot_be_is_named_with_its_line(tmp_path: Path, action: str, said: str) -> None:
    text = f'[[event]]\nat = 1\ndown = "alice"\n[[event]]\nat = 2\n{action}\n'
    topology = Topology.load("two-lans")
    with pytest.raises(TopologyError) as raised:
        rehearse(load_scenario(written(tmp_path, text)), topology, topology.resolve())
    assert said in str(raised.value)
    assert str(raised.value.where).endswith("evening.toml:5")
