"""`wanlab trace`: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import UntilCtrlC, complaint, must, wanlab
from tests.cli.test_capture import send
from wanlab.trace.story import Story


class Tracing(UntilCtrlC):
    """`wanlab trace` that has begun."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("trace", *arguments, begun=r"tracing; Ctrl-C ends\n")


def test_one_packet_reads_as_one_story(two_lans: None) -> None:
    must("change", "home-a", "nat=linux")
    with Tracing("--udp", "--from", "alice", "-v") as trace:
        send("alice", "172.16.0.100", 9000)
    lines = trace.output.splitlines()
    assert lines[0].startswith("alice -> coordinator 172.16.0.100:9000 udp 5 bytes: refused (nobody listens")
    assert lines[0].endswith("[home-a: 10.1.0.1:5000 -> 172.16.0.1:5000]")
    assert [line.split("ms  ")[1].split(":")[0] for line in lines if " ms  " in line] == [
        "alice", "home-a", "wan", "coordinator",
    ]  # fmt: skip
    assert any("wl_postrouting: oifname" in line for line in lines)
    assert (trace.wait(), trace.said) == (0, "1 packet, nothing lost\n")


def test_a_question_that_nobody_answers_has_no_hops(two_lans: None) -> None:
    with Tracing("arp", "-c", "1", "-v") as trace:
        send("coordinator", "172.16.0.99", 9000)
        assert trace.wait() == 0
    assert "who has 172.16.0.99" in trace.output
    assert "coordinator: sent, out eth0" in trace.output
    assert "ttl" not in trace.output


def test_json_is_one_story_a_line_and_is_written_into_a_directory(two_lans: None, tmp_path: Path) -> None:
    with Tracing("--json", "-c", "2", "-w", str(tmp_path), "icmp") as trace:
        must("ping", "-c", "1", "alice", "coordinator")
        assert trace.wait() == 0
    stories = [Story.from_json(json.loads(line)) for line in trace.output.splitlines()]
    assert [(story.sender, story.last) for story in stories] == [("alice", "coordinator"), ("coordinator", "alice")]
    assert (tmp_path / "trace.jsonl").read_text() == trace.output
    assert len(must("diagram", str(tmp_path)).splitlines()) == 7  # a heading, and 3 steps each way


def test_what_a_trace_has_written_is_drawn_though_its_lab_is_gone(two_lans: None, tmp_path: Path) -> None:
    written = tmp_path / "stories"
    with Tracing("udp", "-c", "1", "-w", str(written)) as trace:
        send("alice", "172.16.0.100", 9000)
        assert trace.wait() == 0
    must("down")
    drawn = must("diagram", str(written))
    assert drawn.splitlines()[0].split() == ["alice", "home-a", "wan", "coordinator"]
    assert "home-a: 10.1.0.1:" in drawn
    assert must("diagram", str(written), "--protocol", "icmp") == "(no packets)\n"
    with written.open("a") as file:
        file.write("{}\n")
    assert f"{written}:2 makes no sense" in complaint(wanlab("diagram", str(written)))


def test_a_lab_that_ends_ends_the_trace(two_lans: None) -> None:
    with Tracing("udp") as trace:
        send("alice", "172.16.0.100", 9000)
        must("down")
        assert trace.wait() == 6
    assert trace.said.splitlines()[-1] == "wanlab: the lab ended"
    assert len(trace.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--from", "alcie"), 3, "did you mean 'alice'?"),
        (("udp", "prot", "53"), 2, "filter '(udp prot 53)'"),
        (("-w", "no/such/file"), 5, "no/such/file"),
    ],
)
def test_what_cannot_be_meant_is_refused(two_lans: None, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = wanlab("trace", *arguments)
    assert done.returncode == status
    assert said in done.stderr.splitlines()[-1]
