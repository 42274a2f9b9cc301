"""Scenarios: what happens to a lab, and when. Pure data, made in Python or read from a file by `scenario_file`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wanlab.errors import Source, TopologyError
from wanlab.topology.edits import Edit, NewAddress


@dataclass(frozen=True, slots=True)
class Reboot:
    """A node that is turned off and, `off_s` seconds later, on again."""

    node: str
    off_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.node}: reboots" + (f", off for {self.off_s:g} s" if self.off_s else "")


@dataclass(frozen=True, slots=True)
class Redial:
    """A link that goes down and, `off_s` seconds later, comes up with another address (None: the next free one)."""

    place: str
    address: str | Sequence[str] | None = None
    off_s: float = 0.0

    @property
    def edit(self) -> NewAddress:
        """What has become of the lab in the end."""
        return NewAddress(self.place, self.address)

    def __str__(self) -> str:
        return f"{self.place}: redials" + (f", down for {self.off_s:g} s" if self.off_s else "")


@dataclass(frozen=True, slots=True)
class Say:
    """Nothing but a line that is printed."""

    text: str

    def __str__(self) -> str:
        return self.text


Action = Edit | Reboot | Redial | Say


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, once or again and again.

    Its actions are gone through, one each time, and then from the first one on: two make a link flap, several a ladder.
    """

    at_s: float
    """When, in seconds since the scenario began."""
    actions: tuple[Action, ...]
    every_s: float | None = None
    """How long it is from one time to the next."""
    times: int | None = None
    """How often; None: once for each action."""
    source: Source | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        self._check(self.at_s >= 0, f"at {self.at_s:g} s: before the beginning", "count from 0, the beginning")
        self._check(bool(self.actions), "nothing that happens", "say what happens")
        several = self.count > 1
        self._check(self.every_s is not None or not several, f"{self.count} times at once", "say how often, by 'every'")
        self._check(self.every_s is None or self.every_s > 0, "every 0 s", "give it a time above 0")
        self._check(self.count > 0, f"{self.count} times", "leave it out, or say how often it happens")

    def _check(self, holds: bool, what: str, hint: str) -> None:
        if not holds:
            raise TopologyError(f"event {what}", where=self.source, hint=hint)

    @property
    def count(self) -> int:
        """How often it happens."""
        return len(self.actions) if self.times is None else self.times


@dataclass(frozen=True, slots=True)
class Cue:
    """One time that one event happens."""

    at_s: float
    action: Action
    event: int
    """Which of the scenario's events, from 1 on."""
    source: Source | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Events, each at its time; what is at one time happens in the order of the events."""

    events: tuple[Event, ...]
    title: str = ""
    repeat: int = 1
    """How often all of it is played."""
    length_s: float | None = None
    """How long it takes, from one playing to the next; None: until its last event."""

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise TopologyError(f"a scenario that is played {self.repeat} times", hint="leave 'repeat' out, or use 1")
        if self.repeat > 1 and self.length <= 0:
            raise TopologyError("a scenario that is repeated and takes no time", hint="say its 'length'")

    @property
    def length(self) -> float:
        """How long one playing takes, in seconds."""
        last = max((event.at_s + (event.every_s or 0) * (event.count - 1) for event in self.events), default=0.0)
        return last if self.length_s is None else self.length_s

    def cues(self) -> Iterator[Cue]:
        """Every time that something happens, in order."""
        once = [
            Cue(
                event.at_s + (event.every_s or 0.0) * time,
                event.actions[time % len(event.actions)],
                number,
                event.source,
            )
            for number, event in enumerate(self.events, 1)
            for time in range(event.count)
        ]
        all_of_it = [
            Cue(round * self.length + cue.at_s, cue.action, cue.event, cue.source)
            for round in range(self.repeat)
            for cue in once
        ]
        yield from sorted(all_of_it, key=lambda cue: cue.at_s)
