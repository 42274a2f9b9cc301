"""ICMP and ICMPv6, as far as `ping` needs them: bytes in, bytes out, no sockets.

RFC 792 and RFC 4443; the words are those of iputils' ping, which people know.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_V4_REQUEST, _V4_REPLY = 8, 0
_V6_REQUEST, _V6_REPLY = 128, 129
_V6_HEADER = 40
_ICMPV6 = 58
_SHORTEST_V4_HEADER = 20


@dataclass(frozen=True, slots=True)
class Echo:
    """A request, or the reply to it: which carries the same."""

    identifier: int
    sequence: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An echo came back."""

    echo: Echo
    ttl: int | None
    """What was left of it (IPv6: the hop limit); None where the packet does not tell."""
    size: int
    """Bytes of the ICMP message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A router or a host reports that it could not deliver an echo request."""

    identifier: int
    sequence: int
    destination: IPv4Address | IPv6Address
    """Where the request was to go to."""
    type: int
    code: int
    words: str


def build_request(version: int, echo: Echo) -> bytes:
    """An echo request. An ICMPv6 one has no checksum: it covers the IP addresses, so the kernel fills it in."""
    kind = _V4_REQUEST if version == 4 else _V6_REQUEST
    message = _HEADER.pack(kind, 0, 0, echo.identifier, echo.sequence) + echo.payload
    return message if version == 6 else message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def parse(version: int, packet: bytes, ttl: int | None = None) -> Reply | Problem | None:
    """What a raw ICMP socket has received; None for what is neither a reply nor a problem with a request.

    For IPv4 the kernel hands over the IP header as well; for IPv6 it does not, and *ttl* comes by another way.
    """
    if version == 4:
        length = _v4_header_length(packet)
        if length is None:
            return None
        return _parse_message(4, packet[length:], packet[8])
    return _parse_message(6, packet, ttl)


def _parse_message(version: int, message: bytes, ttl: int | None) -> Reply | Problem | None:
    if len(message) < _HEADER.size:
        return None
    kind, code, _, identifier, sequence = _HEADER.unpack_from(message)
    if kind == (_V4_REPLY if version == 4 else _V6_REPLY):
        return Reply(Echo(identifier, sequence, message[_HEADER.size :]), ttl, len(message))
    words = describe(version, kind, code, int.from_bytes(message[4:8]))
    quoted = _quoted_request(version, message[_HEADER.size :])
    if words is None or quoted is None:
        return None
    destination, request = quoted
    return Problem(request.identifier, request.sequence, destination, kind, code, words)


def _quoted_request(version: int, packet: bytes) -> tuple[IPv4Address | IPv6Address, Echo] | None:
    """The echo request at the beginning of the packet that an error message quotes."""
    destination: IPv4Address | IPv6Address
    if version == 4:
        length = _v4_header_length(packet)
        if length is None or packet[9] != 1:
            return None
        destination, message, request = IPv4Address(packet[16:20]), packet[length:], _V4_REQUEST
    else:
        if len(packet) < _V6_HEADER or packet[6] != _ICMPV6:
            return None
        destination, message, request = IPv6Address(packet[24:40]), packet[_V6_HEADER:], _V6_REQUEST
    if len(message) < _HEADER.size:
        return None
    kind, _, _, identifier, sequence = _HEADER.unpack_from(message)
    return (destination, Echo(identifier, sequence)) if kind == request else None


def _v4_header_length(packet: bytes) -> int | None:
    if len(packet) < _SHORTEST_V4_HEADER or packet[0] >> 4 != 4:
        return None
    length = (packet[0] & 15) * 4
    return length if _SHORTEST_V4_HEADER <= length <= len(packet) else None


def checksum(data: bytes) -> int:
    """RFC 1071's."""
    words: Iterator[tuple[int]] = struct.iter_unpack("!H", data + b"\0" * (len(data) % 2))
    total = sum(word for (word,) in words)
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


_UNREACHABLE_V4 = {
    0: "Destination Net Unreachable",
    1: "Destination Host Unreachable",
    2: "Destination Protocol Unreachable",
    3: "Destination Port Unreachable",
    5: "Source Route Failed",
    6: "Destination Net Unknown",
    7: "Destination Host Unknown",
    9: "Destination Net Prohibited",
    10: "Destination Host Prohibited",
    13: "Packet filtered",
}
_UNREACHABLE_V6 = {
    0: "No route",
    1: "Administratively prohibited",
    2: "Beyond scope of source address",
    3: "Address unreachable",
    4: "Port unreachable",
    5: "Source address failed ingress/egress policy",
    6: "Reject route to destination",
}


def describe(version: int, kind: int, code: int, rest: int) -> str | None:
    """An error message in words; None where its type is no error. *rest* is the second word of its header."""
    if version == 4:
        match kind, code:
            case 3, 4:
                return f"Frag needed and DF set (mtu = {rest & 0xFFFF})"  # RFC 1191
            case 3, _:
                return _UNREACHABLE_V4.get(code, f"Destination Unreachable, code {code}")
            case 4, _:
                return "Source Quench"
            case 11, _:
                return "Time to live exceeded" if code == 0 else "Frag reassembly time exceeded"
            case 12, _:
                return "Parameter problem"
        return None
    match kind:
        case 1:
            return "Destination unreachable: " + _UNREACHABLE_V6.get(code, f"code {code}")
        case 2:
            return f"Packet too big: mtu={rest}"
        case 3:
            return "Time exceeded: " + ("Hop limit" if code == 0 else "Defragmentation failure")
        case 4:
            return "Parameter problem"
    return None
