"""What `wanlab matrix` shows: how far it is, and in the end its grids."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from wanlab.cli.console import table_console
from wanlab.matrix.grid import Grid, grids
from wanlab.matrix.results import Result, Results, State, seconds_in_short
from wanlab.matrix.run import Progress
from wanlab.matrix.variation import Cell

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_WIDE = 200  # columns for what is no terminal: nothing is cut off
_MOST_LINES = 30  # about cells that did not pass: the page has them all
_MOST_NAMES = 3  # of cells that run
_STYLES = {
    State.PASSED: "green",
    State.FLAKY: "yellow",
    State.FAILED: "bold white on red",
    State.TIMED_OUT: "bold white on magenta",
    State.NOT_BUILT: "bold reverse",
    State.NOT_RUN: "dim",
}


@contextmanager
def progress() -> Iterator[Progress]:
    """On stderr: a bar for a person, a line for each cell for a log."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        yield _Screen(bar)


class _Lines(Progress):
    """A line for each cell that is done."""

    def began(self, results: Sequence[Result]) -> None:
        self._done = sum(bool(result.attempts) for result in results)
        self._all = len(results)
        if self._done:
            self._print(f"{self._done} of {self._all} cells have a result already")

    def finished(self, result: Result) -> None:
        self._done += 1
        self._print(f"[{self._done}/{self._all}] {result.cell.name}: {result.words}")

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _Screen(Progress):
    """A bar, what runs beside it, and what did not pass above it."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._running: dict[str, int] = {}
        self._bad = 0
        self._task: TaskID

    def began(self, results: Sequence[Result]) -> None:
        done = sum(bool(result.attempts) for result in results)
        self._task = self._bar.add_task("", total=len(results), completed=done)

    def started(self, cell: Cell, attempt: int) -> None:
        self._running[cell.name] = attempt
        self._describe()

    def finished(self, result: Result) -> None:
        self._running.pop(result.cell.name, None)
        if result.state is not State.PASSED:
            self._bad += not result.state.good
            self._bar.console.print(_line(result))
        self._bar.advance(self._task)
        self._describe()

    def _describe(self) -> None:
        names = [f"{name} again" if attempt > 1 else name for name, attempt in self._running.items()]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        bad = f"{self._bad} did not pass; " if self._bad else ""
        self._bar.update(self._task, description=f"{bad}{', '.join(names[:_MOST_NAMES])}{more}")


# -- in the end -------------------------------------------------------------------------------------------------------


def print_results(results: Results, console: Console | None = None) -> None:
    """Print the grids, what their marks mean, each cell that did not pass, and where to read more."""
    console = table_console(_WIDE, console)
    for grid in grids(results):
        _print_grid(grid, console)
    console.print("   ".join(f"{state.mark} {state.words}" for state in results.counts))
    told = [result for result in results.results if result.state not in (State.PASSED, State.NOT_RUN)]
    for result in told[:_MOST_LINES]:
        console.print(_line(result, results), soft_wrap=True)
    if len(told) > _MOST_LINES:
        console.print(f"... and {len(told) - _MOST_LINES} more")
    console.print(Text(results.outcome, "green" if results.ok else "bold red"), soft_wrap=True)
    if State.NOT_RUN in results.counts:
        console.print("cut off: go on with --resume")
    console.print(Text(f"{results.directory / 'index.html'}"), soft_wrap=True)


def _print_grid(grid: Grid, console: Console) -> None:
    head = f"{grid.down.place} down" + (f", {grid.across.place} across" if grid.across is not None else "")
    console.print(Text(f"{grid.title}: {head}" if grid.title else head, "bold"), soft_wrap=True)
    numbers = len(grid.columns) > 1
    wide = max(map(len, grid.rows))
    room = console.width - wide - 5
    times = 6 * len(grid.columns) <= room
    each = 6 if times else 2
    if numbers and grid.columns != grid.rows:
        named = ", ".join(f"{number} {label}" for number, label in enumerate(grid.columns, 1))
        console.print(f"across: {named}", soft_wrap=True)
    if numbers:
        line = "".join(
            f"{number % 100 if times else number % 10:<{each}}" for number in range(1, len(grid.columns) + 1)
        )
        console.print(Text(f"{'':{wide + 5}}{line}".rstrip(), "bold"), soft_wrap=True)
    for number, label in enumerate(grid.rows, 1):
        row = Text(f"{number:>2} {label:{wide}}  ")
        for result in grid.row(label):
            _append(row, result, times, each)
        row.rstrip()
        console.print(row, soft_wrap=True)
    console.print()


def _append(row: Text, result: Result | None, times: bool, each: int) -> None:
    if result is None:
        row.append(" " * each)
        return
    row.append(result.state.mark, _STYLES[result.state])
    seconds = seconds_in_short(result.seconds) if times and result.attempts else ""
    row.append(f"{seconds:<{each - 1}}")


def _line(result: Result, results: Results | None = None) -> Text:
    line = Text(result.state.mark, _STYLES[result.state]).append(f" {result.cell.name}: {result.words}", "")
    if results is not None:
        theory = results.matrix.theories.get(result.cell)
        if theory is not None:
            line.append(f"; theory: {theory.udp.says}")
        line.append(f"; {results.directory / result.attempts[-1].directory}")
    return line
