"""What a matrix varies: places of a lab, the values for each, and the cells that they span.

A place is a node and a key of its table in a lab file: `home-a.nat`, `home-a.nat.udp_timeout_s`, `alice.mtu`. So
whatever a file can say can be varied.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wanlab.errors import TopologyError, UsageError, did_you_mean
from wanlab.topology.document import from_document
from wanlab.topology.nat import NATS, Nat, to_table
from wanlab.topology.topology import Topology

_SECTIONS = ("switch", "router", "host")
_NAMED_BY = {"nat": "preset", "impairment": "profile"}
"""The key that the name has where a table stands in its stead."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A place, and the value that is chosen for it."""

    place: str
    """`NODE.KEY`."""
    label: str
    """The value, as a person reads it."""
    value: Any = field(compare=False)
    """As a lab file has it."""

    @property
    def node(self) -> str:
        """The node."""
        return self.place.partition(".")[0]

    @property
    def key(self) -> str:
        """The key of its table."""
        return self.place.partition(".")[2]

    def __str__(self) -> str:
        return self.label if self.key == "nat" else f"{self.key}={self.label}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One lab of a matrix: what was chosen for each place, in the order of the axes."""

    choices: tuple[Choice, ...]

    @property
    def name(self) -> str:
        """`linux+symmetric`: what a test's id and a directory are called by."""
        return "+".join(map(str, self.choices)) or "only"

    def __getitem__(self, place: str) -> str:
        """What was chosen for `home-a.nat`. Raises KeyError."""
        for choice in self.choices:
            if choice.place == place:
                return choice.label
        raise KeyError(place)

    def __str__(self) -> str:
        return ", ".join(f"{choice.place} = {choice.label}" for choice in self.choices)

    def apply(self, topology: Topology) -> Topology:
        """The topology of this cell; *topology* stays as it is. Raises TopologyError, UsageError."""
        document = topology.to_document()
        for choice in self.choices:
            _put(document, choice)
        try:
            return from_document(document, None, topology.name)
        except TopologyError as error:
            raise TopologyError(f"{error.what} (with {self})", hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class Axis:
    """A place, and all values for it."""

    place: str
    choices: tuple[Choice, ...]

    @classmethod
    def of(cls, place: str, values: Iterable[object] | None = None) -> Axis:
        """An axis; *values* may be left out for a router's `nat`: then all NATs that have names. Raises UsageError."""
        node, _, key = place.partition(".")
        if not node or not key:
            raise UsageError(f"{place!r} is no place of a lab", hint="write NODE.KEY, like home-a.nat or alice.mtu")
        if values is None:
            if key != "nat":
                raise UsageError(f"no values for {place}", hint="say which")
            values = [name for name in NATS if name != "none"]
        choices = tuple(_choice(place, key, value) for value in values)
        if not choices:
            raise UsageError(f"no values for {place}")
        labels = [choice.label for choice in choices]
        doubled = next((label for label in labels if labels.count(label) > 1), None)
        if doubled is not None:
            raise UsageError(f"{place}: {doubled!r} is there twice")
        return cls(place, choices)


def cells(axes: Sequence[Axis], *, ordered: bool = True) -> list[Cell]:
    """All combinations, the last axis fastest. Not *ordered*: of two that differ in order only, one.

    Raises UsageError where that makes no sense.
    """
    if not ordered and (len(axes) != 2 or [str(c) for c in axes[0].choices] != [str(c) for c in axes[1].choices]):
        raise UsageError("unordered pairs need two places with the same values")
    places = [axis.place for axis in axes]
    doubled = next((place for place in places if places.count(place) > 1), None)
    if doubled is not None:
        raise UsageError(f"{doubled} is varied twice")
    found = []
    for numbered in itertools.product(*(list(enumerate(axis.choices)) for axis in axes)):
        numbers = [number for number, _ in numbered]
        if ordered or numbers == sorted(numbers):
            found.append(Cell(tuple(choice for _, choice in numbered)))
    return found


def _choice(place: str, key: str, value: object) -> Choice:
    if isinstance(value, Nat):
        return Choice(place, value.name, to_table(value))
    if value is None and key == "nat":
        return Choice(place, "none", "none")
    if key == "nat" and isinstance(value, str) and value not in NATS:
        raise UsageError(f"{place}: there is no NAT called {value!r}", hint=did_you_mean(value, NATS))
    if isinstance(value, Mapping):
        label = ",".join(f"{name}={each}" for name, each in value.items())
        return Choice(place, label, dict(value))
    return Choice(place, str(value).lower() if isinstance(value, bool) else str(value), value)


def _put(document: dict[str, Any], choice: Choice) -> None:
    table = _table(document, choice.node)
    *path, last = choice.key.split(".")
    for key in path:
        inner = table.get(key, {})
        # `nat = "home"` and `nat = {preset = "home"}` are the same.
        table[key] = {_NAMED_BY.get(key, key): inner} if isinstance(inner, str) else dict(inner)
        table = table[key]
    table[last] = choice.value


def _table(document: dict[str, Any], node: str) -> dict[str, Any]:
    for section in _SECTIONS:
        if node in document.get(section, {}):
            table: dict[str, Any] = document[section][node]
            return table
    raise UsageError(f"no node {node!r} in lab {document['name']!r}", hint=did_you_mean(node, _nodes(document)))


def _nodes(document: Mapping[str, Any]) -> Iterator[str]:
    for section in _SECTIONS:
        yield from document.get(section, {})
