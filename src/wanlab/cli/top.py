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

if TYPE_CHECKING:
    from rich.table import Table

    from wanlab.runtime.counters import Counters
    from wanlab.runtime.lab import Lab

_WIDE = 160  # columns for what is no terminal
_HEADINGS = ("link", "packets", "bytes", "packet/s", "bit/s", "dropped", "waiting")


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction of a link: what its first end sends."""

    link: str
    counters: Counters
    packets_s: float
    bits_s: float

    def to_json(self) -> dict[str, Any]:
        rates = {"packets_per_s": round(self.packets_s, 3), "bits_per_s": round(self.bits_s, 3)}
        return {"link": self.link, **rates, **self.counters.to_json()}

    def cells(self) -> tuple[str, ...]:
        it = self.counters
        sent = (str(it.sent_packets), _short(it.sent_bytes))
        return (self.link, *sent, f"{self.packets_s:.0f}", _short(self.bits_s), self._dropped(), str(it.waiting))

    def _dropped(self) -> str:
        it = self.counters
        causes = {"by chance": it.lost, "queue full": it.overflowed, "refused": it.refused}
        if it.lost is None:  # netem does not tell which of the two it was
            causes = {"by chance or queue full": it.impaired, "refused": it.refused}
        told = ", ".join(f"{number} {cause}" for cause, number in causes.items() if number)
        return told or "0"


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
        for ways in looks:
            print(json_.dumps([way.to_json() for way in ways]), flush=True)
    elif once or not console.is_terminal:
        for ways in looks:
            console.print(_table(ways))
    else:
        with Live(console=console, auto_refresh=False) as live:
            for ways in looks:
                live.update(_table(ways), refresh=True)


def _looks(lab: Lab, nodes: Sequence[str] | None, interval: float, once: bool) -> Iterator[list[_Way]]:
    from wanlab.cli.until import Stop

    before: dict[tuple[str, str], Counters] = {}
    then = time.monotonic()
    with Stop() as stop:
        while not stop.asked:
            lab.update()
            now, counters = time.monotonic(), {(each.node, each.interface): each for each in lab.counters()}
            yield list(_ways(lab, nodes, counters, before, now - then))
            if once:
                return
            before, then = counters, now
            select.select([stop.fileno()], [], [], interval)


def _ways(
    lab: Lab,
    nodes: Sequence[str] | None,
    counters: dict[tuple[str, str], Counters],
    before: dict[tuple[str, str], Counters],
    seconds: float,
) -> Iterator[_Way]:
    for link in lab.network.links:
        if nodes and not {link.a[0], link.b[0]} & set(nodes):
            continue
        for here, there in ((link.a, link.b), (link.b, link.a)):
            found = counters.get(here)
            if found is None:
                continue
            old = before.get(here, found)
            # One that was made anew has begun to count again.
            packets = max(0, found.sent_packets - old.sent_packets)
            octets = max(0, found.sent_bytes - old.sent_bytes)
            rate = 1 / seconds if seconds > 0 else 0.0
            yield _Way(f"{here[0]} {here[1]} -> {there[0]} {there[1]}", found, packets * rate, octets * 8 * rate)


def _table(ways: Sequence[_Way]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if number else "left", no_wrap=number == 0, overflow="fold")
    for way in ways:
        table.add_row(*way.cells())
    return table


def _short(rate: float) -> str:
    for unit in ("", "k", "M"):
        if rate < 1000:
            return f"{rate:.0f}{unit}" if not unit else f"{rate:.1f}{unit}"
        rate /= 1000
    return f"{rate:.2f}G"
