"""`wanlab nat`: what the NATs of a lab do, declared beside measured; with `--mappings` what they remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import Json, UpLab

if TYPE_CHECKING:
    from wanlab.measure.nat import Measured

_WIDE = 160  # columns for what is no terminal: nobody scrolls a log sideways, and nothing is cut off


def nat(
    router: Annotated[
        str | None,
        typer.Argument(
            metavar="ROUTER",
            help="A router with a NAT or a firewall; left out: all of them.",
            show_default=False,
            autocompletion=complete.nodes,
        ),
    ] = None,
    *,
    lab: UpLab = None,
    lifetimes: Annotated[
        bool, typer.Option("--lifetimes", help="Measure how long mappings live, too: this takes minutes.")
    ] = False,
    mappings: Annotated[
        bool, typer.Option("--mappings", help="Measure nothing: show the mappings that they have now.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="With --mappings: each second, until Ctrl-C.")] = False,
    json: Json = False,
) -> int:
    """Measure what NATs do, beside what they should do.

    Exits with 1 where anything differs. With --mappings: show what they remember.
    """
    from wanlab.cli.target import attach
    from wanlab.cli.text import print_json
    from wanlab.errors import UsageError

    if watch and not mappings:
        raise UsageError("--watch is for --mappings", hint="add --mappings")
    if mappings and lifetimes:
        raise UsageError("--mappings measures nothing, and --lifetimes does", hint="give one of them")
    attached = attach(lab)
    if mappings:
        from wanlab.cli.nat_mappings import show_mappings

        show_mappings(attached, None if router is None else [router], watch=watch, json=json)
        return 0
    from wanlab.measure.nat import measure_nat, measure_nats

    if router is None:
        found = measure_nats(attached, lifetimes=lifetimes)
    else:
        found = [measure_nat(attached, router, lifetimes=lifetimes)]
    if json:
        print_json([measured.to_json() for measured in found])
    else:
        _print(found)
    return 0 if all(measured.ok for measured in found) else 1


def _print(found: Sequence[Measured]) -> None:
    from rich.table import Table
    from rich.text import Text

    from wanlab.cli.console import table_console

    console = table_console(_WIDE)
    marks = {True: ("ok", "green"), False: ("DIFFERS", "bold red"), None: ("-", "")}
    for number, measured in enumerate(found):
        if number:
            console.print()
        console.print(Text(f"{measured.router}: nat {measured.nat!r}", "bold"))
        if measured.findings:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for heading in ("", "axis", "declared", "measured"):
                table.add_column(heading, overflow="fold")
            for finding in measured.findings:
                mark, style = marks[finding.ok]
                cells = (finding.axis, finding.declared, finding.measured)
                table.add_row(Text(mark, style), *(Text(cell, "red" if finding.ok is False else "") for cell in cells))
            console.print(table)
        for note in measured.notes:
            console.print(Text(f"note: {note}"))
    if not found:
        console.print(Text("no router of this lab translates or filters"))
