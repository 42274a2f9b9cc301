"""`DropWatch`: what each interface has dropped since a trace began, read from the lab's own counters.

A packet that an impaired interface drops is never seen to leave it. Which of them was dropped by chance, and which
because the queue was full, no counter says; but that there were such, and how many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wanlab.errors import WanlabError

if TYPE_CHECKING:
    from wanlab.runtime.counters import Counters

_FRESH_S = 0.2  # counters are not read more often: a packet is told when it has been missed for longer than that


@dataclass(frozen=True, slots=True)
class Drops:
    """What one interface did not send on, in packets."""

    lost: int = 0
    """By chance, as its impairment asks."""
    overflowed: int = 0
    """Because its queue was full."""
    undecided: int = 0
    """By the one or the other, where the kernel tells only the sum (netem)."""
    refused: int = 0
    """By the interface itself: it, or the other end, is down; or the other end had no room."""
    waiting: int = 0
    """Not dropped: they wait for their turn, or are being delayed."""

    def __add__(self, other: Drops) -> Drops:
        return Drops(
            self.lost + other.lost,
            self.overflowed + other.overflowed,
            self.undecided + other.undecided,
            self.refused + other.refused,
            self.waiting + other.waiting,
        )


class DropWatch:
    """Compares counters with what they were when it was made. *read* gives those of all interfaces."""

    def __init__(self, read: Callable[[], Iterable[Counters]]) -> None:
        self._read = read
        self._began = self._look()
        self._now = self._began
        self._looked = time.monotonic()

    def since(self, node: str, interface: str) -> Drops:
        """What that interface has dropped since."""
        if time.monotonic() - self._looked >= _FRESH_S:
            self._now = self._look() or self._now
            self._looked = time.monotonic()
        now = self._now.get((node, interface))
        return Drops() if now is None else _difference(self._began.get((node, interface)), now)

    def _look(self) -> dict[tuple[str, str], Counters]:
        try:
            return {(each.node, each.interface): each for each in self._read()}
        except (WanlabError, OSError):
            return {}  # the lab has gone: what was read last holds


def _difference(before: Counters | None, now: Counters) -> Drops:
    def more(then: int | None, count: int | None) -> int:
        # An impairment that was set anew counts from nothing again.
        return (count or 0) - (then or 0) if (count or 0) >= (then or 0) else count or 0

    if before is None:
        lost, overflowed, impaired, refused = now.lost or 0, now.overflowed or 0, now.impaired, now.refused
    else:
        lost, overflowed = more(before.lost, now.lost), more(before.overflowed, now.overflowed)
        impaired, refused = more(before.impaired, now.impaired), more(before.refused, now.refused)
    undecided = impaired if now.lost is None else 0
    return Drops(lost, overflowed, undecided, refused, now.waiting)
