"""What a frame says, in a line: enough to see what goes on. Wireshark knows the rest.

IP 10.1.0.1:5000 > 172.16.0.100:9000: UDP, length 12
IP 10.1.0.1:5000 > 172.16.0.100:80: TCP [S], seq 1, win 64240, length 0
IP 172.16.0.1 > 10.1.0.1: ICMP time exceeded for udp 10.1.0.1:5000 > 172.16.0.100:9000
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

from wanlab.capture.decode_payload import describe_payload
from wanlab.capture.headers import Endpoint

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6"}
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_FLAGS = "FSRP.UEW"  # tcpdump's letters; `.` is ACK
_FRAGMENT, _HOP_BY_HOP, _ROUTING, _OPTIONS = 44, 0, 43, 60

ICMP_KINDS = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
ICMP6_KINDS = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    143: "multicast listener report",
}
_ECHOES = {ICMP: (0, 8), ICMP6: (128, 129)}
ERRORS = {ICMP: (3, 5, 11, 12), ICMP6: (1, 2, 3, 4)}
"""The kinds of ICMP messages that quote the packet that they are about."""
UNREACHABLE = {
    (ICMP, 3, 0): "network unreachable",
    (ICMP, 3, 1): "host unreachable",
    (ICMP, 3, 2): "protocol unreachable",
    (ICMP, 3, 3): "port unreachable",
    (ICMP, 3, 4): "fragmentation needed",
    (ICMP, 3, 9): "network administratively prohibited",
    (ICMP, 3, 10): "host administratively prohibited",
    (ICMP, 3, 13): "administratively prohibited",
    (ICMP6, 1, 0): "no route to destination",
    (ICMP6, 1, 1): "administratively prohibited",
    (ICMP6, 1, 3): "address unreachable",
    (ICMP6, 1, 4): "port unreachable",
    (ICMP6, 1, 5): "source address failed policy",
}


class Ip(NamedTuple):
    """An IP packet's header, and where in its frame it goes on."""

    version: int
    protocol: int
    source: bytes
    destination: bytes
    ttl: int
    length: int
    """Of the IP packet, its header included."""
    ident: int
    """IPv4's identification; 0 where a sender sets none."""
    offset: int
    """Of a fragment, in bytes; 0 for a first one, and for what is whole."""
    start: int
    """Where in the frame the header begins."""
    body: int
    """Where what it carries begins."""
    ports: tuple[int, int] | None
    """Of UDP and TCP; of an ICMP echo its identifier, twice."""


def parse_ip(frame: bytes, start: int = 14) -> Ip | None:
    """The IP packet in an Ethernet frame, or one that begins at *start*; None where there is none, or too little."""
    if start == 14 and frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
        return None
    if len(frame) < start + 20:
        return None
    if frame[start] >> 4 == 4:
        first, _, length, ident, fragment, ttl, protocol, _, source, destination = struct.unpack_from(
            "!BBHHHBBH4s4s", frame, start
        )
        body, offset, version = start + 4 * (first & 15), 8 * (fragment & 0x1FFF), 4
    elif len(frame) >= start + 40:
        length, protocol, ttl, source, destination = struct.unpack_from("!4xHBB16s16s", frame, start)
        length, version, ident = length + 40, 6, 0
        protocol, body, offset = _skip_extensions(frame, protocol, start + 40)
    else:
        return None
    ports = None if offset else _ports(frame, protocol, body)
    return Ip(version, protocol, source, destination, ttl, length, ident, offset, start, body, ports)


def _skip_extensions(frame: bytes, protocol: int, at: int) -> tuple[int, int, int]:
    offset = 0
    while protocol in (_FRAGMENT, _HOP_BY_HOP, _ROUTING, _OPTIONS) and len(frame) >= at + 8:
        size = 8
        if protocol == _FRAGMENT:
            offset = int.from_bytes(frame[at + 2 : at + 4], "big") & ~7
        else:
            size += 8 * frame[at + 1]
        protocol, at = frame[at], at + size
    return protocol, at, offset


def _ports(frame: bytes, protocol: int, body: int) -> tuple[int, int] | None:
    if protocol in (UDP, TCP) and len(frame) >= body + 4:
        source, destination = struct.unpack_from("!HH", frame, body)
        return source, destination
    if protocol in _ECHOES and len(frame) >= body + 6 and frame[body] in _ECHOES[protocol]:
        ident = int.from_bytes(frame[body + 4 : body + 6], "big")
        return ident, ident
    return None


