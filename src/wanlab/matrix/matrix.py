"""`Matrix`: what is run in which labs; all of it is checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wanlab.errors import UsageError
from wanlab.matrix.theory import Theory, theory_of
from wanlab.matrix.variation import Axis, Cell, cells
from wanlab.topology.topology import Topology


@dataclass(frozen=True)
class Matrix:
    """A command, and the labs that it is run in: those of *topology* that the *axes* span."""

    topology: Topology
    axes: tuple[Axis, ...]
    command: tuple[str, ...]
    """A program and its arguments."""
    node: str | None = None
    """Where it runs; None: in no node, with all of them in reach, as in `wanlab shell`."""
    ordered: bool = True
    """Whether `a+b` and `b+a` are two cells."""

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, the last axis fastest. Raises UsageError."""
        return tuple(cells(self.axes, ordered=self.ordered))

    @cached_property
    def topologies(self) -> Mapping[Cell, Topology]:
        """The lab of each cell. Raises TopologyError, UsageError."""
        return {cell: cell.apply(self.topology) for cell in self.cells}

    @cached_property
    def theories(self) -> Mapping[Cell, Theory]:
        """What theory says of hole punching in each cell; nothing where the cells are no pairs of NATs."""
        found = {cell: theory_of(cell, topology.resolve()) for cell, topology in self.topologies.items()}
        return {cell: theory for cell, theory in found.items() if theory is not None}

    def check(self) -> None:
        """Raises UsageError, TopologyError, NoSuchNode for what cannot be meant, in any of the cells."""
        if not self.command:
            raise UsageError("there is no command to run", hint="give it after `--`")
        if not self.axes:
            raise UsageError("nothing is varied", hint="say what: --vary home-a.nat")
        if self.node is not None:
            _ = self.topology.resolve()[self.node]
        _ = self.theories  # and with them everything else

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "lab": self.topology.name,
            "document": self.topology.to_document(),
            "command": list(self.command),
            "node": self.node,
            "axes": [{"place": axis.place, "values": [choice.label for choice in axis.choices]} for axis in self.axes],
            "ordered": self.ordered,
        }
