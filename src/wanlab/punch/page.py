"""The punch grid as a picture (SVG) and as a page (HTML) that needs nothing from anywhere else."""

from __future__ import annotations

from html import escape

from wanlab.punch.grid import Cell, Grid, describe
from wanlab.punch.machine import Transport
from wanlab.punch.theory import describe_odds

_CELL = 22
_HEADING = 56
_LETTER = 7.2
"""How wide a letter of the labels is, about: no font can be asked."""

_STYLE = """
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2933; }
.title { font-size: 16px; font-weight: 600; }
.mark { text-anchor: middle; fill: #fff; font-weight: 700; }
.through { fill: #2f855a; } .not { fill: #cbd2d9; } .luck { fill: #b7791f; } .differs { fill: #c53030; }
""".strip()

_PAGE_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
td, th { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #e4e7eb; vertical-align: top; }
.bad { color: #c53030; font-weight: 600; }
""".strip()

_LEGEND = (
    ("through", "+", "gets through"),
    ("not", "", "does not"),
    ("luck", "?", "does not, short of a lucky guess"),
    ("differs", "!", "differs from the prediction"),
)


def look(cell: Cell) -> tuple[str, str]:
    """What a cell is (`through`, `not`, `luck`, `differs`), and the mark for it."""
    if not cell.agrees:
        return "differs", "!"
    if cell.prediction.luck:
        return "luck", "?"
    return ("through", "+") if cell.connected else ("not", ".")


def tell(cell: Cell) -> str:
    """A cell in a sentence."""
    measured = "gets through" if cell.connected else "does not get through"
    predicted = "it does" if cell.prediction.connects else "it does not"
    if cell.prediction.luck:
        predicted += f", but for {describe_odds(cell.prediction.odds)}"
    names = f"{cell.row} to {cell.column}, {cell.transport.value.upper()}"
    return f"{names}: {measured}; predicted: {predicted} ({cell.prediction.why})"


def svg(grid: Grid) -> str:
    """The grid as a picture: all transports below each other, each cell's sentence as its tooltip."""
    names = list(grid.kinds)
    left = 24 + _LETTER * (max(map(len, names), default=0) + 4)
    height_of_one = _HEADING + _CELL * (len(names) + 2)
    legend = sum(40 + _LETTER * len(words) for _, _, words in _LEGEND)
    width = max(left + _CELL * len(names) + 24, 24 + legend)
    height = height_of_one * len(grid.transports) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" aria-label="punch grid">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width:.0f}" height="{height}" fill="#fff"/>',
    ]
    for number, transport in enumerate(grid.transports):
        parts += _one(grid, transport, left, number * height_of_one)
    x = 24.0
    for kind, mark, words in _LEGEND:
        y = height - 30
        parts.append(f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="16" height="16" rx="3"/>')
        parts.append(f'<text class="mark" x="{x + 8:.0f}" y="{y + 12}">{mark}</text>')
        parts.append(f'<text x="{x + 22:.0f}" y="{y + 12}">{words}</text>')
        x += 40 + _LETTER * len(words)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _one(grid: Grid, transport: Transport, left: float, top: int) -> list[str]:
    parts = [f'<text class="title" x="24" y="{top + 28}">{transport.value.upper()} hole punching</text>']
    first = top + _HEADING + _CELL
    for number in range(len(grid.kinds)):
        x = left + _CELL * (number + 0.5)
        parts.append(f'<text x="{x:.1f}" y="{first - 8}" text-anchor="middle">{number + 1}</text>')
    for row, (name, cells) in enumerate(grid.rows(transport)):
        y = first + _CELL * row
        label = f"{row + 1:>2} {name}"
        parts.append(f'<text x="24" y="{y + 15}" xml:space="preserve">{escape(label)}</text>')
        for column, cell in enumerate(cells):
            kind, mark = look(cell)
            x = left + _CELL * column
            parts.append(
                f'<g><title>{escape(tell(cell))}</title><rect class="{kind}" x="{x + 1:.1f}" y="{y + 1}" '
                f'width="{_CELL - 2}" height="{_CELL - 2}" rx="3"/>'
                + (f'<text class="mark" x="{x + _CELL / 2:.1f}" y="{y + 15}">{mark}</text>' if mark != "." else "")
                + "</g>"
            )
    return parts


def html(grid: Grid) -> str:
    """The grid as a page of its own."""
    kinds = "\n".join(
        f"<tr><td>{number}</td><td>{escape(name)}</td><td>{escape(describe(nat))}</td></tr>"
        for number, (name, nat) in enumerate(grid.kinds.items(), 1)
    )
    differing = "\n".join(f"<li>{escape(tell(cell))}</li>" for cell in grid.differing)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wanlab: the punch grid</title>
<style>{_PAGE_STYLE}</style>
</head>
<body>
<h1>The punch grid</h1>
<p>Two peers, each behind a NAT of its own, learn each other's endpoint from a rendezvous and send to it at once. The
row's peer is a little earlier. Each cell was predicted from the two NATs and measured in a lab; its tooltip tells what
decides it.</p>
<p{"" if grid.ok else ' class="bad"'}>{escape(outcome(grid))}</p>
{f"<ul>{differing}</ul>" if differing else ""}
<div class="wide">
{svg(grid)}</div>
<h2>The NATs</h2>
<div class="wide"><table>
<tr><th></th><th>name</th><th>what it is</th></tr>
{kinds}
</table></div>
</body>
</html>
"""


def outcome(grid: Grid) -> str:
    """The grid in a sentence."""
    cells = len(grid.cells)
    through = sum(cell.connected for cell in grid.cells)
    took = f"{through} get through; {grid.seconds:.1f} s"
    if grid.ok:
        return f"all {cells} cells are as predicted ({took})"
    return f"{len(grid.differing)} of {cells} cells differ from the prediction ({took})"
