"""Two or more contenders measured by turns, and the ratio between them."""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Missing(Exception):
    """A contender cannot run on this machine; the message says what is missing and what to do."""


class Unit(Enum):
    SECONDS = "s"
    BITS_PER_SECOND = "bit/s"
    PACKETS_PER_SECOND = "packets/s"
    FLOWS_PER_SECOND = "flows/s"
    RATIO = ""


@dataclass(frozen=True)
class Contender(Generic[T]):
    name: str
    measure: Callable[[], T]


@dataclass(frozen=True)
class Samples(Generic[T]):
    """What was measured of one contender, in the order of measuring."""

    name: str
    values: tuple[T, ...] = ()
    missing: str = ""
    """Why there are no values."""

    def map(self, pick: Callable[[T], U]) -> "Samples[U]":
        return Samples(self.name, tuple(pick(value) for value in self.values), self.missing)


@dataclass(frozen=True)
class Goal:
    """What wanlab's figure divided by the rival's should be."""

    at_most: float = float("inf")
    at_least: float = 0.0

    def met_by(self, ratio: float) -> bool:
        return self.at_least <= ratio <= self.at_most

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_least == 0.0 else f"≥ {self.at_least:g}"


@dataclass(frozen=True)
class Contest:
    what: str
    unit: Unit
    wanlab: Samples[float]
    rival: Samples[float]
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """wanlab / rival: the median over the turns, each measured within moments of the other."""
        if not (self.wanlab.values and self.rival.values):
            return None
        turns = zip(self.wanlab.values, self.rival.values, strict=True)
        return statistics.median(ours / theirs for ours, theirs in turns)


def limit(seconds: float, turns: int) -> Samples[float]:
    """A fixed bound in the place of a rival."""
    return Samples("the limit set", (seconds,) * turns)


def by_turns(
    what: str, contenders: Sequence[Contender[T]], turns: int, before_each: Callable[[], None] = lambda: None
) -> list[Samples[T]]:
    """Measure all contenders once, then all of them again, and so on: what disturbs one disturbs all.

    Every other turn goes backwards, so that nobody gains by coming first.
    """
    values: dict[str, list[T]] = {contender.name: [] for contender in contenders}
    missing: dict[str, str] = {}
    for turn in range(turns):
        _show_progress(f"\r{what}: {turn + 1} of {turns} ")
        for contender in contenders[:: -1 if turn % 2 else 1]:
            if contender.name in missing:
                continue
            before_each()
            try:
                values[contender.name].append(contender.measure())
            except Missing as error:
                missing[contender.name] = str(error)
    _show_progress("\n")
    return [Samples(name, tuple(found), missing.get(name, "")) for name, found in values.items()]


def _show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)
