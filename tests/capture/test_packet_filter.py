"""The filter language, against tcpdump: both must choose the same of many packets. And in the kernel."""

from __future__ import annotations

import io
import socket
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from wanlab import Lab, UsageError
from wanlab.capture.bpf import accepts, attach, compile_filter
from wanlab.capture.packet_filter import parse
from wanlab.capture.pcapng import Packet, PcapngWriter

FILTERS = """
ip
ip6
arp
tcp
udp
icmp
icmp6
not ip
host 10.1.0.1
src host 10.1.0.1
dst 10.1.0.1
src and dst host 10.1.0.1
src or dst host 10.1.0.2
ip host 10.1.0.1
arp host 10.1.0.1
host 2001:db8::1
src host 2001:db8::1
ip6 host 2001:db8:0:1::2
host 10.1.0.1 or 2001:db8::1
net 10.1.0.0/24
net 10
src net 10.1
dst net 10.1.0.0/30
net 2001:db8::/32
src net 2001:db8:0:1::/64
net 0.0.0.0/0
port 53
src port 53
dst port 53
src or dst port 53
src and dst port 53
udp port 53
tcp port 53
tcp src port 80
port 53 or 80
portrange 50-60
udp portrange 1-1023
src portrange 5000-5001
less 60
greater 60
udp and not port 53
not udp and not tcp
! (udp || tcp)
udp or tcp and port 53
(udp or tcp) and port 53
udp or (tcp and port 53)
tcp or udp and host 10.1.0.1 or arp
udp and (greater 100 or host 10.1.0.2)
not (host 10.1.0.1 and udp)
not not icmp
host 10.1.0.1 and 10.1.0.2
src port 53 and dst port 53 or 80
""".strip().splitlines()


def ethernet(kind: int, body: bytes) -> bytes:
    return bytes(12) + struct.pack("!H", kind) + body


def ipv4(protocol: int, body: bytes, source: str, destination: str, *, fragment: int = 0, options: int = 0) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + options,
        0,
        20 + 4 * options + len(body),
        7,
        fragment,
        64,
        protocol,
        0,
        ip_address(source).packed,
        ip_address(destination).packed,
    )
    return ethernet(0x0800, header + bytes(4 * options) + body)


def ipv6(protocol: int, body: bytes, source: str, destination: str) -> bytes:
    addresses = ip_address(source).packed + ip_address(destination).packed
    return ethernet(0x86DD, struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + addresses + body)


def udp(source: int, destination: int, size: int) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + size, 0) + bytes(size)


def tcp(source: int, destination: int) -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, 1, 2, 0x50, 2, 1000, 0, 0)


def frames() -> Iterator[bytes]:
    ends4 = [("10.1.0.1", "10.1.0.2"), ("10.1.0.2", "10.1.0.1"), ("10.1.0.1", "10.1.0.1"), ("10.1.1.9", "172.16.0.1")]
    ends6 = [("2001:db8::1", "2001:db8:0:1::2"), ("2001:db8:0:1::2", "2001:db8::1"), ("fe80::1", "ff02::1")]
    ports = [(53, 53), (5000, 53), (53, 5001), (80, 6000), (6000, 80), (49, 61), (60, 50)]
    for source, destination in ends4:
        for a, b in ports:
            yield ipv4(17, udp(a, b, a % 90), source, destination)
            yield ipv4(6, tcp(a, b), source, destination)
            yield ipv4(17, udp(a, b, 9), source, destination, options=2)
            yield ipv4(132, udp(a, b, 9), source, destination)
            yield ipv4(17, udp(a, b, 9), source, destination, fragment=0x2000)
            yield ipv4(17, udp(a, b, 9), source, destination, fragment=100)
        yield ipv4(1, bytes(40), source, destination)
        addresses = [ip_address(end).packed for end in (source, destination)]
        yield ethernet(0x0806, bytes(14) + addresses[0] + bytes(6) + addresses[1] + bytes(18))
    for source, destination in ends6:
        for a, b in ports:
            yield ipv6(17, udp(a, b, 9), source, destination)
            yield ipv6(6, tcp(a, b), source, destination)
            yield ipv6(44, bytes([17, 0, 0, 1]) + bytes(4) + udp(a, b, 9), source, destination)
        yield ipv6(58, bytes(20), source, destination)
        yield ipv6(44, bytes([58, 0, 0, 1]) + bytes(30), source, destination)
    yield ethernet(0x88CC, bytes(46))
    yield bytes(13)


