"""`wanlab verify`: proof that a lab is what its topology says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wanlab.cli.options import Json, UpLab

if TYPE_CHECKING:
    from rich.console import Console

    from wanlab.measure.verify import Report

_WIDE = 200  # columns for what is no terminal: nobody scrolls a log sideways, and nothing is cut off


def verify(lab: UpLab = None, json: Json = False) -> int:
    """Prove by packets that a lab is what it should be.

    Exits with 1 where anything differs from what its topology says.
    """
    from wanlab.cli.target import attach
    from wanlab.cli.text import print_json

    report = attach(lab).verify()
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
    return 0 if report.ok else 1


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the checks as a table, and the outcome below it."""
    from rich.table import Table
    from rich.text import Text

    from wanlab.cli.console import table_console

    console = table_console(_WIDE, console)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "group", "what", "expected", "seen"):
        table.add_column(heading, overflow="fold")
    for check in report.checks:
        mark, style = ("ok", "green") if check.ok else ("DIFFERS", "bold red")
        cells = (check.group, check.subject, check.expected, check.seen)
        table.add_row(Text(mark, style), *(Text(cell, "" if check.ok else "red") for cell in cells))
    console.print(table)
    for note in report.notes:
        console.print(Text(f"note: {note}"))
    console.print(_outcome(report))


def _outcome(report: Report) -> object:
    from rich.text import Text

    checks = len(report.checks)
    if report.ok:
        return Text(f"lab {report.lab}: all {checks} checks hold ({report.seconds:.1f} s)", "green")
    failed = sum(not check.ok for check in report.checks)
    return Text(f"lab {report.lab}: {failed} of {checks} checks differ ({report.seconds:.1f} s)", "bold red")
