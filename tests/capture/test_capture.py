"""Captures: every packet at every link end, in a file that other people's tools read."""

from __future__ import annotations

import resource
import socket
import subprocess
from pathlib import Path

import pytest

from wanlab import Lab, NoSuchNode, UsageError
from wanlab.capture.capture import Capture

PATH = ["alice:eth0", "home-a:lan", "home-a:wan", "wan:home-a", "wan:coordinator", "coordinator:eth0"]


def tshark(file: Path, what: str, *fields: str) -> list[list[str]]:
    """The fields of each packet that the display filter *what* lets through, as tshark reads them."""
    wanted = [argument for field in fields for argument in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(file), "-Y", what, "-T", "fields", *wanted], capture_output=True, text=True, check=True
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_a_packet_is_seen_at_every_end_that_it_passes(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture:
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        file = capture.write(tmp_path / "ping.pcapng")
    fields = ("frame.interface_name", "frame.packet_flags_direction", "ip.src")
    requests = tshark(file, "icmp.type == 8", *fields)
    assert [end for end, _, _ in requests] == PATH
    assert [int(direction, 16) for _, direction, _ in requests] == [2, 1] * 3
    assert [source for _, _, source in requests] == ["10.1.0.1"] * 2 + ["172.16.0.1"] * 4
    assert [end for (end,) in tshark(file, "icmp.type == 0", "frame.interface_name")] == PATH[::-1]


def test_stamps_are_of_one_clock_and_in_order(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture:
            lab["alice"].run(["ping", "-c5", "-i0.01", "coordinator"], check=True, capture_output=True)
        file = capture.write(tmp_path / "ping.pcapng")
    stamps = [float(stamp) for (stamp,) in tshark(file, "icmp", "frame.time_epoch")]
    assert stamps == sorted(stamps)
    one_way = [stamps[number + 5] - stamps[number] for number in range(0, len(stamps), 6)]
    assert all(0 < seconds < 0.005 for seconds in one_way), one_way  # stamped when seen, not when read


def test_every_end_is_an_interface_of_the_file_even_where_nothing_was_seen(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture:
            pass
        file = capture.write(tmp_path / "nothing.pcapng")
    said = subprocess.run(["capinfos", str(file)], capture_output=True, text=True, check=True).stdout
    assert {line.split(" = ")[1] for line in said.splitlines() if "Name = " in line} == {
        *PATH, "wan:home-b", "home-b:wan", "home-b:lan", "bob:eth0",
    }  # fmt: skip


def test_tcpdump_reads_it_too(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab, ["coordinator"]) as capture:
            lab["bob"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        file = capture.write(tmp_path / "ping.pcapng")
    said = subprocess.run(["tcpdump", "-nr", "-", "icmp"], input=file.read_bytes(), capture_output=True, check=True)
    assert b"172.16.0.2 > 172.16.0.100: ICMP echo request" in said.stdout


def test_what_is_cut_off_keeps_its_length(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab, snap_bytes=60) as capture:
            lab["alice"].run(["ping", "-c1", "-s", "1000", "coordinator"], check=True, capture_output=True)
        file = capture.write(tmp_path / "ping.pcapng")
    assert {tuple(row) for row in tshark(file, "icmp", "frame.len", "frame.cap_len")} == {("1042", "60")}


def test_memory_is_bounded_and_the_last_packets_are_kept(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with (
            Capture(lab, ["coordinator"], most_bytes=100_000) as capture,
            lab["coordinator"].socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            lab["alice"].socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            server.bind(("0.0.0.0", 9000))
            for number in range(1000):
                client.sendto(b"%1000d" % number, (str(lab["coordinator"].address), 9000))
                server.recv(2000)
        file = capture.write(tmp_path / "many.pcapng")
    kept = tshark(file, "udp", "data.data")
    assert 50 < len(kept) < 100
    assert bytes.fromhex(kept[-1][0]) == b"%1000d" % 999
    assert capture.forgotten + capture.lost >= 1000 - len(kept)


def test_a_file_that_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    with Lab("two-lans") as lab, Capture(lab) as capture:
        lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
    (tmp_path / "a.pcapng").write_text("as it was")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            capture.write(tmp_path / "a.pcapng")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == ["a.pcapng"]
    assert (tmp_path / "a.pcapng").read_text() == "as it was"


def test_what_cannot_be_captured_is_refused() -> None:
    with Lab("two-lans") as lab:
        with pytest.raises(NoSuchNode):
            Capture(lab, ["alcie"])
        with pytest.raises(UsageError):
            Capture(lab, snap_bytes=4)


def test_only_what_fits_the_filter_is_kept_at_the_ends_that_were_named() -> None:
    with Lab("two-lans") as lab:
        with lab.capture("alice", "home-a:wan", filter="icmp and host alice") as capture:
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        packets = list(capture.packets())
    assert {packet.end for packet in packets} == {"alice:eth0"}  # outside its router alice has another address
    assert [packet.outbound for packet in packets] == [True, False]
    assert all(packet.data[23] == socket.IPPROTO_ICMP for packet in packets)
