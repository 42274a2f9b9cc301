"""`ping`: echoes from node to node, without a ping program."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.cli.command import WANLAB, must, wanlab

SIX = """\
[switch.wire]
subnet = "2001:db8::/64"
[host.a]
link = "wire"
address = "2001:db8::a"
[host.b]
link = "wire"
address = "2001:db8::b"
"""


def test_it_pings_by_name_and_prints_as_ping_does(two_lans: None) -> None:
    printed = must("ping", "alice", "coordinator", "-c", "2", "-i", "0.01").splitlines()
    assert printed[0] == "PING coordinator (172.16.0.100) from alice: 56 data bytes"
    for number, line in enumerate(printed[1:3], 1):
        assert re.fullmatch(
            rf"64 bytes from coordinator \(172\.16\.0\.100\): icmp_seq={number} ttl=63 time=\d+\.\d{{3}} ms", line
        )
    assert printed[4] == "--- coordinator (172.16.0.100) ping statistics ---"
    assert printed[5].startswith("2 transmitted, 2 received, 0% loss")
    assert printed[6].startswith("round trip min/avg/max/mdev = ")


def test_it_needs_no_ping_program(two_lans: None) -> None:
    must("ping", "alice", "coordinator", "-c", "1", env={**os.environ, "PATH": "/nonexistent"})


def test_the_kernel_that_is_pinged_counts_echo_requests_without_fault(two_lans: None) -> None:
    before = counters("coordinator")
    must("ping", "alice", "coordinator", "-c", "3", "-i", "0.01")
    after = counters("coordinator")
    assert after["InEchos"] - before["InEchos"] == 3
    assert after["OutEchoReps"] - before["OutEchoReps"] == 3
    assert after["InCsumErrors"] == before["InCsumErrors"]


def counters(node: str) -> dict[str, int]:
    """What the node's kernel has counted of ICMP (proc_pid_net(5), snmp)."""
    lines = must("exec", node, "cat", "/proc/net/snmp").splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("Icmp: "))
    return dict(zip(names, map(int, values), strict=True))


def test_an_icmp_error_is_told_in_words_and_no_answer_is_1(two_lans: None) -> None:
    done = wanlab("ping", "alice", "bob", "-c", "1", "-W", "1")
    assert done.returncode == 1
    assert "From home-a (10.1.0.254): icmp_seq=1 Destination Net Unreachable" in done.stdout
    assert "1 transmitted, 0 received, 100% loss" in done.stdout
    assert done.stderr == ""


def test_a_neighbour_that_does_not_exist_is_told_in_words(two_lans: None) -> None:
    done = wanlab("ping", "alice", "10.1.0.99", "-c", "1")
    assert done.returncode == 1
    assert "From alice (10.1.0.1): icmp_seq=1 Destination Host Unreachable" in done.stdout


def test_what_the_own_kernel_refuses_is_told_in_words(two_lans: None) -> None:
    done = wanlab("ping", "coordinator", "alice", "-c", "1")
    assert done.returncode == 1
    assert "icmp_seq=1 Network is unreachable" in done.stdout


def test_silence_ends_after_the_time_given(two_lans: None) -> None:
    started = time.monotonic()
    done = wanlab("ping", "alice", "home-b", "-c", "1", "-W", "0.5")  # its firewall drops that
    assert done.returncode == 1
    assert 0.5 < time.monotonic() - started < 3


def test_json_has_every_answer(two_lans: None) -> None:
    told = json.loads(must("ping", "alice", "172.16.0.100", "-c", "3", "-i", "0.01", "--json"))
    assert (told["from"], told["to"], told["address"]) == ("alice", "172.16.0.100", "172.16.0.100")
    assert (told["transmitted"], told["received"]) == (3, 3)
    assert [answer["sequence"] for answer in told["answers"]] == [1, 2, 3]
    assert told["rtt_ms"]["min"] <= told["rtt_ms"]["avg"] <= told["rtt_ms"]["max"]
    failed = json.loads(wanlab("ping", "alice", "bob", "-c", "1", "--json").stdout)
    assert failed["answers"][0]["error"] == "Destination Net Unreachable"
    assert failed["rtt_ms"] == {"min": None, "avg": None, "max": None}


def test_ctrl_c_ends_it_with_the_sum(two_lans: None) -> None:
    command = [*WANLAB, "ping", "alice", "coordinator", "-c", "0", "-i", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "0% loss" in rest
    assert errors == ""


def test_two_at_once_do_not_take_each_others_answers(two_lans: None) -> None:
    command = [*WANLAB, "ping", "alice", "coordinator", "-c", "20", "-i", "0.01", "--json"]
    pings = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for each in pings:
        told = json.loads(each.communicate(timeout=20)[0])
        assert [answer["sequence"] for answer in told["answers"]] == list(range(1, 21))


@pytest.mark.parametrize("to", ["b", "2001:db8::b"])
def test_ipv6_works_too(tmp_path: object, to: str) -> None:
    with open("wanlab.toml", "w") as file:
        file.write(SIX)
    must("up")
    assert re.search(r"64 bytes from b \(2001:db8::b\): icmp_seq=1 ttl=64 time=", must("ping", "a", to, "-c", "1"))
    done = wanlab("ping", "a", "2001:db8::99", "-c", "1")
    assert "From a (2001:db8::a): icmp_seq=1 Destination unreachable: Address unreachable" in done.stdout
    assert done.returncode == 1
