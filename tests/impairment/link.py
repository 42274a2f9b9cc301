"""A link between two hosts, and packets over it: when each was sent and received, by the kernel's clock."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wanlab import Lab, Topology

_SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h
_PORT = 4000
_NUMBER = struct.Struct("=I")


@dataclass(slots=True)
class Packets:
    """What was sent, and what arrived of it."""

    sent: list[float] = field(default_factory=list)
    """When, in seconds, by number."""
    arrived: list[tuple[int, float]] = field(default_factory=list)
    """Number and time, in the order of arrival."""

    @property
    def delays_ms(self) -> list[float]:
        """How long each that arrived took, in the order of arrival."""
        return [(at - self.sent[number]) * 1000 for number, at in self.arrived]

    @property
    def numbers(self) -> list[int]:
        """The numbers in the order of arrival."""
        return [number for number, _ in self.arrived]


def link(impairment: Any, *, mtu: int | None = None) -> Topology:
    """`a`, whose link to `b` is impaired."""
    t = Topology("link")
    t.host("a").connect(t.host("b"), address="10.0.0.1/24", peer_address="10.0.0.2/24", impairment=impairment, mtu=mtu)
    return t


@contextmanager
def up(impairment: Any, means: str, **options: Any) -> Iterator[Lab]:
    """The lab of that link, with neighbours known."""
    with Lab(link(impairment, **options), impairment=means) as lab:
        yield lab


def send(
    lab: Lab, count: int, *, gap: float = 0.0, size: int = 100, back: bool = False, patience: float = 1.0
) -> Packets:
    """Send numbered datagrams of *size* bytes as frames from `a` to `b`, *gap* seconds apart; *back*: the other way.

    Ends when nothing has come for *patience* seconds after the last one was sent.
    """
    near, far = ("b", "a") if back else ("a", "b")
    packets = Packets()
    payload = bytes(size - 14 - 20 - 8 - _NUMBER.size)
    with lab[near].socket(type=socket.SOCK_DGRAM) as sender, lab[far].socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        receiver.bind(("0.0.0.0", _PORT))
        receiver.settimeout(0.05)
        sender.connect((str(lab[far].address), _PORT))
        done = threading.Event()
        reading = threading.Thread(target=_read, args=(receiver, packets, done, patience))
        reading.start()
        start = time.monotonic()
        for number in range(count):
            if gap:
                time.sleep(max(0.0, start + number * gap - time.monotonic()))
            packets.sent.append(time.time())
            sender.send(_NUMBER.pack(number) + payload)
        done.set()
        reading.join()
    return packets


def _read(receiver: socket.socket, packets: Packets, done: threading.Event, patience: float) -> None:
    last = time.monotonic()
    while not done.is_set() or time.monotonic() < last + patience:
        try:
            data, ancillary, _, _ = receiver.recvmsg(2048, 64)
        except TimeoutError:
            if not done.is_set():
                last = time.monotonic()
            continue
        last = time.monotonic()
        seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
        packets.arrived.append((_NUMBER.unpack_from(data)[0], seconds + nanoseconds / 1e9))
