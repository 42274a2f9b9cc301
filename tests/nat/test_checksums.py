"""Datagrams leave a NAT with a right checksum where they came with one, and without one where they had none."""

from __future__ import annotations

import socket
import struct

import pytest

from wanlab import Lab, LabNode, Topology
from wanlab.measure.icmp import checksum
from wanlab.topology.nat import NATS

SO_NO_CHECK = 11  # include/uapi/asm-generic/socket.h
PORT = 53  # one that every NAT lets out to
TRANSLATING = [name for name, nat in NATS.items() if nat is not None]


def lab_with(nat: str) -> Lab:
    topology = Topology("sums")
    outside = topology.switch("outside", "5.5.5.0/24")
    topology.host("server", outside)
    topology.host("inside", topology.router("router", outside, lan="192.168.1.0/24", nat=nat))
    return Lab(topology)


def packets(server: LabNode, inside: LabNode, *, without: bool) -> list[bytes]:
    """What arrives of three datagrams of one flow, as IP packets."""
    with (
        inside.socket(type=socket.SOCK_DGRAM) as sender,
        server.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as tap,
        server.socket(type=socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("", PORT))
        receiver.settimeout(2)
        tap.settimeout(2)
        sender.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(without))
        for _ in range(3):
            sender.sendto(b"hello", (str(server.address), PORT))
            assert receiver.recv(64) == b"hello"
        found: list[bytes] = []
        while len(found) < 3:
            packet, (_, _, kind, *_) = tap.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_UDP:
                found.append(packet[: struct.unpack_from("!H", packet, 2)[0]])
        return found


@pytest.mark.parametrize("nat", TRANSLATING)
def test_a_datagram_without_a_checksum_arrives_without_one(nat: str) -> None:
    with lab_with(nat) as lab:
        for packet in packets(lab["server"], lab["inside"], without=True):
            assert packet[26:28] == b"\0\0"


def test_where_the_port_that_is_wanted_is_taken_too() -> None:
    with lab_with("home") as lab:
        lab.change("router", nat={"preset": "home", "first_port": 62000, "last_port": 62999})
        for packet in packets(lab["server"], lab["inside"], without=True):
            assert 62000 <= struct.unpack_from("!H", packet, 20)[0] <= 62999
            assert packet[26:28] == b"\0\0"


@pytest.mark.parametrize("nat", TRANSLATING)
def test_a_datagram_with_a_checksum_arrives_with_a_right_one(nat: str) -> None:
    # From a veth a packet may come with its sum not worked out yet; over a raw socket it is as it was sent.
    with (
        lab_with(nat) as lab,
        lab["inside"].socket(type=socket.SOCK_DGRAM) as sender,
        lab["server"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as tap,
        lab["inside"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw,
    ):
        tap.settimeout(2)
        source, destination = lab["inside"].address, lab["server"].address
        sender.bind((str(source), 0))
        udp = struct.pack("!HHHH", sender.getsockname()[1], PORT, 13, 0) + b"hello"
        right = checksum(source.packed + destination.packed + struct.pack("!HH", 17, len(udp)) + udp)
        raw.sendto(udp[:6] + struct.pack("!H", right) + udp[8:], (str(destination), 0))
        packet = tap.recv(2048)
        assert checksum(packet[12:20] + struct.pack("!HH", 17, len(udp)) + packet[20:]) == 0
        assert packet[26:28] != b"\0\0"