FRAMES = list(frames())


def chosen_by_tcpdump(expression: str) -> list[int]:
    """Which frames tcpdump chooses: each has its number as its time."""
    file = io.BytesIO()
    writer = PcapngWriter(file)
    for number, frame in enumerate(FRAMES):
        writer.write(Packet(number * 1_000_000_000, "x", frame, len(frame), False))
    said = subprocess.run(
        ["tcpdump", "-nqtt", "-r", "-", *expression.split()], input=file.getvalue(), capture_output=True, check=True
    )
    return [int(line.split(b".")[0]) for line in said.stdout.splitlines() if line[:1].isdigit()]


@pytest.mark.parametrize("expression", FILTERS)
def test_it_chooses_what_tcpdump_chooses(expression: str) -> None:
    program = compile_filter(parse(expression))
    ours = [number for number, frame in enumerate(FRAMES) if accepts(program, frame)]
    assert ours == chosen_by_tcpdump(expression)


def test_the_filters_above_choose_something_and_leave_something() -> None:
    for expression in FILTERS:
        program = compile_filter(parse(expression))
        assert 0 < sum(accepts(program, frame) for frame in FRAMES) < len(FRAMES), expression


def test_the_kernel_runs_the_same_program() -> None:
    """A datagram socket's filter sees no Ethernet header: a packet socket in a lab does."""
    with Lab("cable") as lab:
        first, second = lab.nodes
        with first.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((first.interfaces[0].name, 0))
            for expression in ("udp port 53", "net 10.1 and not tcp", "host 2001:db8::1", "less 60", LONG):
                program = compile_filter(parse(expression))
                with second.socket(socket.AF_PACKET, socket.SOCK_RAW) as tap:
                    attach(tap, program)
                    tap.bind((second.interfaces[0].name, 3))
                    for frame in FRAMES:
                        if len(frame) > 13:
                            sender.send(frame)
                    end = ipv4(17, udp(53, 53, 0), "10.1.0.1", "2.2.2.2")
                    sent = [frame for frame in FRAMES if len(frame) > 13 and accepts(program, frame)]
                    attach(tap, compile_filter(parse("host 2.2.2.2")))
                    sender.send(end)
                    tap.settimeout(10)
                    seen = []
                    while (frame := tap.recv(2000)) != end:
                        seen.append(frame)
                assert [frame for frame in seen if frame in FRAMES] == sent, expression


LONG = " or ".join(f"host 2001:db8::{number:x}" for number in range(1, 60))
"""Its jumps reach farther than one instruction can."""


def test_far_jumps_arrive() -> None:
    for expression in (LONG, f"not ({LONG})", f"({LONG}) and udp"):
        program = compile_filter(parse(expression))
        assert len(program) > 300
        ours = [number for number, frame in enumerate(FRAMES) if accepts(program, frame)]
        assert ours == chosen_by_tcpdump(expression)


def test_hosts_of_the_lab_are_known_by_name() -> None:
    addresses = {"alice": (ip_address("10.1.0.1"), ip_address("2001:db8::1"))}
    program = compile_filter(parse("host alice", lambda name: addresses.get(name, ())))
    same = compile_filter(parse("host 10.1.0.1 or 2001:db8::1"))
    assert [accepts(program, frame) for frame in FRAMES] == [accepts(same, frame) for frame in FRAMES]


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("udp prot 53", "'prot' is not expected after 'udp'"),
        ("prot 53", "'prot' is no condition; did you mean 'port'?"),
        ("10.1.0.1 and udp", "'10.1.0.1' is no condition; a host is `host 10.1.0.1`"),
        ("udp and", "it ends too early"),
        ("(udp or tcp", "never closed"),
        ("udp or tcp)", "')' is not expected"),
        ("port 70000", "'70000' is not a port"),
        ("port http", "'http' is not a port"),
        ("host alcie", "'alcie' is no address and no node of the lab"),
        ("net 10.1.0.1/24", "'10.1.0.1/24' is no network"),
        ("ip6 host 10.1.0.1", "'10.1.0.1' has no address for ip6"),
        ("udp host 10.1.0.1", "'udp' stands before a host"),
        ("icmp port 5", "icmp has no ports"),
        ("less big", "'big' is not a length"),
        (" or ".join(f"host 2001:db8::{number:x}" for number in range(1000)), "of which the kernel runs 4096"),
    ],
)
def test_what_it_cannot_mean_is_refused_with_the_place(expression: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        compile_filter(parse(expression))
    assert complaint in str(error.value)
