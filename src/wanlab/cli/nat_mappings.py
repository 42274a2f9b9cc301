"""`wanlab nat --mappings`: what the NATs of a lab remember, as a table."""

from __future__ import annotations

import json as json_
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from wanlab.measure.mappings import LiveMapping
    from wanlab.runtime.lab import Lab

_PERIOD_S = 1.0
_MOST_PEERS = 4  # of one mapping, in the table
_WIDE = 160  # columns for what is no terminal
_MOST_ROWS = 500  # of a table that a person looks at


def show_mappings(lab: Lab, routers: Sequence[str] | None, *, watch: bool, json: bool) -> None:
    """Print them once, or each second until Ctrl-C; as JSON then one line each time."""
    from rich.live import Live

    from wanlab.cli.console import table_console
    from wanlab.cli.text import print_json
    from wanlab.measure.mappings import mappings

    if json and not watch:
        print_json([each.to_json() for each in mappings(lab, routers)])
        return
    console = table_console(_WIDE)
    if not watch:
        console.print(_table(mappings(lab, routers)))
        return
    try:
        if json:
            while True:
                print(json_.dumps([each.to_json() for each in mappings(lab, routers)]), flush=True)
                time.sleep(_PERIOD_S)
        with Live(_table(mappings(lab, routers)), console=console, auto_refresh=False) as live:
            while True:
                live.update(_table(mappings(lab, routers)), refresh=True)
                time.sleep(_PERIOD_S)
    except KeyboardInterrupt:
        pass  # that is how one stops looking


def _table(found: Sequence[LiveMapping]) -> Table:
    from rich.table import Table

    if not found:
        table = Table.grid()
        table.add_row("no NAT remembers anything")
        return table
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("router", "protocol", "internal", "external", "may send", "time left"):
        table.add_column(heading, overflow="fold")
    for each in found[:_MOST_ROWS]:
        table.add_row(
            each.router, each.protocol, str(each.internal), str(each.external), _peers(each), _left(each.expires_s)
        )
    if len(found) > _MOST_ROWS:
        table.add_row(f"... and {len(found) - _MOST_ROWS} more: --json has all of them")
    return table


def _peers(mapping: LiveMapping) -> str:
    if mapping.open:
        return "anybody, since it was asked for" if mapping.asked else "anybody"
    shown = [f"{peer} ({_left(peer.expires_s)})" for peer in mapping.peers[:_MOST_PEERS]]
    more = len(mapping.peers) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _left(seconds: int | None) -> str:
    from wanlab.cli.text import duration

    return "-" if seconds is None else f"{seconds} s" if seconds < 600 else duration(seconds)
