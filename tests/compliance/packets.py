"""Packets by hand, for what no socket sends: errors about others' packets, fragments in disorder, wrong checksums."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from wanlab.measure.stun import Endpoint

ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 8, 11, 12
NET, HOST, PORT, TOO_BIG, PROHIBITED = 0, 1, 3, 4, 13
"""Codes of UNREACHABLE."""
MORE_FRAGMENTS, DONT_FRAGMENT = 0x2000, 0x4000


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    fragment: int = 0,
    identification: int = 1,
    ttl: int = 64,
    options: bytes = b"",
    damaged: bool = False,
) -> bytes:
    """An IPv4 packet. *fragment*: flags and offset; *damaged*: with a wrong checksum."""
    words = 5 + len(options) // 4
    length = 4 * words + len(payload)
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, identification, fragment, ttl, protocol, 0)
    head += IPv4Address(source).packed + IPv4Address(destination).packed + options
    value = checksum(head) ^ (0x5555 if damaged else 0)
    return head[:10] + struct.pack("!H", value) + head[12:] + payload


def udp(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    """A UDP datagram with its checksum, without an IP header."""
    length = 8 + len(payload)
    pseudo = IPv4Address(source[0]).packed + IPv4Address(destination[0]).packed + struct.pack("!HH", 17, length)
    head = struct.pack("!HHHH", source[1], destination[1], length, 0)
    return head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF) + payload


def udp_packet(source: Endpoint, destination: Endpoint, payload: bytes = b"hello", *, options: bytes = b"") -> bytes:
    """A whole UDP packet: what an error is about."""
    return ip(source[0], destination[0], socket.IPPROTO_UDP, udp(source, destination, payload), options=options)


def tcp_start(source: Endpoint, destination: Endpoint, sequence: int = 1) -> bytes:
    """The beginning of a TCP packet, as long as an error quotes at least: 64 bits (RFC 792)."""
    return ip(
        source[0], destination[0], socket.IPPROTO_TCP, struct.pack("!HHII", *(source[1], destination[1]), sequence, 0)
    )


def fragments(source: Endpoint, destination: Endpoint, payload: bytes, size: int, identification: int) -> list[bytes]:
    """A UDP packet in fragments of *size* bytes, in order."""
    datagram = udp(source, destination, payload)
    parts = [datagram[start : start + size] for start in range(0, len(datagram), size)]
    return [
        ip(
            source[0],
            destination[0],
            socket.IPPROTO_UDP,
            part,
            fragment=number * size // 8 | (MORE_FRAGMENTS if number < len(parts) - 1 else 0),
            identification=identification,
        )
        for number, part in enumerate(parts)
    ]


def icmp(kind: int, code: int, rest: bytes = bytes(4), payload: bytes = b"", *, damaged: bool = False) -> bytes:
    """An ICMP message, without an IP header."""
    message = struct.pack("!BBH", kind, code, 0) + rest + payload
    value = checksum(message) ^ (0x5555 if damaged else 0)
    return message[:2] + struct.pack("!H", value) + message[4:]


def echo(kind: int, identifier: int, payload: bytes = b"", sequence: int = 1) -> bytes:
    """An echo request or reply."""
    return icmp(kind, 0, struct.pack("!HH", identifier, sequence), payload)


@dataclass(frozen=True, slots=True)
class Error:
    """An ICMP error as it arrived."""

    source: str
    destination: str
    kind: int
    code: int
    mtu: int
    about: bytes
    """The packet that it quotes, from its IP header on."""

    @property
    def about_protocol(self) -> int:
        """The protocol of what it quotes."""
        return self.about[9]

    @property
    def about_source(self) -> Endpoint:
        """Who sent what it quotes; for ICMP, the identifier stands for the port."""
        return str(IPv4Address(self.about[12:16])), self._words[2 if self.about_protocol == socket.IPPROTO_ICMP else 0]

    @property
    def about_destination(self) -> Endpoint:
        """To whom that was sent."""
        return str(IPv4Address(self.about[16:20])), self._words[1]

    @property
    def _words(self) -> Sequence[int]:
        head = 4 * (self.about[0] & 15)
        return struct.unpack("!HHHH", self.about[head : head + 8])


def read_error(packet: bytes) -> Error | None:
    """The error in an IPv4 packet; None where it is something else."""
    head = 4 * (packet[0] & 15)
    if packet[9] != socket.IPPROTO_ICMP or packet[head] not in (UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM):
        return None
    return Error(
        str(IPv4Address(packet[12:16])),
        str(IPv4Address(packet[16:20])),
        packet[head],
        packet[head + 1],
        struct.unpack("!H", packet[head + 6 : head + 8])[0],
        packet[head + 8 :],
    )
