"""What a link does to packets besides carrying them: delay, jitter, loss, a rate with a queue, and other mishaps.

An :class:`Impairment` concerns one direction. Its words and their meaning are those of tc-netem(8); how a kernel, or a
program in its place, is made to do it is not said here. `impairment_text` reads and writes what people say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, NamedTuple

from wanlab.errors import TopologyError

_REACH = 4  # how many jitters a packet may be late: netem's tables end there (values of 16 bits, 8192 to a jitter)
_SMALLEST = 42  # bytes: Ethernet, IPv4 and UDP headers with nothing in them
_ETHERNET = 14
_FASTEST = 1_000_000  # packets a second that a link without a rate is thought to carry
_SPARE = 1000  # packets: the queue where none was asked for, which is what netem and most interfaces have


class Distribution(Enum):
    """How delays lie around `delay_ms`, `jitter_ms` being their measure."""

    UNIFORM = "uniform"  # no more than one jitter away, any as likely as another
    NORMAL = "normal"  # jitter is the standard deviation, here and below
    PARETO = "pareto"  # most a little early, a few very late
    PARETONORMAL = "paretonormal"  # a quarter normal, three quarters pareto


class QueueUnit(Enum):
    """What the length of a queue is counted in."""

    PACKETS = "packets"
    BYTES = "bytes"
    MS = "ms"  # as long as the rate takes to send it


class Bursts(NamedTuple):
    """Loss in bursts, by the model of Gilbert and Elliott: a good and a bad state. All in percent for each packet."""

    p: float
    """The chance to go from the good state to the bad one."""
    r: float
    """The chance to come back."""
    lost_when_bad: float = 100.0
    """tc's `1-h`."""
    lost_when_good: float = 0.0
    """tc's `1-k`."""

    @property
    def loss_percent(self) -> float:
        """How many packets are lost in the long run."""
        bad = self.p / (self.p + self.r) if self.p + self.r else 0.0
        return bad * self.lost_when_bad + (1 - bad) * self.lost_when_good


@dataclass(frozen=True, slots=True)
class Impairment:
    """What becomes of the packets that travel in one direction of a link."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    distribution: Distribution = Distribution.UNIFORM
    loss_percent: float = 0.0
    """Each packet's chance to be lost, whatever became of the others."""
    bursts: Bursts | None = None
    """Loss in bursts, in place of `loss_percent`."""
    rate_bps: int | None = None
    """Bits a second, with the Ethernet headers; packets that wait their turn keep their order. None: no limit."""
    queue: float | None = None
    """The most that waits for its turn beside what is under way; None: 1000 packets. With a rate only."""
    queue_unit: QueueUnit = QueueUnit.PACKETS
    duplicate_percent: float = 0.0
    corrupt_percent: float = 0.0
    """Each packet's chance to have one bit turned round, anywhere in it."""
    reorder_percent: float = 0.0
    """Each packet's chance to be sent at once, before those that are being delayed."""
    seed: int | None = None
    """What chance starts from: the same seed and the same packets give the same losses. None: other ones each time."""
    hit_arp: bool = False
    """Whether ARP and neighbour discovery suffer too. Spared, they cost no second until the first packet."""

    def __post_init__(self) -> None:
        problem = _contradiction(self)
        if problem is not None:
            what, hint = problem
            raise TopologyError(f"impairment: {what}", hint=hint)

    @property
    def is_clean(self) -> bool:
        """Whether nothing becomes of any packet."""
        return not (
            self.delay_ms
            or self.rate_bps
            or self.average_loss_percent
            or self.duplicate_percent
            or self.corrupt_percent
            or self.reorder_percent
        )

    @property
    def average_loss_percent(self) -> float:
        """How many packets are lost in the long run, a full queue's drops not counted."""
        return self.loss_percent if self.bursts is None else self.bursts.loss_percent

    @property
    def longest_ms(self) -> float:
        """The longest that a packet may be delayed, waiting for its turn not counted."""
        reach = 1 if self.distribution is Distribution.UNIFORM else _REACH
        return self.delay_ms + reach * self.jitter_ms

    def limit(self, mtu: int) -> int:
        """How many packets may be on the link, under way or waiting: so many that none is dropped unasked.

        A queue that was asked for is counted in packets of *mtu* bytes.
        """
        longest = self.longest_ms / 1000
        if self.rate_bps is None:
            return math.ceil(longest * _FASTEST) + _SPARE
        full = mtu + _ETHERNET
        if self.queue is None:
            return math.ceil(longest * min(self.rate_bps / 8 / _SMALLEST, _FASTEST)) + _SPARE
        sent_in_a_second = self.rate_bps / 8 / full
        waiting = {
            QueueUnit.PACKETS: self.queue,
            QueueUnit.BYTES: self.queue / full,
            QueueUnit.MS: self.queue / 1000 * sent_in_a_second,
        }[self.queue_unit]
        # One more: netem counts the packet that is being sent.
        return math.ceil(longest * sent_in_a_second) + max(1, math.floor(waiting)) + 1

    def to_row(self) -> list[Any]:
        """The fields as JSON can hold them."""
        return [value.value if isinstance(value, Enum) else value for value in (getattr(self, name) for name in _NAMES)]

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Impairment:
        """The inverse of :meth:`to_row`."""
        values = dict(zip(_NAMES, row, strict=True))
        values["distribution"] = Distribution(values["distribution"])
        values["queue_unit"] = QueueUnit(values["queue_unit"])
        values["bursts"] = None if values["bursts"] is None else Bursts(*values["bursts"])
        return cls(**values)


