"""Packets to more than one receiver: who sent each, and whom it reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from wanlab.capture.decode import Ip
from wanlab.trace.events import Sighting


@dataclass(slots=True, eq=False)
class Broadcast:
    """A broadcast or a multicast, on one segment."""

    number: int
    sent: Sighting
    """At the first port that it left by."""
    ip: Ip
    reached: list[str] = field(default_factory=list)
    """Hosts and routers, in the order in which it came to them."""


class Broadcasts:
    """All of them; does no I/O."""

    def __init__(self) -> None:
        self._open: deque[Broadcast] = deque()
        self._by_frame: dict[bytes, list[Broadcast]] = {}

    def send(self, number: int, sighting: Sighting, ip: Ip) -> bool:
        """One leaves its sender; whether it is new, and not the copy that another port of the sender's bridge sends."""
        alike = self._by_frame.setdefault(sighting.frame, [])
        if any(each.sent.node == sighting.node and each.sent.interface != sighting.interface for each in alike):
            return False
        broadcast = Broadcast(number, sighting, ip)
        alike.append(broadcast)
        self._open.append(broadcast)
        return True

    def arrive(self, sighting: Sighting) -> None:
        """One reaches a node."""
        for each in self._by_frame.get(sighting.frame, ()):
            if sighting.node not in each.reached:
                each.reached.append(sighting.node)
                return

    def over(self, old_ns: int | None) -> Iterator[Broadcast]:
        """Those that were sent before *old_ns*; with None all that are left."""
        while self._open and (old_ns is None or self._open[0].sent.time_ns <= old_ns):
            one = self._open.popleft()
            alike = self._by_frame[one.sent.frame]
            alike.remove(one)
            if not alike:
                del self._by_frame[one.sent.frame]
            yield one
