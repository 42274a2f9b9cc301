"""`wanlab top`: what passes each link now, and what is lost there."""

from __future__ import annotations

import json as json_
import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wanlab.cli import complete
from wanlab.cli.options import UpLab
from wanlab.cli.ways import Way, short, ways

if TYPE_CHECKING:
    from rich.table import Table

    from wanlab.runtime.counters import Counters
    from wanlab.runtime.lab import Lab

_WIDE = 160  # columns for what is no terminal
_HEADINGS = ("link", "packets", "bytes", "packet/s", "bit/s", "dropped", "waiting")


@dataclass(frozen=True, slots=True)
class _Rates:
    """A direction of a link, and how much passes there now."""

    way: Way
    packets_s: float
    bits_s: float

    def to_json(self) -> dict[str, Any]:
        rates = {"packets_per_s": round(self.packets_s, 3), "bits_per_s": round(self.bits_s, 3)}
        return {**self.way.to_json(), **rates}

    def cells(self) -> tuple[str, ...]:
        link, packets, octets, dropped, waiting = self.way.cells()
        return link, packets, octets, f"{self.packets_s:.0f}", short(self.bits_s), dropped, waiting


def top(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(metavar="NODE...", help="Only links of these nodes.", autocompletion=complete.nodes),
    ] = None,
    lab: UpLab = None,
    *,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.05, help="How often it looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: a line each time.")] = False,
) -> None:
    """Show what passes each link, until Ctrl-C.

    Each direction on its own: packets and bytes in all, and each second; what was lost by chance, because a queue was
    full, or because an end was down; and what is being delayed now.
    """
    from rich.live import Live

    from wanlab.cli.console import table_console
    from wanlab.cli.target import attach

    attached = attach(lab)
    for node in nodes or ():
        _ = attached.network[node]
    console = table_console(_WIDE)
    looks = _looks(attached, nodes, interval, once)
    if json:
        for looked in looks:
            print(json_.dumps([each.to_json() for each in looked]), flush=True)
    elif once or not console.is_terminal:
        for looked in looks:
            console.print(_table(looked))
    else:
        with Live(console=console, auto_refresh=False) as live:
            for looked in looks:
                live.update(_table(looked), refresh=True)


def _looks(lab: Lab, nodes: Sequence[str] | None, interval: float, once: bool) -> Iterator[list[_Rates]]:
    from wanlab.cli.until import Stop

    before: dict[tuple[str, str], Counters] = {}
    then = time.monotonic()
    with Stop() as stop:
        while not stop.asked:
            lab.update()
            now, counters = time.monotonic(), lab.counters()
            yield [_rates(way, before, now - then) for way in ways(lab.network, counters, nodes or ())]
            if once:
                return
            before, then = {(each.node, each.interface): each for each in counters}, now
            select.select([stop.fileno()], [], [], interval)


def _rates(way: Way, before: dict[tuple[str, str], Counters], seconds: float) -> _Rates:
    now, old = way.counters, before.get(way.here, way.counters)
    # One that was made anew has begun to count again.
    packets, octets = max(0, now.sent_packets - old.sent_packets), max(0, now.sent_bytes - old.sent_bytes)
    rate = 1 / seconds if seconds > 0 else 0.0
    return _Rates(way, packets * rate, octets * 8 * rate)


def _table(looked: Sequence[_Rates]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if number else "left", no_wrap=number == 0, overflow="fold")
    for each in looked:
        table.add_row(*each.cells())
    return table
