"""What becomes of the packets of one direction of a link, and when: netem's rules without netem.

No sockets and no clock: a :class:`Channel` is told of each packet and the time, and says when which bytes are to leave.
The order of its decisions is that of net/sched/sch_netem.c, `netem_enqueue`. Times are nanoseconds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass

from wanlab.kernel import delays
from wanlab.topology.impairment import Bursts, Impairment


@dataclass(slots=True)
class Tally:
    """How many packets a channel was given, and what became of them."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    """By chance, as was asked for."""
    overflowed: int = 0
    """Because the queue was full."""
    duplicated: int = 0
    corrupted: int = 0
    reordered: int = 0
    refused: int = 0
    """By the interface when they were to leave: it is down, or gone."""

    def to_json(self) -> dict[str, int]:
        """As JSON can hold it."""
        return asdict(self)


class Channel:
    """One direction. `held` is how many packets are on their way: whoever sends one off counts it down."""

    def __init__(self, impairment: Impairment, limit: int) -> None:
        self.tally = Tally()
        self.held = 0
        self._last = 0
        """When the packet that was last put in line leaves."""
        self.impair(impairment, limit)

    def impair(self, impairment: Impairment, limit: int) -> None:
        """Be another link from now on; what is on its way arrives as it would have."""
        it = impairment
        # Each decision has dice of its own: that a link also delays does not change what it loses.
        dice = _dice(it.seed)
        self._limit = limit
        self._duplicate = it.duplicate_percent / 100
        self._duplicate_dice = dice("duplicate").random
        self._loses = _loser(it, dice)
        self._corrupt = it.corrupt_percent / 100
        self._corrupt_dice = dice("corrupt")
        self._reorder = it.reorder_percent / 100
        self._reorder_dice = dice("reorder").random
        self._delay = round(it.delay_ms * 1e6)
        self._scale = it.jitter_ms * 1e6 / delays.SCALE
        self._table = delays.table(it.distribution) if it.jitter_ms else ()
        self._delay_dice = dice("delay").random
        self._each_byte = 8e9 / it.rate_bps if it.rate_bps else 0.0

    def arrive(self, now: int, frame: bytes) -> list[tuple[int, bytes]]:
        """A packet is sent: when it leaves the link, and as what; nothing where it is lost, twice where doubled."""
        self.tally.packets += 1
        self.tally.bytes += len(frame)
        leaving: list[tuple[int, bytes]] = []
        if self._duplicate and self._duplicate_dice() < self._duplicate:
            self.tally.duplicated += 1
            self._pass(now, frame, leaving)
        self._pass(now, frame, leaving)
        return leaving

    def _pass(self, now: int, frame: bytes, leaving: list[tuple[int, bytes]]) -> None:
        if self._loses is not None and self._loses():
            self.tally.lost += 1
            return
        if self._corrupt and self._corrupt_dice.random() < self._corrupt:
            self.tally.corrupted += 1
            frame = self._flip(frame)
        if self.held >= self._limit:
            self.tally.overflowed += 1
            return
        if self._reorder and self._reorder_dice() < self._reorder:
            self.tally.reordered += 1
            due = now
        else:
            due = now + self._delay
            if self._table:
                due = max(now, due + round(self._table[int(self._delay_dice() * len(self._table))] * self._scale))
            if self._each_byte:
                due = self._last = max(due, self._last) + round(len(frame) * self._each_byte)
        self.held += 1
        leaving.append((due, frame))

    def _flip(self, frame: bytes) -> bytes:
        changed = bytearray(frame)
        changed[self._corrupt_dice.randrange(len(frame))] ^= 1 << self._corrupt_dice.randrange(8)
        return bytes(changed)


def _dice(seed: int | None) -> Callable[[str], random.Random]:
    """Chance for one kind of decision each; the same for the same seed."""
    start = os.urandom(8).hex() if seed is None else str(seed)
    return lambda what: random.Random(f"{start} {what}")


def _loser(it: Impairment, dice: Callable[[str], random.Random]) -> Callable[[], bool] | None:
    """What says of each packet whether it is lost."""
    if it.bursts is not None:
        return _in_bursts(it.bursts, dice("loss").random)
    if not it.loss_percent:
        return None
    chance, roll = it.loss_percent / 100, dice("loss").random
    return lambda: roll() < chance


def _in_bursts(bursts: Bursts, roll: Callable[[], float]) -> Callable[[], bool]:
    p, r, when_bad, when_good = (percent / 100 for percent in bursts)
    bad = False

    def lost() -> bool:
        nonlocal bad
        before = bad
        change, fate = roll(), roll()
        if change < (r if bad else p):
            bad = not bad
        return fate < (when_bad if before else when_good)

    return lost
