"""Servers in nodes: waited for, watched, stopped, their output kept."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.labs import eventually, marked, pair
from wanlab import CommandNotFound, Lab, LabNode, Server, ServerFailed, UsageError

PYTHON = (sys.executable, "-u", "-c")
SLOW_LISTENER = """
import socket, sys, time
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
time.sleep(0.2)
with socket.socket(socket.AF_INET, kind) as s:
    s.bind(("0.0.0.0", int(sys.argv[2])))
    if sys.argv[1] == "tcp":
        s.listen()
    time.sleep(60)
"""


def test_a_server_is_ready_when_its_tcp_port_is_open(alice: LabNode) -> None:
    with alice.serve([*PYTHON, SLOW_LISTENER, "tcp", "5000"], tcp_port=5000), alice.socket() as client:
        client.connect(("127.0.0.1", 5000))


def test_a_server_is_ready_when_its_udp_port_is_open(alice: LabNode) -> None:
    alice.serve([*PYTHON, SLOW_LISTENER, "udp", "5000"], udp_port=5000)
    with alice.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("0.0.0.0", 5000))


def test_a_port_that_is_bound_and_does_not_listen_is_not_open(alice: LabNode) -> None:
    bound = "import socket,time; s=socket.socket(); s.bind(('0.0.0.0', 5000)); time.sleep(60)"
    with pytest.raises(ServerFailed, match="TCP port 5000 is not open"):
        alice.serve([*PYTHON, bound], tcp_port=5000, timeout_s=0.5)


def test_the_same_port_in_another_node_does_not_count(lab: Lab) -> None:
    lab["bob"].serve([*PYTHON, SLOW_LISTENER, "tcp", "5000"], tcp_port=5000)
    with pytest.raises(ServerFailed, match="not ready within"):
        lab["alice"].serve(["sleep", "60"], tcp_port=5000, timeout_s=0.3)


def test_a_server_is_ready_when_a_line_of_its_output_matches(alice: LabNode) -> None:
    code = "import time; print('starting'); time.sleep(0.2); print('listening on 5000'); time.sleep(60)"
    with alice.serve([*PYTHON, code], log_line=r"^listening on \d+$") as server:
        assert server.log.text() == "starting\nlistening on 5000\n"


def test_a_server_is_ready_when_a_command_in_its_node_succeeds(alice: LabNode, tmp_path: Path) -> None:
    code = "import sys, time; time.sleep(0.2); open(sys.argv[1], 'w').close(); time.sleep(60)"
    looks = ["sh", "-c", f"test $(hostname) = alice && test -e {tmp_path}/ready"]
    with alice.serve([*PYTHON, code, str(tmp_path / "ready")], command=looks):
        assert (tmp_path / "ready").exists()


def test_a_server_that_ends_before_it_is_ready_is_told_with_its_output(alice: LabNode) -> None:
    started = time.monotonic()
    with pytest.raises(ServerFailed) as failure:
        alice.serve([*PYTHON, "import sys; print('no such key'); sys.exit(3)"], tcp_port=1, timeout_s=30)
    assert time.monotonic() - started < 10
    assert "ended before it was ready (exit status 3)" in str(failure.value)
    assert failure.value.log == "no such key\n"
    assert "no such key" in str(failure.value)


def test_a_server_that_is_not_ready_in_time_is_ended(alice: LabNode, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"not ready within 0.3 s: no line of its output matches 'up'"):
        alice.serve(["sleep", "4711.25"], log_line="up", timeout_s=0.3)
    eventually(lambda: not marked("4711.25"))


def test_a_server_that_does_not_exist_is_a_command_that_is_not_found(alice: LabNode) -> None:
    with pytest.raises(CommandNotFound):
        alice.serve(["no-such-server"])


@pytest.mark.parametrize("options", [{"tcp_port": 0}, {"udp_port": 65536}, {"log_line": "("}])
def test_what_cannot_be_waited_for_is_refused(alice: LabNode, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        alice.serve(["sleep", "60"], **options)  # type: ignore[arg-type]


def test_stopping_lets_a_server_tidy_up(alice: LabNode) -> None:
    code = """
