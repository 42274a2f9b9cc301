"""The punch grid: every NAT against every other, predicted from what they are and measured in a lab, side by side.

The row's peer is a little earlier than the column's (see `theory.py`), so a pair of different NATs has two cells.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wanlab.errors import TopologyError
from wanlab.punch.attempt import punch_many
from wanlab.punch.machine import Transport
from wanlab.punch.theory import Prediction, predict
from wanlab.runtime.lab import Lab
from wanlab.topology.nat import NATS, Filtering, Hairpin, Nat, Ports
from wanlab.topology.nat import Mapping as NatMapping
from wanlab.topology.topology import Topology

Kinds = Mapping[str, Nat | None]
"""NATs by the names that the grid shows."""

Progress = Callable[[str, int, int], None]
"""Told what is going on, and how many of how many cells are measured."""

_ATTEMPTS = 2
_TOSS = (0.001, 0.999)
"""Odds between these make a cell a toss: one measurement says nothing of it."""

_SHORT = ("EI", "AD", "APD")  # as the enumerations have them: endpoint-independent, address-dependent, both


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of NATs."""

    row: str
    column: str
    transport: Transport
    prediction: Prediction
    connected: bool
    """What the last measurement gave."""
    attempts: int
    """How often it was measured: a cell that differs is measured once more, since nobody is lucky twice."""

    @property
    def agrees(self) -> bool:
        """Whether measurement and prediction are equal, luck granted."""
        least, most = _TOSS
        return self.connected == self.prediction.connects or least < self.prediction.odds < most

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "row": self.row,
            "column": self.column,
            "transport": self.transport.value,
            "predicted": self.prediction.connects,
            "odds": self.prediction.odds,
            "why": self.prediction.why,
            "measured": self.connected,
            "attempts": self.attempts,
            "agrees": self.agrees,
        }


@dataclass(frozen=True, slots=True)
class Grid:
    """All cells, row by row, one transport after the other."""

    kinds: Kinds
    cells: tuple[Cell, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all cells are as predicted."""
        return not self.differing

    @property
    def differing(self) -> tuple[Cell, ...]:
        """The cells that are not."""
        return tuple(cell for cell in self.cells if not cell.agrees)

    @property
    def transports(self) -> tuple[Transport, ...]:
        """What was punched with."""
        return tuple(dict.fromkeys(cell.transport for cell in self.cells))

    def rows(self, transport: Transport) -> Iterator[tuple[str, tuple[Cell, ...]]]:
        """Each row's name and cells."""
        chosen = (cell for cell in self.cells if cell.transport is transport)
        for name, row in itertools.groupby(chosen, key=lambda cell: cell.row):
            yield name, tuple(row)

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "kinds": {name: describe(nat) for name, nat in self.kinds.items()},
            "cells": [cell.to_json() for cell in self.cells],
        }


def presets() -> dict[str, Nat | None]:
    """The NATs of the world, and none."""
    return dict(NATS)


def combinations() -> dict[str, Nat | None]:
    """Every mapping with every filtering and port choice that can be: `APDM EIF random`."""
    found: dict[str, Nat | None] = {}
    for (m, mapping), (f, filtering), ports in itertools.product(
        zip(_SHORT, NatMapping, strict=True), zip(_SHORT, Filtering, strict=True), Ports
    ):
        name = f"{m}M {f}F {ports.value}"
        try:
            preserves = ports is Ports.PRESERVE
            found[name] = Nat(name, mapping, filtering, ports, parity=preserves, hairpin=Hairpin.OFF)
        except TopologyError:  # such a NAT cannot be
            continue
    return found


def describe(nat: Nat | None) -> str:
    """What the grid needs to know of a NAT, in a line."""
    if nat is None:
        return "a public address, and no router of its own"
    parts = [f"mapping {nat.mapping.value}", f"filtering {nat.filtering.value}", f"ports {nat.ports.value}"]
    if nat.unsolicited.value != "drop":
        parts.append(f"unsolicited {nat.unsolicited.value}")
    parts += [
        f"{protocol} to ports {', '.join(map(str, ports))} only"
        for protocol, ports in (("UDP", nat.udp_ports), ("TCP", nat.tcp_ports))
        if ports is not None
    ]
    return ", ".join(parts)


def topology(kinds: Kinds) -> Topology:
    """A lab with two homes of every kind, each pair of homes at a provider of its own, and a rendezvous.

    Providers are subnets behind one core router: on one wide switch every router would have every other one as
    neighbour, and the kernel keeps no more than 1,024 neighbours for all namespaces together (gc_thresh3).
    """
    lab = Topology("punch-grid", title="Two homes of every kind, and a rendezvous")
    core = lab.router("core")
    lab.host("rendezvous", core)
    for number, nat in enumerate(kinds.values()):
        provider = lab.switch(f"isp-{number}")
        core.connect(provider, name=f"isp{number}")
        for side in "ab":
            home = provider if nat is None else lab.router(f"home-{number}{side}", provider, nat=nat)
            lab.host(_host(number, side), home)
    return lab


def _host(number: int, side: str) -> str:
    return f"peer-{number}{side}"


def measure(
    kinds: Kinds, transports: Sequence[Transport] = (Transport.UDP,), *, progress: Progress | None = None
) -> Grid:
    """Bring up one lab and punch through every pair of *kinds* in it.

    Raises MachineError, KernelError where no lab can be; a cell that differs is in the grid, not an exception.
    """
    started = time.monotonic()
    tell = progress or (lambda *_: None)
    tell("lab", 0, 1)
    with Lab(topology(kinds)) as lab:
        cells = [cell for transport in transports for cell in _measure(lab, kinds, transport, tell)]
    return Grid(kinds, tuple(cells), time.monotonic() - started)


def _measure(lab: Lab, kinds: Kinds, transport: Transport, tell: Progress) -> list[Cell]:
    names = list(kinds)
    pairs = [(row, column) for row in range(len(names)) for column in range(len(names))]
    cells: dict[tuple[int, int], Cell] = {}
    left = pairs
    for attempt in range(1, _ATTEMPTS + 1):
        punches = punch_many(
            lab,
            [(_host(row, "a"), _host(column, "b")) for row, column in left],
            "rendezvous",
            transport,
            progress=lambda done, of: tell(transport.value, done, of),
        )
        for (row, column), punch in zip(left, punches, strict=True):
            prediction = predict(kinds[names[row]], kinds[names[column]], transport)
            cells[row, column] = Cell(names[row], names[column], transport, prediction, punch.connected, attempt)
        left = [pair for pair in pairs if not cells[pair].agrees]
        if not left:
            break
    return [cells[pair] for pair in pairs]
