"""`wanlab punch-grid`: which NATs let two peers through to each other, predicted and measured."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wanlab.cli.options import Json
from wanlab.cli.text import count
from wanlab.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from wanlab.punch.grid import Grid
    from wanlab.punch.machine import Transport

_WIDE = 200  # columns for what is no terminal: nothing is cut off
_DESCRIPTORS = 4096  # a few hundred pairs at once
_COLOURS = {"through": "green", "not": "dim", "luck": "yellow", "differs": "bold white on red"}


def punch_grid(
    *,
    presets: Annotated[
        bool, typer.Option("--presets", help="The NATs that have names (`nat = ...` in a file); so without options.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Those, and every mapping with every filtering and port choice.")
    ] = False,
    tcp: Annotated[bool, typer.Option("--tcp", help="TCP as well as UDP.")] = False,
    json: Json = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page.")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write a picture.")] = None,
) -> int:
    """Punch holes through every pair of NATs, as predicted.

    Brings up a lab of its own. Exits with 1 where any pair does other than predicted.
    """
    from wanlab.cli.text import print_json
    from wanlab.punch import grid as grids
    from wanlab.punch.machine import Transport

    if presets and everything:
        raise UsageError("either --presets or --all", hint="--all has the presets too")
    for file in (html, svg):
        if file is not None and not file.parent.is_dir():  # better now than when all is measured
            raise UsageError(f"{file}: no such directory", hint="make it first")
    _allow_descriptors()
    kinds = grids.presets() | (grids.combinations() if everything else {})
    with _Progress() as progress:
        grid = grids.measure(kinds, tuple(Transport) if tcp else (Transport.UDP,), progress=progress)
    _write(grid, html, svg)
    if json:
        print_json(grid.to_json())
    else:
        print_grid(grid)
    return 0 if grid.ok else 1


def _allow_descriptors() -> None:
    """Each pair takes up to ten sockets: with more of them, more pairs punch at once."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _write(grid: Grid, html: Path | None, svg: Path | None) -> None:
    from wanlab.punch import page as punch_page

    if html is not None:
        html.write_text(punch_page.html(grid), encoding="utf-8")
    if svg is not None:
        svg.write_text(punch_page.svg(grid), encoding="utf-8")


class _Progress:
    """A bar on stderr, for people only."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, of: int) -> None:
        if self._bar is None:
            return
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task("building the lab" if what == "lab" else f"punching, {what.upper()}")
        self._bar.update(self._tasks[what], completed=done, total=of)
        if what != "lab":
            self._bar.update(self._tasks["lab"], completed=1, total=1)


def print_grid(grid: Grid, console: Console | None = None) -> None:
    """Print each transport's grid, what its marks mean, what luck is worth, and what differs."""
    from rich.text import Text

    from wanlab.cli.console import table_console
    from wanlab.punch.page import outcome, tell

    console = table_console(_WIDE, console)
    for transport in grid.transports:
        _print_one(grid, transport, console)
    console.print(_legend(grid))
    for cell in grid.differing:
        console.print(Text(f"! {tell(cell)}", "red"), soft_wrap=True)
    console.print(Text(outcome(grid), "green" if grid.ok else "bold red"))


def _print_one(grid: Grid, transport: Transport, console: Console) -> None:
    from rich.text import Text

    from wanlab.punch.page import look

    names = list(grid.kinds)
    wide = max(map(len, names)) + 3
    numbers = range(1, len(names) + 1)
    title = f"{transport.value.upper()}, row first"
    for line, digits in enumerate(
        (" ".join(str(n // 10 or " ") for n in numbers), " ".join(str(n % 10) for n in numbers))
    ):
        console.print(Text(f"{title if line else '':{wide}}  {digits}", "bold"), soft_wrap=True)
    for number, (name, cells) in enumerate(grid.rows(transport), 1):
        row = Text(f"{number:>2} {name:{wide - 3}}  ")
        for cell in cells:
            kind, mark = look(cell)
            row.append(f"{mark} ", _COLOURS[kind])
        row.rstrip()
        console.print(row, soft_wrap=True)
    console.print()


def _legend(grid: Grid) -> object:
    from rich.text import Text

    from wanlab.punch.theory import describe_odds

    odds = Counter(cell.prediction.odds for cell in grid.cells if cell.prediction.luck)
    legend = Text("+ gets through   . does not   ! differs from the prediction")
    if odds:
        worth = ", ".join(
            f"{describe_odds(each)} in {count(odds[each], 'cell')}" for each in sorted(odds, reverse=True)
        )
        legend.append(f"\n? does not, short of a lucky guess: {worth}")
    return legend