import signal, sys, time
def end(*_):
    print("bye"); sys.exit(7)
signal.signal(signal.SIGTERM, end)
print("up")
time.sleep(60)
"""
    server = alice.serve([*PYTHON, code], log_line="up")
    assert server.returncode is None
    assert server.stop() == 7
    assert server.log.text() == "up\nbye\n"
    server.check()


def test_a_server_that_will_not_end_is_killed_with_what_it_started(alice: LabNode) -> None:
    server = alice.serve(
        ["sh", "-c", "trap '' TERM; sleep 4712.5 & echo up; while :; do sleep 4712.5; done"], log_line="up"
    )
    assert server.stop(grace_s=0.2) == -signal.SIGKILL
    eventually(lambda: not marked("4712.5"))


def test_the_end_of_a_lab_stops_its_servers_orderly(tmp_path: Path) -> None:
    code = "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.1; done"
    with Lab(pair()) as lab:
        lab["left"].serve(["sh", "-c", code], log_line="up", log=tmp_path / "alice.log")
        lab["right"].serve(["sh", "-c", code], log_line="up", log=tmp_path / "bob.log")
    assert [(tmp_path / f"{name}.log").read_text() for name in ("alice", "bob")] == ["up\nbye\n"] * 2


def test_a_server_that_dies_is_noticed_at_once(lab: Lab) -> None:
    told: list[Server] = []
    noticed = threading.Event()

    def died(server: Server) -> None:
        told.append(server)
        noticed.set()

    lab.watch_servers(died)
    server = lab["alice"].serve(["sh", "-c", "echo up; sleep 0.2; exit 4"], log_line="up")
    assert noticed.wait(5)
    assert told == [server]
    with pytest.raises(ServerFailed, match=r"sh in node 'alice' ended by itself \(exit status 4\)") as failure:
        server.check()
    assert failure.value.log == "up\n"


def test_a_server_that_died_fails_the_end_of_its_with(alice: LabNode) -> None:
    server = alice.serve(["sh", "-c", "echo up; sleep 0.1; kill -SEGV $$"], log_line="up")
    with pytest.raises(ServerFailed, match="ended by SIGSEGV"), server:
        server.wait()


def test_a_server_that_a_test_kills_did_not_die(alice: LabNode) -> None:
    with alice.serve(["sh", "-c", "echo up; sleep 60"], log_line="up") as server:
        server.send_signal(signal.SIGKILL)
        assert server.wait(5)
    assert (server.died, server.returncode) == (False, -signal.SIGKILL)


def test_servers_that_end_with_their_lab_did_not_die() -> None:
    told: list[Server] = []
    with Lab(pair()) as lab:
        lab.watch_servers(told.append)
        server = lab["left"].serve(["sh", "-c", "trap '' TERM; echo up; sleep 60"], log_line="up")
        os.kill(lab.pid, signal.SIGKILL)
        eventually(lambda: server.returncode is not None)
        assert not server.died
    assert told == []


def test_logs_of_long_output_are_told_by_their_end(alice: LabNode) -> None:
    with alice.serve(["sh", "-c", "seq 100000; echo ready; sleep 60"], log_line="ready") as server:
        tail = server.log.tail(100)
        assert tail.endswith("\n99999\n100000\nready\n")
        assert all(line.isdigit() for line in tail.split()[:-1])
        assert len(server.log.text().splitlines()) == 100001


def test_a_lab_remembers_the_programs_that_ran_in_it(lab: Lab) -> None:
    lab["alice"].run(["sh", "-c", "echo out; echo problem >&2; exit 5"], capture_output=True)
    with lab["bob"].serve(["sh", "-c", "echo up; sleep 60"], log_line="up"):
        first, second = lab.records
    assert (first.node, first.args[0], first.returncode) == ("alice", "sh", 5)
    assert first.tail() == "out\nproblem\n"
    assert (second.node, second.tail()) == ("bob", "up\n")


async def test_a_server_can_be_awaited(lab: Lab) -> None:
    server = await lab["alice"].serve_async(["sh", "-c", "echo up; sleep 60"], log_line="up")
    assert server.returncode is None
