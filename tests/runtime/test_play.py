"""Scenarios played in labs, with packets on their way meanwhile."""

from __future__ import annotations

import itertools
import os
import re
import threading
from pathlib import Path

import pytest

from tests.impairment.conftest import refusal
from tests.support.labs import eventually, pair
from tests.support.traffic import Traffic
from wanlab import Event, Lab, Recording, Scenario, Topology, TopologyError, UsageError
from wanlab.recording.run_directory import record_run
from wanlab.runtime.play import Happened
from wanlab.topology.edits import Change, Link, Plug
from wanlab.topology.network import LinkState
from wanlab.topology.scenario import Reboot, Say

DOWN = Link(("left",), LinkState.DOWN)
UP = Link(("left",), LinkState.UP)


def test_a_link_flaps_under_traffic_at_the_times_that_were_asked_for() -> None:
    flap = Scenario((Event(0.5, (DOWN, UP), every_s=0.5, times=6),))
    with Lab(pair()) as lab, Traffic(lab, "left", "right") as traffic:
        assert traffic.passes()
        happened = lab.play(flap)
        assert [each.cue.at_s for each in happened] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
        assert all(each.late_s >= 0 for each in happened)
        # What one event is late by is no delay of the next: their times are counted from the beginning.
        began = [each.time - each.late_s - each.cue.at_s for each in happened]
        assert max(began) - min(began) < 0.05
        assert traffic.passes()
        assert lab.verify().ok
    arrived = [number for number, _ in traffic.arrived]
    gaps = [after - before for before, after in itertools.pairwise(arrived)]
    assert sum(gap > 10 for gap in gaps) >= 3, "three breaks of half a second, at a packet every few milliseconds"


def test_a_ladder_makes_a_link_worse_step_by_step_and_good_again() -> None:
    """Each rung is measured by packets while it lasts: what they take, and that none gets through on the last."""
    if refusal("wire"):
        pytest.skip(refusal("wire"))
    rungs = [{"delay": "20ms"}, {"delay": "60ms"}, {"loss": "100%"}, "none"]
    ladder = Event(0.0, tuple(Change({"left": {"impairment": rung}}) for rung in rungs), every_s=1.0)
    with Lab(pair(), impairment="wire") as lab:
        measured: list[list[float]] = [[] for _ in rungs]
        with lab.start_play(Scenario((ladder,))) as playing:
            while playing.goes_on or not measured[-1]:
                now = len(playing.happened)
                took = round_trip_s(lab)
                if took is not None and now and now == len(playing.happened):  # it all was on one rung
                    measured[now - 1].append(took)
        slow, slower, lost, good = measured
        assert min(slow) >= 0.0398
        assert min(slow) < 0.1
        assert min(slower) >= 0.1198
        assert lost == []
        assert min(good) < 0.02
        assert lab.verify().ok


def round_trip_s(lab: Lab) -> float | None:
    """How long a packet takes from left to right and back; None where it does not come within 0.3 s."""
    told = lab["left"].run(["ping", "-c1", "-W0.3", "right"], capture_output=True, text=True).stdout
    found = re.search(r"time=([\d.]+) ms", told)
    return float(found[1]) / 1000 if found else None


def test_a_play_beside_the_program_is_stopped_at_the_end_of_the_with() -> None:
    forever = Scenario((Event(0, (DOWN, UP), every_s=0.05, times=100_000 // 50),))
    told: list[Happened] = []
    with Lab(pair()) as lab:
        with lab.start_play(forever, told.append) as playing:
            assert eventually(lambda: len(told) > 3)
            assert playing.goes_on
            with pytest.raises(TimeoutError):
                playing.wait(0.01)
        assert eventually(lambda: not playing.goes_on)
        assert playing.cut_off
        assert tuple(told) == playing.happened
        lab["left"].link_up()
        assert lab.verify().ok


def test_an_event_that_waits_for_another_says_that_it_is_late() -> None:
    scenario = Scenario((Event(0, (Reboot("right", 0.4),)), Event(0.1, (Say("late"),)), Event(1.0, (Say("in time"),))))
    with Lab(pair()) as lab:
        _, late, in_time = lab.play(scenario)
    assert late.late_s > 0.25
    assert "s late)" in str(late)
    assert in_time.late_s < late.late_s


def test_nothing_happens_where_a_later_event_cannot_be() -> None:
    scenario = Scenario((Event(0, (DOWN,)), Event(1, (Plug("left", "nowhere"),))))
    with Lab(pair()) as lab:
        document = lab.topology.to_document()
        with pytest.raises(TopologyError, match="event 2, at 1 s"):
            lab.play(scenario)
        assert lab.topology.to_document() == document
        assert lab.events == ()
        with pytest.raises(UsageError, match="has no timeline of its own"):
            lab.play()


def test_the_timeline_of_a_lab_is_what_is_played_where_nothing_is_said(tmp_path: Path) -> None:
    topology = pair()
    topology.events = (Event(0, (Change({"left": {"address": "5.5.5.9"}}),)),)
    with Lab(topology) as lab:
        assert lab.verify().ok
        assert str(Lab.attach(lab.name).play()[0].cue.action) == "left: address = 5.5.5.9"
        lab.update()
        assert str(lab["left"].address) == "5.5.5.9"


def test_a_play_goes_on_from_what_another_program_has_changed() -> None:
    scenario = Scenario((Event(0.0, (Say("begins"),)), Event(0.6, (DOWN,))))
    with Lab(pair()) as lab:
        other = Lab.attach(lab.name)
        with lab.start_play(scenario) as playing:
            other.change("right", address="5.5.5.77")
            playing.wait()
        table = lab.topology.to_document()["host"]
        assert (table["right"]["address"], table["left"]["state"]) == ("5.5.5.77", "down")


def test_two_programs_that_change_a_lab_at_once_lose_nothing() -> None:
    with Lab("star:8") as lab:
        others = [Lab.attach(lab.name) for _ in range(3)]
        threads = [threading.Thread(target=mine[f"h{n}"].link_down) for n, mine in enumerate(others, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lab.update()
        hosts = lab.topology.to_document()["host"]
        assert [name for name, table in hosts.items() if table.get("state") == "down"] == ["h1", "h2", "h3"]
        assert lab.verify().ok


def test_what_has_happened_is_known_to_everybody_and_recorded(tmp_path: Path) -> None:
    with Lab(pair()) as lab:
        lab["left"].unplug()
        Lab.attach(lab.name).change("right", address="5.5.5.8")
        lab.reboot("wire")
        what = ["left: unplugged", "right: address = 5.5.5.8", "wire: off", "wire: on"]
        assert [event.what for event in lab.events] == what
        assert sorted(event.time for event in lab.events) == [event.time for event in lab.events]
        run = record_run(lab, tmp_path, "passed")
        assert "events.jsonl" in run.files
    assert [event.about["what"] for event in Recording.open(tmp_path).events()] == what


def test_a_play_leaves_no_descriptor_behind() -> None:
    with Lab(pair()) as lab:
        lab.play(Scenario((Event(0, (DOWN, UP), every_s=0.01),)))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            lab.play(Scenario((Event(0, (DOWN, UP), every_s=0.01),)))
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_topology_of_another_time_is_no_obstacle() -> None:
    """A scenario that was made for another lab is held against this one."""
    with Lab(Topology.load("two-lans")) as lab, pytest.raises(TopologyError, match="no node 'left'"):
        lab.play(Scenario((Event(0, (DOWN,)),)))