_NAMES = tuple(field.name for field in fields(Impairment))


@dataclass(frozen=True, slots=True)
class LinkImpairment:
    """Both directions of a link, as one end sees them. None: nothing becomes of any packet."""

    up: Impairment | None
    """What this end sends."""
    down: Impairment | None
    """What it receives."""

    @property
    def turned(self) -> LinkImpairment:
        """The same link as the other end sees it."""
        return LinkImpairment(self.down, self.up)

    @property
    def or_none(self) -> LinkImpairment | None:
        """None where both directions are clean."""
        up, down = (None if way is None or way.is_clean else way for way in (self.up, self.down))
        return LinkImpairment(up, down) if up or down else None


def _contradiction(it: Impairment) -> tuple[str, str] | None:
    """Why no link can be like that, and what to say instead; None where one can."""
    percents = {
        "loss": it.loss_percent,
        "duplicate": it.duplicate_percent,
        "corrupt": it.corrupt_percent,
        "reorder": it.reorder_percent,
    }
    if it.bursts is not None:
        percents |= dict(zip(("p", "r", "1-h", "1-k"), it.bursts, strict=True))
    for name, percent in percents.items():
        if not 0 <= percent <= 100:
            return f"{name} {percent:g}% is out of range", "use 0% to 100%"
    checks = (
        (it.delay_ms < 0 or it.delay_ms > 60_000, f"delay {it.delay_ms:g}ms is out of range", "use 0ms to 60s"),
        (it.jitter_ms < 0, f"jitter {it.jitter_ms:g}ms is below zero", "use 0ms or more"),
        (
            it.jitter_ms > it.delay_ms,
            f"jitter {it.jitter_ms:g}ms is more than the delay, {it.delay_ms:g}ms: some would arrive before they left",
            "make the delay longer or the jitter shorter",
        ),
        (
            it.distribution is not Distribution.UNIFORM and not it.jitter_ms,
            f"distribution {it.distribution.value!r} of no jitter",
            "add jitter, or leave the distribution out",
        ),
        (
            it.bursts is not None and it.loss_percent > 0,
            "loss and gemodel are two ways to lose packets",
            "leave one of them out",
        ),
        (
            it.rate_bps is not None and not 1000 <= it.rate_bps <= 10**12,
            f"rate {it.rate_bps} bit/s is out of range",
            'use 1kbit to 1tbit, or leave the rate out; to let nothing through, use loss = "100%"',
        ),
        (it.queue is not None and it.rate_bps is None, "a queue without a rate never fills", "add a rate"),
        (it.queue is not None and it.queue <= 0, "a queue that holds nothing", "give it room, or leave it out"),
        (
            it.reorder_percent > 0 and not it.delay_ms,
            "reorder without a delay: there is nothing to overtake",
            "add a delay",
        ),
        (it.seed is not None and not 0 <= it.seed < 2**64, f"seed {it.seed} is out of range", "use 0 to 2^64 - 1"),
    )
    return next(((what, hint) for wrong, what, hint in checks if wrong), None)
