"""The packets that `verify` sends: what they say, and how they are put together and read. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

_MAGIC = b"wanlab"
_FORMAT = struct.Struct("!6s8sIB")  # magic, run, number, role
SIZE = _FORMAT.size

IPV4_HEADER, IPV6_HEADER, UDP_HEADER = 20, 40, 8

_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_UDP = 17


class Role(IntEnum):
    """What a packet is in its exchange."""

    PROBE = 1
    ANSWER = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet: which run of `verify` it belongs to, the number of its flow, its role."""

    run: bytes
    number: int
    role: Role

    def encode(self, size: int = 0) -> bytes:
        """The payload, padded to *size* bytes."""
        return _FORMAT.pack(_MAGIC, self.run, self.number, self.role).ljust(size, b"\0")


def decode(data: bytes) -> Probe | None:
    """The probe in a payload; None for anything else that came by."""
    if len(data) < SIZE:
        return None
    magic, run, number, role = _FORMAT.unpack_from(data)
    if magic != _MAGIC or role not in (Role.PROBE, Role.ANSWER):
        return None
    return Probe(run, number, Role(role))


def udp_overhead(version: int) -> int:
    """Bytes of an IP packet that are not UDP payload."""
    return (IPV4_HEADER if version == 4 else IPV6_HEADER) + UDP_HEADER


def udp_frame(
    macs: tuple[str, str],
    addresses: tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address],
    ports: tuple[int, int],
    payload: bytes,
    ttl: int = 64,
) -> bytes:
    """An Ethernet frame with a UDP packet, each pair as (source, destination): for packets that no route would send."""
    source, destination = addresses
    length = UDP_HEADER + len(payload)
    pseudo = source.packed + destination.packed + struct.pack("!II", length, _UDP)
    udp = struct.pack("!HHHH", *ports, length, 0) + payload
    checksum = _checksum(pseudo + udp) or 0xFFFF  # RFC 768: zero means none
    udp = udp[:6] + struct.pack("!H", checksum) + udp[8:]
    if source.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, IPV4_HEADER + length, 0, 0, ttl, _UDP, 0)
        header += source.packed + destination.packed
        header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    else:
        header = struct.pack("!IHBB", 6 << 28, length, _UDP, ttl) + source.packed + destination.packed
    ethernet = _mac(macs[1]) + _mac(macs[0]) + struct.pack("!H", _ETHERTYPE[source.version])
    return ethernet + header + udp


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
