"""`wanlab capture`: what it shows and writes, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.capture.test_capture import tshark
from tests.cli.command import WANLAB, OnTerminal, UntilCtrlC, must, wanlab
from wanlab import Lab


class Capturing(UntilCtrlC):
    """`wanlab capture` that listens."""

    def __init__(self, *arguments: str, prefix: Sequence[str] = (), stdout: int = subprocess.PIPE) -> None:
        super().__init__("capture", *arguments, begun=r"capturing at .*\n", prefix=prefix, stdout=stdout)


def send(sender: str, to: str, port: int, payload: bytes = b"hello") -> None:
    with Lab.attach()[sender].socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("0.0.0.0", 5000))
        one.sendto(payload, (to, port))


def test_lines_show_who_said_what_and_what_a_nat_made_of_it(two_lans: None) -> None:
    must("change", "home-a", "nat=linux")
    with Capturing("alice", "home-a:wan", "udp") as capture:
        send("alice", "172.16.0.100", 9000)
    said = capture.output.splitlines()
    assert [line.split(maxsplit=1)[1] for line in said] == [
        "alice:eth0 > IP 10.1.0.1:5000 > 172.16.0.100:9000: UDP, length 5",
        "home-a:wan > IP 172.16.0.1:5000 > 172.16.0.100:9000: UDP, length 5"
        "  [home-a translated 10.1.0.1:5000 -> 172.16.0.1:5000]",
    ]
    assert capture.wait() == 0
    assert capture.said == "2 packets, 0 lost\n"


def test_a_capture_of_a_part_of_a_lab_is_drawn_and_nothing_is_called_lost_that_nobody_listened_for(
    two_lans: None, tmp_path: Path
) -> None:
    file = tmp_path / "part.pcapng"
    with Capturing("-w", str(file), "alice", "home-a:wan", "icmp"):
        must("ping", "-c", "1", "alice", "coordinator")
    drawn = must("diagram", str(file)).splitlines()
    assert drawn[0].split() == ["alice", "home-a", "coordinator"]
    assert "├" in drawn[1]
    assert [line.partition(" x ")[2] for line in drawn if " x " in line] == [
        "not known: nobody listened at coordinator:eth0"
    ]


def test_a_file_has_every_end_in_order_of_time_with_comments(two_lans: None, tmp_path: Path) -> None:
    file = tmp_path / "all.pcapng"
    with Capturing("-w", str(file)) as capture:
        must("ping", "-c", "3", "-i", "0.01", "alice", "coordinator")
    assert capture.said.endswith(f"packets in {file}, 0 lost\n")
    rows = tshark(file, "icmp", "frame.interface_name", "ip.src", "ip.dst", "frame.comment", "frame.time_epoch")
    assert [row[0] for row in rows[:6]] == [
        "alice:eth0", "home-a:lan", "home-a:wan", "wan:home-a", "wan:coordinator", "coordinator:eth0",
    ]  # fmt: skip
    assert len(rows) == 3 * 12
    assert [float(row[4]) for row in rows] == sorted(float(row[4]) for row in rows)
    comments = {(row[0], row[1], row[3]) for row in rows if row[3]}
    assert {row[:2] for row in comments} == {("home-a:wan", "172.16.0.1"), ("home-a:lan", "172.16.0.100")}
    ways = {re.sub(r" id \d+", "", comment) for _, _, comment in comments}
    assert ways == {"home-a translated 10.1.0.1 -> 172.16.0.1", "home-a translated back 172.16.0.1 -> 10.1.0.1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="tcpdump changes to a user that an ordinary user's lab may not have")
def test_it_sees_what_tcpdump_in_the_node_sees(two_lans: None, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.pcapng", tmp_path / "theirs.pcap"
    how = ["--immediate-mode", "--time-stamp-precision=nano", "-Z", "root", "-n", "-U"]
    tcpdump = ["tcpdump", *how, "-i", "wan", "-w", str(theirs), "icmp or arp"]
    judge = Lab.attach()["home-a"].popen(tcpdump, stderr=subprocess.PIPE, text=True)
    with judge, Capturing("-w", str(ours), "home-a:wan", "icmp or arp"):
        try:
            assert judge.stderr is not None
            assert "listening on" in judge.stderr.readline()
            assert wanlab("ping", "-c", "20", "-i", "0.01", "bob", "home-a").returncode == 1  # which drops it
            must("ping", "-c", "20", "-i", "0.01", "alice", "coordinator")
        finally:
            judge.send_signal(signal.SIGINT)
            judge.wait(10)
    fields = ("frame.time_epoch", "frame.len", "eth.src", "ip.src", "icmp.seq")
    assert len(tshark(theirs, "icmp", *fields)) == 60
    assert tshark(ours, "icmp", *fields) == tshark(theirs, "icmp", *fields)


def test_it_ends_after_so_many_packets(two_lans: None, tmp_path: Path) -> None:
    file = tmp_path / "four.pcapng"
    with Capturing("-c", "4", "-w", str(file), "icmp") as capture:
        must("ping", "-c", "1", "alice", "coordinator")
        assert capture.wait() == 0
    assert len(tshark(file, "icmp", "frame.number")) == 4


def test_packets_go_into_a_pipe_as_they_come(two_lans: None) -> None:
    with Capturing("-w", "-", "icmp") as capture:
        reader = subprocess.Popen(
            ["tshark", "-l", "-i", "-", "-c", "6", "-T", "fields", "-e", "frame.interface_name"],
            stdin=capture.process.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert capture.process.stdout is not None
        capture.process.stdout.close()
        capture.process.stdout = None
        must("ping", "-c", "1", "alice", "coordinator")
        said, _ = reader.communicate(timeout=30)
    assert said.splitlines()[0] == "alice:eth0"
    assert len(said.splitlines()) == 6


def test_a_reader_that_goes_away_ends_it_quietly(two_lans: None) -> None:
    ours, theirs = os.pipe()
    with Capturing("-w", "-", stdout=theirs) as capture:
        os.close(theirs)
        os.close(ours)
        must("ping", "-c", "1", "alice", "coordinator")
        assert capture.wait() == 141
    assert capture.said == "0 packets, 0 lost\n"


def test_a_full_disk_is_said_and_what_was_written_can_be_read(two_lans: None, tmp_path: Path) -> None:
    file = tmp_path / "full.pcapng"
    with Capturing("-w", str(file), prefix=("sh", "-c", 'ulimit -f 16; exec "$@"', "sh")) as capture:
        must("ping", "-c", "300", "-i", "0.001", "alice", "coordinator")
        assert capture.wait() == 5
    said = capture.said.splitlines()
    assert said[-1].startswith("wanlab: ")
    assert "too large" in said[-1]
    assert f"packets in {file}, 0 lost" in said[-2]
    assert file.stat().st_size <= 16 * 512
    done = subprocess.run(["tshark", "-r", str(file)], capture_output=True, text=True, check=True)
    assert "cut short" not in done.stderr
    assert len(done.stdout.splitlines()) > 20


def test_a_lab_that_ends_is_said_and_nothing_is_lost(two_lans: None, tmp_path: Path) -> None:
    file = tmp_path / "ended.pcapng"
    with Capturing("-w", str(file), "icmp") as capture:
        must("ping", "-c", "1", "alice", "coordinator")
        must("down")
        assert capture.wait() == 6
        said = capture.said.splitlines()
    assert said[-1].startswith("wanlab: the lab ended")
    assert len(tshark(file, "icmp", "frame.number")) == 12


def test_files_follow_each_other_and_the_oldest_go(two_lans: None, tmp_path: Path) -> None:
    with Capturing("-w", str(tmp_path / "ring.pcapng"), "-C", "0.05", "-W", "3", "icmp") as capture:
        must("ping", "-c", "400", "-i", "0.001", "alice", "coordinator")
    assert capture.wait() == 0
    files = sorted(tmp_path.glob("ring.*.pcapng"), key=lambda path: int(path.suffixes[0][1:]))
    assert len(files) == 3
    assert int(files[0].suffixes[0][1:]) > 1
    numbers = [int(number) for file in files for (number,) in tshark(file, "icmp", "icmp.seq")]
    assert numbers == sorted(numbers)
    assert numbers[0] > 1
    assert numbers[-1] == 400  # the very last file may be new and empty


def test_several_at_once_see_the_same(two_lans: None, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(3):
            stack.enter_context(Capturing("-w", str(tmp_path / f"{number}.pcapng"), "icmp"))
        must("ping", "-c", "2", "-i", "0.01", "alice", "coordinator")
    fields = ("frame.time_epoch", "frame.interface_name", "icmp.seq")
    one, *others = (tshark(tmp_path / f"{number}.pcapng", "icmp", *fields) for number in range(3))
    assert len(one) == 24
    assert all(other == one for other in others)


def test_ctrl_c_on_a_terminal_writes_what_there_is(two_lans: None, tmp_path: Path) -> None:
    file = tmp_path / "c.pcapng"
    with OnTerminal(*WANLAB, "capture", "-w", str(file), "icmp") as terminal:
        terminal.until("capturing at")
        must("ping", "-c", "1", "alice", "coordinator")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert len(tshark(file, "icmp", "frame.number")) == 12


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("alcie",), 3, "did you mean 'alice'?"),
        (("alice:eth7",), 3, "node 'alice' has no interface 'eth7'; did you mean 'eth0'?"),
        (("alice", "udp", "prot", "53"), 2, "'prot' is not expected after 'udp'"),
        (("host bob and prot 4",), 2, "'prot' is no address and no node of the lab"),
        (("-s", "4"), 2, "4 bytes of a packet cannot be kept"),
        (("-w", "no/such/dir.pcapng"), 5, "no/such/dir.pcapng"),
        (("-C", "1"), 2, "--file-size without --write"),
        (("-w", "x.pcapng", "-W", "2"), 2, "--files without --file-size"),
    ],
)
def test_what_cannot_be_meant_is_refused(two_lans: None, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = wanlab("capture", *arguments)
    assert done.returncode == status
    assert said in done.stderr.splitlines()[-1]
