"""What the kernel knows of interfaces and their queues: how much went through, and how much was dropped."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_RTM_GETLINK, _RTM_GETQDISC = 18, 38
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_TCA_STATS_BASIC, _TCA_STATS_QUEUE = 1, 3
_IFLA_IFNAME, _IFLA_STATS64 = 3, 23
_NESTED = 0x8000  # NLA_F_NESTED


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of an interface, and what it has done."""

    index: int
    """The interface's."""
    kind: str
    options: bytes
    packets: int
    """Sent on."""
    bytes: int
    dropped: int
    waiting: int
    """Packets that are in it now."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an interface has sent and received."""

    index: int
    name: str
    sent_packets: int
    sent_bytes: int
    sent_dropped: int
    received_packets: int
    received_bytes: int
    received_dropped: int


def queues() -> list[Queue]:
    """Every queue of the namespace that the caller is in."""
    found = []
    for body in _dump(_RTM_GETQDISC, struct.pack("=BBHiIII", 0, 0, 0, 0, 0, 0, 0)):
        (index,) = struct.unpack_from("=i", body, 4)
        told = dict(attributes(body[20:]))
        statistics = dict(attributes(told.get(_TCA_STATS2, b"")))
        sent = struct.unpack_from("=QI", statistics.get(_TCA_STATS_BASIC, bytes(12)))
        waiting, _, dropped = struct.unpack_from("=III", statistics.get(_TCA_STATS_QUEUE, bytes(12)))
        kind = told[_TCA_KIND].rstrip(b"\0").decode()
        found.append(Queue(index, kind, told.get(_TCA_OPTIONS, b""), sent[1], sent[0], dropped, waiting))
    return found


def traffic() -> list[Traffic]:
    """Every interface of the namespace that the caller is in."""
    found = []
    for body in _dump(_RTM_GETLINK, struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0)):
        (index,) = struct.unpack_from("=i", body, 4)
        told = dict(attributes(body[16:]))
        # struct rtnl_link_stats64: packets, bytes, errors and drops, received before sent.
        rxp, txp, rxb, txb, _, _, rxd, txd = struct.unpack_from("=8Q", told.get(_IFLA_STATS64, bytes(64)))
        name = told[_IFLA_IFNAME].rstrip(b"\0").decode()
        found.append(Traffic(index, name, txp, txb, txd, rxp, rxb, rxd))
    return found


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink attributes that *data* holds."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & ~_NESTED, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _dump(kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of the messages that the kernel answers with. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.send(struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + body)
        while True:
            data = asking.recv(1 << 17)
            offset = 0
            while offset < len(data):
                length, what = struct.unpack_from("=IH", data, offset)
                if what == _NLMSG_DONE:
                    return
                if what == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, offset + 16)[0]
                    raise OSError(number, "asking the kernel for its counters")
                yield data[offset + 16 : offset + length]
                offset += (length + 3) & ~3
