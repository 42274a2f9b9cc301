"""A network as an SVG that needs nothing from anywhere else: for a README, a paper, a browser.

It has no background of its own. What lies on the page itself is of a grey that is legible on white and on black; boxes
are filled, and follow what the reader prefers (`prefers-color-scheme`), where the viewer tells.
"""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.drawing.layout import Picture, Placed, Ruler, Way, lay_out
from wanlab.drawing.letters import cut, pixels
from wanlab.drawing.scene import AS_DECLARED, Condition, Shape, scene
from wanlab.drawing.xml import xml
from wanlab.topology.network import Network

SIZE = 13  # of letters, in pixels
FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif"
_LINE = 18
_TITLE = 30
"""The height of the title, which is written in larger letters."""
_TITLE_SIZE = 15
_MOST_TITLE = 640  # a longer title makes a picture no wider, and is cut off

RULER = Ruler(
    unit=10,
    text_width=lambda text, bold: pixels(text, bold, SIZE),
    line=_LINE,
    frame_x=20,
    frame_y=12,
    gap_x=20,
    gap_y=40,
    rail=20,
    label=20,
    label_up=20,
    widest=1200,
    tallest=1100,
    aspect=1.5,
)

_STYLE = f"""
text {{ font: {SIZE}px {FAMILY}; fill: #1f2937; text-anchor: middle; }}
.name {{ font-weight: 700; }}
.title {{ font-size: {_TITLE_SIZE}px; font-weight: 600; fill: #6b7684; text-anchor: start; }}
.wire {{ fill: none; stroke: #7b8794; stroke-width: 1.5; stroke-linejoin: round; }}
.wire.down {{ stroke: #dc4c4c; stroke-dasharray: 5 4; }}
.host rect {{ fill: #ffffff; stroke: #64748b; }}
.router rect {{ fill: #e6effc; stroke: #3b76d4; }}
.lan rect {{ fill: #e5e9ef; stroke: #8a97a8; }}
.switch rect {{ fill: #3f4d61; stroke: #3f4d61; }}
.switch text {{ fill: #ffffff; }}
.does {{ fill: #1d4fa3; }}
.changed {{ fill: #b3420a; font-style: italic; }}
.label rect {{ fill: #fff7e0; stroke: #c69a2c; }}
.label.down rect {{ fill: #fde8e8; stroke: #dc4c4c; }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e5e9f0; }}
.title {{ fill: #9aa5b4; }}
.host rect {{ fill: #232b37; stroke: #8a97a8; }}
.router rect {{ fill: #1b2f4d; stroke: #6aa0f0; }}
.lan rect {{ fill: #333d4b; stroke: #8a97a8; }}
.switch rect {{ fill: #566478; stroke: #566478; }}
.does {{ fill: #a5c8ff; }}
.changed {{ fill: #ffb27d; }}
.label rect {{ fill: #40371c; stroke: #c69a2c; }}
.label.down rect {{ fill: #4a2222; }}
}}
""".strip()


def draw_svg(network: Network, condition: Condition = AS_DECLARED) -> str:
    """The picture, as a document that ends in a newline."""
    shown = scene(network, condition)
    picture = lay_out(shown, RULER)
    title = f"{shown.name}: {shown.title}" if shown.title else shown.name
    return "\n".join(_document(picture, title)) + "\n"


def _document(picture: Picture, title: str) -> Iterator[str]:
    title_width = pixels(title, True, _TITLE_SIZE) + 2 * RULER.unit
    width = max(picture.width, min(title_width, _MOST_TITLE))
    height = picture.height + _TITLE
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{xml(title)}">'
    )
    yield f"<title>{xml(title)}</title>"
    yield f"<style>{_STYLE}</style>"
    heading = cut(title, width - 2 * RULER.unit, _TITLE_SIZE, bold=True)
    yield f'<text class="title" x="{RULER.unit}" y="{_TITLE_SIZE + 10}">{xml(heading)}</text>'
    yield f'<g transform="translate({(width - picture.width) // 2} {_TITLE})">'
    for way in picture.ways:
        yield _wire(way)
    for placed in picture.boxes:
        yield from _box(placed)
    for way in picture.ways:
        yield from _label(way)
    yield "</g>"
    yield "</svg>"


def _wire(way: Way) -> str:
    points = " ".join(f"{x},{y}" for x, y in way.points)
    ends = ""
    if way.wire.link is not None:
        ends = f' data-a="{" ".join(way.wire.link.a)}" data-b="{" ".join(way.wire.link.b)}"'
    tip = f"<title>{xml(way.wire.tip)}</title>" if way.wire.tip else ""
    down = " down" if way.wire.down else ""
    return f'<polyline class="wire{down}"{ends} points="{points}">{tip}</polyline>'


def _box(placed: Placed) -> Iterator[str]:
    box = placed.box
    corner = min(placed.height // 2, 12) if box.is_bar else 4
    yield f'<g class="{box.shape.value}" data-node="{xml(box.key)}"><title>{xml(box.tip)}</title>'
    yield (
        f'<rect x="{placed.x}" y="{placed.y}" width="{placed.width}" height="{placed.height}" rx="{corner}" '
        f'stroke-width="1.5"/>'
    )
    middle = placed.x + placed.width // 2
    if box.is_bar:
        rows = "".join(f' <tspan class="{_class(row.changed)}" dx="0.3em">{xml(row.text)}</tspan>' for row in box.rows)
        y = placed.y + (placed.height + SIZE) // 2 - 2
        yield f'<text x="{middle}" y="{y}"><tspan class="name">{xml(box.name)}</tspan>{rows}</text>'
    else:
        lines = 1 + len(box.rows)
        y = placed.y + (placed.height - lines * _LINE) // 2 + SIZE
        yield f'<text class="name" x="{middle}" y="{y}">{xml(box.name)}</text>'
        for row in box.rows:
            y += _LINE
            kind = _class(row.changed) or ("does" if box.shape is Shape.ROUTER and _tells(row.text) else "")
            yield f'<text class="{kind}" x="{middle}" y="{y}">{xml(row.text)}</text>'
    yield "</g>"


def _tells(text: str) -> bool:
    """Whether a row of a router says what it does, and not which addresses it has."""
    return text.startswith(("NAT ", "IPv6 ", "firewall", "no firewall"))


def _class(changed: bool) -> str:
    return "changed" if changed else ""


def _label(way: Way) -> Iterator[str]:
    if way.label_at is None:
        return
    x, y = way.label_at
    width = pixels(way.wire.label, False, SIZE) + RULER.unit
    down = " down" if way.wire.down else ""
    yield (
        f'<g class="label{down}"><rect x="{x - width // 2}" y="{y - 9}" width="{width}" height="18" rx="9"/>'
        f'<text x="{x}" y="{y + 5}">{xml(way.wire.label)}</text></g>'
    )
