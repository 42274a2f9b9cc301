"""Where tables are printed. Imports rich: verbs import this when they print one."""

from __future__ import annotations

from rich.console import Console


def table_console(columns: int, console: Console | None = None) -> Console:
    """A console for tables: stdout, or *console*; of so many columns where that is no terminal.

    Nobody scrolls a log sideways, and nothing is to be cut off in one.
    """
    console = console or Console(highlight=False)
    return console if console.is_terminal else Console(file=console.file, width=columns, highlight=False)
