"""What a frame says of itself: its header as a story has it, and what no router changes on its way."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from wanlab.topology.network import IPAddress

_IPV4, _IPV6 = 0x0800, 0x86DD
_ICMP, _TCP, _UDP, _ICMP6 = 1, 6, 17, 58
_NAMES = {_ICMP: "icmp", _TCP: "tcp", _UDP: "udp", _ICMP6: "icmp6"}
_FLAGS = ((0x02, "SYN"), (0x10, "ACK"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"))
_ICMP_WORDS = {
    (_ICMP, 0): "echo reply", (_ICMP, 3): "unreachable", (_ICMP, 8): "echo request", (_ICMP, 11): "time exceeded",
    (_ICMP6, 1): "unreachable", (_ICMP6, 2): "packet too big", (_ICMP6, 3): "time exceeded",
    (_ICMP6, 128): "echo request", (_ICMP6, 129): "echo reply",
}  # fmt: skip
_ECHOES = {(_ICMP, 0), (_ICMP, 8), (_ICMP6, 128), (_ICMP6, 129)}
_ERRORS = {(_ICMP, 3), (_ICMP, 11), (_ICMP, 12), (_ICMP6, 1), (_ICMP6, 2), (_ICMP6, 3), (_ICMP6, 4)}


_address = lru_cache(maxsize=4096)(ip_address)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, and a port where the protocol has them."""

    address: IPAddress
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return str(self.address)
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"

    @classmethod
    def of(cls, packed: bytes, port: int | None = None) -> Endpoint:
        """That of an address in a packet's own form."""
        return cls(_address(packed), port)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Endpoint:
        """Of :meth:`to_json`."""
        return cls(ip_address(value["address"]), value["port"])

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {"address": str(self.address), "port": self.port}


@dataclass(frozen=True, slots=True)
class Header:
    """What a packet says of itself at one place."""

    protocol: str
    """`udp`, `tcp`, `icmp`, `icmp6`, else IP's number for it."""
    source: Endpoint
    destination: Endpoint
    ttl: int
    """Hops left; 0 for a question for a neighbour, which is not routed."""
    length: int
    """Bytes of the IP packet."""
    info: str = ""
    """What else is worth knowing, in words: `SYN`, `echo request 3`."""

    def __str__(self) -> str:
        return f"{self.protocol} {self.source} > {self.destination}"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Header:
        """Of :meth:`to_json`."""
        source, destination = Endpoint.from_json(value["source"]), Endpoint.from_json(value["destination"])
        return cls(value["protocol"], source, destination, value["ttl"], value["length"], value["info"])

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "protocol": self.protocol,
            "source": self.source.to_json(),
            "destination": self.destination.to_json(),
            "ttl": self.ttl,
            "length": self.length,
            "info": self.info,
        }


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame with an IP packet in it."""

    to_mac: bytes
    from_mac: bytes
    header: Header
    same: tuple[object, ...]
    """Equal for one packet at every place that it passes, whatever is translated."""
    quoted: tuple[Endpoint, Endpoint] | None = None
    """Of an ICMP error: from where, to where the packet went that it is about."""


def read_frame(data: bytes) -> Frame | None:
    """What *data* is; None for what is no IP, or is cut off before anything could be told."""
    if len(data) < 34:
        return None
    (kind,) = struct.unpack_from("!H", data, 12)
    packet = _Packet(data[14:]) if kind in (_IPV4, _IPV6) else None
    if packet is None or not packet.whole:
        return None
    return Frame(data[:6], data[6:12], packet.header(), packet.same(), packet.quoted())


def _endpoint(packed: bytes, port: int | None) -> Endpoint:
    return Endpoint(ip_address(packed), port)


class _Packet:
    """An IP packet taken apart."""

    def __init__(self, data: bytes) -> None:
        self.whole = True
        version = data[0] >> 4
        self.fragment = 0
        if version == 4:
            start = (data[0] & 15) * 4
            self.length, self.number, fragment = struct.unpack_from("!HHH", data, 2)
            self.fragment = fragment & 0x1FFF
            self.ttl, self.protocol = data[8], data[9]
            self.source, self.destination = data[12:16], data[16:20]
        elif len(data) >= 40:
            start = 40
            self.length, self.number = struct.unpack_from("!H", data, 4)[0] + 40, 0
            self.protocol, self.ttl = data[6], data[7]
            self.source, self.destination = data[8:24], data[24:40]
        else:
            self.whole = False
            return
        self.body = data[start : self.length] if self.length else data[start:]
        needed = {_TCP: 20, _UDP: 8, _ICMP: 8, _ICMP6: 8}.get(self.protocol, 0)
        if self.fragment == 0 and len(self.body) < needed:
            self.whole = False

    @property
    def kind(self) -> tuple[int, int]:
        """Protocol and, of ICMP, the type."""
        return self.protocol, self.body[0] if self.body else 0

    def ports(self) -> tuple[int | None, int | None]:
        if self.protocol in (_TCP, _UDP) and not self.fragment:
            source, destination = struct.unpack_from("!HH", self.body)
            return source, destination
        return None, None

    def header(self) -> Header:
        ports = self.ports()
        return Header(
            _NAMES.get(self.protocol, str(self.protocol)),
            _endpoint(self.source, ports[0]),
            _endpoint(self.destination, ports[1]),
            self.ttl,
            self.length,
            self._info(),
        )

    def _info(self) -> str:
        if self.fragment:
            return f"fragment at {self.fragment * 8}"
        if self.protocol == _TCP:
            flags = self.body[13]
            return " ".join(name for bit, name in _FLAGS if flags & bit)
        if self.protocol in (_ICMP, _ICMP6):
            words = _ICMP_WORDS.get(self.kind, f"type {self.body[0]}")
            return f"{words} {struct.unpack_from('!H', self.body, 6)[0]}" if self.kind in _ECHOES else words
        return ""

    def same(self) -> tuple[object, ...]:
        head = (self.protocol, self.number, self.length, self.fragment)
        body = self.body
        if self.fragment:
            return (*head, body)
        if self.protocol == _UDP:
            return (*head, body[8:])  # without ports, length and checksum
        if self.protocol == _TCP:
            return (*head, body[4:16], body[18:])
        if self.kind in _ECHOES:
            return (*head, body[:2], body[6:])  # without checksum and identifier
        if self.kind in _ERRORS:
            return (*head, body[:2])  # what it quotes is translated back
        return (*head, body)

    def quoted(self) -> tuple[Endpoint, Endpoint] | None:
        if self.kind not in _ERRORS or self.fragment or len(self.body) < 8 + 28:
            return None
        inner = _Packet(self.body[8:])
        if not inner.whole and len(inner.body) < 4:
            return None
        ports: tuple[int | None, int | None] = (None, None)
        if inner.protocol in (_TCP, _UDP):
            ports = struct.unpack_from("!HH", inner.body)
        return _endpoint(inner.source, ports[0]), _endpoint(inner.destination, ports[1])
