"""Run directories: what is written while a lab runs, and when a test is over, is read back by one class."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.labs import eventually
from wanlab import Lab, UsageError
from wanlab.capture.capture import Capture
from wanlab.recording.lab_recorder import LabRecorder
from wanlab.recording.recording import Recording
from wanlab.recording.run_directory import record_run


def test_a_lab_is_recorded_while_things_happen(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with Lab("two-lans") as lab:
        with LabRecorder(lab, directory, interval_s=0.05) as recorder:
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
            recorder.write()
            seen = lab["home-a"].mappings()
            eventually(lambda: recorder.looks > 1)
            lab["bob"].run(["ip", "link", "set", "eth0", "down"], check=True)
            lab["coordinator"].run(["ip", "address", "add", "172.16.0.77/24", "dev", "eth0"], check=True)
            before = recorder.looks
            eventually(lambda: recorder.looks > before + 1)
            lab.change("home-b", nat="home")
            before = recorder.looks
            eventually(lambda: recorder.looks > before + 1)
        assert recorder.failure is None
        described = lab.topology.to_document()
        network = lab.network
    recording = Recording.open(directory)
    assert (recording.lab, recording.outcome, recording.problems) == (lab.name, "recorded", ())
    assert recording.topology.to_document() == described
    assert recording.network.nodes == network.nodes

    said = subprocess.run(
        ["tshark", "-r", directory / "packets.pcapng", "-Y", "icmp"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(said) == 12  # a request and an answer, at six ends
    stories = recording.stories()
    assert [
        [crossing.node for crossing in story.crossings] for story in stories if story.header.protocol == "icmp"
    ] == [
        ["alice", "home-a", "coordinator"],
        ["coordinator", "home-a", "alice"],
    ]

    events = list(recording.events())
    assert events[0].kind == "recording begins"
    assert events[-1].kind == "recording ends"
    assert [event.time_ns for event in events] == sorted(event.time_ns for event in events)
    assert [dict(event.about) for event in events if event.kind == "link"] == [{"end": "bob:eth0", "down": True}]
    (moved,) = [event for event in events if event.kind == "addresses"]
    assert set(moved.about["addresses"]) == {"172.16.0.100/24", "172.16.0.77/24"}
    (changed,) = [event for event in events if event.kind == "topology"]
    assert changed.about["document"]["router"]["home-b"]["nat"] == "home"

    snapshots = list(recording.mappings())
    assert len(snapshots) == recorder.looks
    remembered = {(each.router, each.internal, each.external) for shot in snapshots for each in shot.mappings}
    assert {(each.router, each.internal, each.external) for each in seen} <= remembered


def test_a_recording_that_the_lab_has_ended_is_whole(tmp_path: Path) -> None:
    lab = Lab("two-lans").up()
    try:
        with LabRecorder(Lab.attach(lab.name), tmp_path / "run", interval_s=0.05) as recorder:
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
            recorder.write()
            eventually(lambda: recorder.looks)
            lab.down()

            def ended() -> bool:
                recorder.write()
                return recorder.lab_ended

            eventually(ended)
    finally:
        lab.down()
    recording = Recording.open(tmp_path / "run")
    assert recording.outcome == "the lab ended"
    assert [event.kind for event in recording.events()][-1] == "lab ends"
    assert len(recording.stories()) == 2


def test_what_a_failing_test_leaves_is_read_the_same_way(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture:
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
            lab["bob"].run(["sh", "-c", "exit 3"], capture_output=True)
        record_run(lab, tmp_path / "run", "failed", capture)
        mappings = lab["home-a"].mappings()
    recording = Recording.open(tmp_path / "run")
    assert recording.outcome == "failed"
    assert [(each.node, each.args[0], each.returncode) for each in recording.processes()] == [
        ("alice", "ping", 0), ("bob", "sh", 3),
    ]  # fmt: skip
    assert len(recording.stories()) == 2
    (snapshot,) = recording.mappings()
    assert {each.external for each in snapshot.mappings} == {each.external for each in mappings}
    assert list(recording.events()) == []


def test_a_recording_is_as_good_as_its_last_whole_line(tmp_path: Path) -> None:
    with Lab("two-lans") as lab, LabRecorder(lab, tmp_path / "run", interval_s=0.05) as recorder:
        eventually(lambda: recorder.looks > 1)
    events = tmp_path / "run" / "events.jsonl"
    events.write_text(events.read_text() + '{"time_ns": 1, "ev')
    assert [event.kind for event in Recording.open(tmp_path / "run").events()] == ["recording begins", "recording ends"]
    events.write_text("nonsense\n")
    with pytest.raises(UsageError, match=r"events\.jsonl:1 makes no sense"):
        list(Recording.open(tmp_path / "run").events())


def test_what_is_no_run_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run directory"):
        Recording.open(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UsageError, match="no run directory"):
        Recording.open(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        Recording.open(tmp_path)


def test_a_directory_with_something_in_it_is_not_recorded_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with Lab("cable") as lab:
        with pytest.raises(UsageError, match="something in it"):
            LabRecorder(lab, tmp_path)
        with pytest.raises(UsageError, match="interval"):
            LabRecorder(lab, tmp_path / "new", interval_s=0)
    assert (tmp_path / "mine").read_text() == "precious"


def test_recording_is_no_program_of_the_labs(tmp_path: Path) -> None:
    with Lab("two-lans") as lab, lab["alice"].socket(socket.AF_INET, socket.SOCK_DGRAM):
        with LabRecorder(lab, tmp_path / "run", interval_s=0.05) as recorder:
            eventually(lambda: recorder.looks > 1)
        assert lab.records == ()