def endpoints(ip: Ip) -> tuple[Endpoint, Endpoint]:
    """From where to where; an echo has no ports."""
    ports: tuple[int | None, int | None] = (None, None)
    if ip.ports is not None and ip.protocol not in _ECHOES:
        ports = ip.ports
    return Endpoint.of(ip.source, ports[0]), Endpoint.of(ip.destination, ports[1])


def quoted(frame: bytes, ip: Ip) -> Ip | None:
    """The packet that an ICMP error is about, as far as it is quoted; None where it is no error."""
    if ip.protocol not in ERRORS or ip.offset or len(frame) <= ip.body or frame[ip.body] not in ERRORS[ip.protocol]:
        return None
    return parse_ip(frame, ip.body + 8)


def icmp_words(frame: bytes, ip: Ip) -> str:
    """What kind of ICMP message it is, in words: `port unreachable`, `echo request`."""
    if len(frame) < ip.body + 2:
        return "cut off"
    kind, code = frame[ip.body], frame[ip.body + 1]
    kinds = ICMP_KINDS if ip.protocol == ICMP else ICMP6_KINDS
    return UNREACHABLE.get((ip.protocol, kind, code)) or kinds.get(kind, f"type {kind} code {code}")


def describe(frame: bytes, length: int | None = None) -> str:
    """The line; *length*: how many bytes were on the wire, where not all are here."""
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype == _ARP:
        return _arp(frame)
    ip = parse_ip(frame)
    if ip is None:
        return f"ethertype 0x{ethertype:04x}, length {len(frame) if length is None else length}"
    source, destination = endpoints(ip)
    return f"IP{'6' if ip.version == 6 else ''} {source} > {destination}: {describe_body(frame, ip)}"


def describe_body(frame: bytes, ip: Ip) -> str:
    """What an IP packet carries."""
    size = ip.length - (ip.body - ip.start)
    if ip.offset:
        return f"fragment at {ip.offset}, length {size}"
    if ip.protocol == UDP and len(frame) >= ip.body + 8:
        payload = frame[ip.body + 8 :]
        return f"UDP, length {size - 8}{describe_payload(payload, ip.ports or (0, 0))}"
    if ip.protocol == TCP and len(frame) >= ip.body + 20:
        return _tcp(frame, ip, size)
    if ip.protocol in ERRORS:
        return _icmp(frame, ip, size)
    return f"{PROTOCOLS.get(ip.protocol, f'protocol {ip.protocol}').upper()}, length {size}"


def tcp_flags(flags: int) -> str:
    """`S.` for SYN and ACK: tcpdump's letters."""
    return "".join(letter for bit, letter in enumerate(_FLAGS) if flags >> bit & 1) or "none"


def _tcp(frame: bytes, ip: Ip, size: int) -> str:
    sequence, acknowledged, header, flags, window = struct.unpack_from("!IIBBH", frame, ip.body + 4)
    said = f"TCP [{tcp_flags(flags)}], seq {sequence}"
    if flags & 0x10:
        said += f", ack {acknowledged}"
    return f"{said}, win {window}, length {size - 4 * (header >> 4)}"


def _icmp(frame: bytes, ip: Ip, size: int) -> str:
    name = "ICMP6" if ip.protocol == ICMP6 else "ICMP"
    about = quoted(frame, ip)
    if about is not None:
        source, destination = endpoints(about)
        carried = PROTOCOLS.get(about.protocol, f"protocol {about.protocol}")
        return f"{name} {icmp_words(frame, ip)} for {carried} {source} > {destination}"
    words = f"{name} {icmp_words(frame, ip)}"
    if ip.ports is not None and len(frame) >= ip.body + 8:
        words += f", id {ip.ports[0]}, seq {int.from_bytes(frame[ip.body + 6 : ip.body + 8], 'big')}"
    elif ip.protocol == ICMP6 and len(frame) >= ip.body + 24 and frame[ip.body] in (135, 136):
        words += f" {ip_address(frame[ip.body + 8 : ip.body + 24])}"
    return f"{words}, length {size}"


def _arp(frame: bytes) -> str:
    if len(frame) < 42:
        return "ARP, cut off"
    operation = int.from_bytes(frame[20:22], "big")
    sender, target = (ip_address(frame[at : at + 4]) for at in (28, 38))
    if operation == 1:
        return f"ARP who-has {target} tell {sender}"
    return f"ARP {sender} is-at {frame[22:28].hex(':')}"
