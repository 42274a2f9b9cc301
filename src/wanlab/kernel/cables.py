"""Which ends of cables belong together, and which of them are up: what a lab's steps have made so far.

A cable has a carrier once both its ends are up. The kernel acts on that lazily, unless it is asked for each end, and it
takes two ends that know of each other to ask.
"""

from __future__ import annotations

_End = tuple[str, str]
"""Node and interface."""


class Cables:
    """The cables of a lab, kept up to date by whoever takes its steps."""

    def __init__(self) -> None:
        self._peers: dict[_End, _End] = {}
        self._up: set[_End] = set()

    def add(self, a: _End, b: _End) -> None:
        """There is a cable between these two."""
        self._peers[a], self._peers[b] = b, a

    def bring_up(self, end: _End) -> _End | None:
        """An end comes up; the other end, where that gives both of them their carrier."""
        peer = self._peers.get(end)
        if peer is None:
            return None
        self._up.add(end)
        return peer if peer in self._up else None

    def take_down(self, end: _End) -> None:
        """An end goes down."""
        self._up.discard(end)

    def move(self, end: _End, to: _End) -> None:
        """An end is another interface from now on, which is down."""
        self._up.discard(end)
        peer = self._peers.pop(end, None)
        if peer is not None:
            self.add(to, peer)

    def remove(self, end: _End) -> None:
        """A cable is gone, and with one of its ends the other."""
        for each in (end, self._peers.get(end, end)):
            self._peers.pop(each, None)
            self._up.discard(each)

    def remove_node(self, node: str) -> None:
        """All cables of a node are gone."""
        for end in [end for end in self._peers if end[0] == node]:
            self.remove(end)
