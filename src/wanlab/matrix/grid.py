"""The cells of a matrix as grids: the last place across, the one before it down, a grid for each of the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wanlab.matrix.results import Result, Results
from wanlab.matrix.variation import Axis


@dataclass(frozen=True, slots=True)
class Grid:
    """Some of the cells, in rows and columns."""

    title: str
    """What was chosen for the places that are neither rows nor columns; "" where there are none."""
    down: Axis
    across: Axis | None
    """None: one place only is varied, and there is one column."""
    results: Mapping[tuple[str, str], Result]
    """By the labels of row and column. Of unordered pairs only one half is there."""

    @property
    def rows(self) -> tuple[str, ...]:
        """The labels of the rows."""
        return tuple(choice.label for choice in self.down.choices)

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels of the columns."""
        return ("",) if self.across is None else tuple(choice.label for choice in self.across.choices)

    def row(self, label: str) -> tuple[Result | None, ...]:
        """The cells of a row; None where there is none."""
        return tuple(self.results.get((label, column)) for column in self.columns)


def grids(results: Results) -> Iterator[Grid]:
    """All of them."""
    axes = results.matrix.axes
    *others, down, across = axes if len(axes) > 1 else (*axes, None)
    assert down is not None
    by_labels = {tuple(choice.label for choice in result.cell.choices): result for result in results.results}
    for chosen in itertools.product(*(axis.choices for axis in others if axis is not None)):
        before = tuple(choice.label for choice in chosen)
        found = {}
        for row in down.choices:
            for column in ("",) if across is None else (choice.label for choice in across.choices):
                labels = (*before, row.label) if across is None else (*before, row.label, column)
                if labels in by_labels:
                    found[row.label, column] = by_labels[labels]
        title = ", ".join(f"{choice.place} = {choice.label}" for choice in chosen)
        yield Grid(title, down, across, found)
