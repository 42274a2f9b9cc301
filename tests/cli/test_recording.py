"""record and diagram, as their users run them."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.cli.command import WANLAB, complaint, must, wanlab
from wanlab.recording.recording import Recording


def begin(directory: Path) -> subprocess.Popen[str]:
    recording = subprocess.Popen(
        [*WANLAB, "record", str(directory), "--interval", "0.1"], stderr=subprocess.PIPE, text=True
    )
    assert recording.stderr is not None
    assert "recording lab two-lans" in recording.stderr.readline()
    return recording


def test_what_was_recorded_is_drawn(two_lans: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recording = begin(run)
    must("ping", "-c1", "alice", "coordinator")
    recording.send_signal(signal.SIGINT)
    told = recording.communicate(timeout=30)[1]
    assert recording.returncode == 0
    assert told.endswith(f"in {run}\n")
    assert Recording.open(run).outcome == "recorded"
    drawn = must("diagram", str(run)).splitlines()
    assert drawn[0].split() == ["alice", "home-a", "coordinator"]
    assert len(drawn) == 5
    assert "home-a: 10.1.0.1 -> 172.16.0.1" in drawn[2]
    assert must("graph", str(run)) == must("graph", "two-lans")
    assert must("diagram", str(run), "-o", str(tmp_path / "a.svg")) == ""
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")
    assert must("diagram", str(run), "--format", "mermaid").startswith("sequenceDiagram\n")
    assert must("diagram", str(run), "--node", "bob") == "(no packets)\n"
    assert must("diagram", str(run), "--protocol", "udp") == "(no packets)\n"
    assert len(must("diagram", str(run), "--most", "2").splitlines()) == 4
    packets = str(run / "packets.pcapng")
    assert must("diagram", packets).splitlines() == drawn  # by the lab that is up
    must("down")
    assert must("diagram", packets, "--topology", "two-lans").splitlines() == drawn
    assert must("diagram", str(run)).splitlines() == drawn


def test_a_lab_that_ends_ends_its_recording(two_lans: None, tmp_path: Path) -> None:
    recording = begin(tmp_path / "run")
    must("down")
    told = recording.communicate(timeout=30)[1]
    assert recording.returncode == 6
    assert "wanlab: the lab ended; what was recorded until then is in" in told
    assert Recording.open(tmp_path / "run").outcome == "the lab ended"


def test_what_cannot_be_recorded_or_drawn_is_said(two_lans: None, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    assert "has something in it" in complaint(wanlab("record", str(tmp_path)))
    assert "no run directory" in complaint(wanlab("diagram", str(tmp_path)))
    assert "is a directory" in complaint(wanlab("graph", str(tmp_path)))
    assert "is no pcapng file" in complaint(wanlab("diagram", str(tmp_path / "mine")))
    assert "No such file" in complaint(wanlab("diagram", str(tmp_path / "none")))
    assert "--topology" in complaint(wanlab("diagram", str(tmp_path), "--topology", "cable"))
