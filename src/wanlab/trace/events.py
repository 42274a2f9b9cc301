"""What a trace is made of: packets seen at link ends, verdicts of rules, and the keys by which they are held together.

A NAT changes addresses, ports and checksums, of ICMP the identifier. By what is left a packet is known again behind it.
"""

from __future__ import annotations

from typing import NamedTuple

from wanlab.capture.decode import (
    ICMP,
    ICMP6,
    PROTOCOLS,
    TCP,
    UDP,
    Ip,
    endpoints,
    icmp_words,
    parse_ip,
    quoted,
    tcp_flags,
)
from wanlab.capture.headers import Header
from wanlab.kernel.nftrace import Traced

SNAP_BYTES = 192
"""How much of a packet is kept: its headers, and some of what it carries."""
_CARRIED = 64  # bytes of its payload that tell a packet from others
_ECHOES = (0, 8, 128, 129)

Key = tuple[int, int, int, bytes]


class Sighting(NamedTuple):
    """A frame at a link end."""

    time_ns: int
    node: str
    interface: str
    outbound: bool
    frame: bytes
    """Its first bytes."""


def content_key(frame: bytes, ip: Ip) -> Key:
    """What stays of a packet from its sender to its end, whoever translates it."""
    body = ip.body
    if ip.offset:
        kept = frame[body : body + _CARRIED]
    elif ip.protocol == UDP:
        kept = frame[body + 8 : body + 8 + _CARRIED]
    elif ip.protocol == TCP:  # without ports and checksum
        kept = frame[body + 4 : body + 16] + frame[body + 20 : body + 20 + _CARRIED]
    elif ip.protocol in (ICMP, ICMP6):
        about = quoted(frame, ip)
        if about is not None:
            kept = frame[body : body + 2] + b"%d %d %d" % (about.protocol, about.ident, about.length)
        elif frame[body : body + 1] and frame[body] in _ECHOES:
            kept = frame[body : body + 2] + frame[body + 6 : body + 6 + _CARRIED]
        else:
            kept = frame[body : body + _CARRIED]
    else:
        kept = frame[body : body + _CARRIED]
    return ip.protocol, ip.ident, ip.length, kept


def verdict_key(frame: bytes, ip: Ip) -> tuple[bytes, Key]:
    """The same of what the kernel tells of a packet with its verdict: its source, and 20 bytes behind its header."""
    body = ip.body
    if ip.protocol == UDP and not ip.offset:
        kept = frame[body : body + 2] + frame[body + 8 : body + 20]
    elif ip.protocol == TCP and not ip.offset:
        kept = frame[body : body + 2] + frame[body + 4 : body + 12]
    elif ip.protocol in (ICMP, ICMP6) and not ip.offset:
        kept = frame[body : body + 2]
        if kept[:1] and kept[0] in _ECHOES:
            kept += frame[body + 6 : body + 20]
    else:
        kept = frame[body : body + 20]
    return ip.source, (ip.protocol, ip.ident, ip.length, kept)


def traced_packet(traced: Traced) -> tuple[bytes, Ip] | None:
    """The packet that a verdict is about, as a frame, as far as it is told."""
    ethertype = b"\x86\xdd" if traced.network[:1] >= b"\x60" else b"\x08\x00"
    frame = b"".join((bytes(12), ethertype, traced.network, traced.transport))
    ip = parse_ip(frame)
    return None if ip is None else (frame, ip)


def header(frame: bytes, ip: Ip) -> Header:
    """What a packet says of itself."""
    source, destination = endpoints(ip)
    size = ip.length - (ip.body - ip.start)
    info = f"{size} bytes"
    if ip.offset:
        info = f"fragment at {ip.offset}"
    elif ip.protocol == UDP:
        info = f"{size - 8} bytes"
    elif ip.protocol == TCP and len(frame) >= ip.body + 20:
        data = size - 4 * (frame[ip.body + 12] >> 4)
        info = f"[{tcp_flags(frame[ip.body + 13])}]" + (f" {data} bytes" if data else "")
    elif ip.protocol in (ICMP, ICMP6):
        info = icmp_words(frame, ip)
        if ip.ports is not None:
            info += f" {int.from_bytes(frame[ip.body + 6 : ip.body + 8], 'big')}"
    return Header(PROTOCOLS.get(ip.protocol, str(ip.protocol)), source, destination, ip.ttl, ip.length, info)
