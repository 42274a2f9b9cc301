"""How verbs print: JSON for programs, columns for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """Print *value*, as every `--json` does."""
    print(json.dumps(value, indent=2))


def put(text: str, file: Path | None) -> None:
    """Write *text* to *file*, or print it where there is none; it ends in a newline already. Raises OSError."""
    if file is not None:
        file.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as lines in which the cells stand below each other."""
    table = [list(row) for row in rows]
    if not table:
        return ""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def duration(seconds: float) -> str:
    """A time span as a person says it: `5 s`, `3 min`, `2 h 5 min`, `4 d 3 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min"


def count(number: int, thing: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
