"""A network as boxes and lines in a terminal, where it is small enough; else it is drawn as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from wanlab.drawing.layout import Picture, Placed, Point, Ruler, Way, lay_out
from wanlab.drawing.letters import cells
from wanlab.drawing.scene import AS_DECLARED, Condition, Scene, scene
from wanlab.drawing.tree import draw_tree
from wanlab.topology.network import Network

_MOST_LINES = 60  # of a picture; who has more to see is better served by the tree

# In cells. A box has a frame one cell thick, which its place and size count as they do in pixels: from edge to edge.
RULER = Ruler(
    unit=1,
    text_width=lambda text, bold: cells(text),
    line=1,
    frame_x=3,
    frame_y=1,
    gap_x=3,
    gap_y=2,
    rail=1,
    label=1,
    label_up=1,
    widest=1 << 20,  # what is too wide for a terminal becomes a tree, and no rows
    tallest=1 << 20,
    aspect=3.0,
)

_NORTH, _EAST, _SOUTH, _WEST = 1, 2, 4, 8
_LINES = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"
_DOWN = {"│": "╎", "─": "╌"}
_DOUBLE = {"─": "═", "│": "║", "┌": "╔", "┐": "╗", "└": "╚", "┘": "╝", "┬": "╤", "┴": "╧"}


def draw_text(network: Network, condition: Condition = AS_DECLARED, *, columns: int = 100) -> str:
    """The picture as lines without a newline at the end, or the tree where it would be wider than *columns*."""
    shown = scene(network, condition)
    if len(shown.boxes) <= columns:
        lines = _Canvas(lay_out(shown, RULER)).lines()
        if len(lines) <= _MOST_LINES and max(map(cells, lines), default=0) <= columns:
            return "\n".join(lines)
    differs = list(_differences(shown))
    return "\n".join([draw_tree(network), *(["", "Other than that:", *differs] if differs else [])])


def _differences(shown: Scene) -> Iterator[str]:
    """What a tree does not show of a lab that is up."""
    yield from (f"  {wire.tip}" for wire in shown.wires if wire.down)
    for box in shown.boxes.values():
        yield from (f"  {box.key} {row.text}" for row in box.rows if row.changed)


class _Canvas:
    def __init__(self, picture: Picture) -> None:
        self.joints: dict[Point, int] = {}
        """Towards which sides there is a line from a cell."""
        self.down: set[Point] = set()
        self.bars: set[Point] = set()
        self.words: dict[Point, str] = {}
        """Texts, by the cell that they begin in."""
        for way in picture.ways:
            self._wire(way)
        for placed in picture.boxes:
            self._box(placed)
        for way in picture.ways:
            if way.label_at is not None:
                x, y = way.label_at
                self.words[x - cells(way.wire.label) // 2, y] = way.wire.label

    def lines(self) -> list[str]:
        """Without empty lines and columns at the edges."""
        if not self.joints:
            return []
        covered = {(x + i, y) for (x, y), text in self.words.items() for i in range(cells(text))}
        places = [*self.joints, *covered]
        left = min(x for x, _ in places)
        rows = range(min(y for _, y in places), max(y for _, y in places) + 1)
        width = max(x for x, _ in places) + 1
        return [self._row(left, width, y, covered).rstrip() for y in rows]

    def _row(self, left: int, width: int, y: int, covered: set[Point]) -> str:
        row = ""
        for x in range(left, width):
            if (x, y) in self.words:
                row += self.words[x, y]
            elif (x, y) not in covered:
                row += self._joint((x, y))
        return row

    def _joint(self, at: Point) -> str:
        sign = _LINES[self.joints.get(at, 0)]
        if at in self.bars:
            return _DOUBLE.get(sign, sign)
        return _DOWN.get(sign, sign) if at in self.down else sign

    def _line(self, a: Point, b: Point) -> None:
        (ax, ay), (bx, by) = min(a, b), max(a, b)
        before, after = (_WEST, _EAST) if ay == by else (_NORTH, _SOUTH)
        points = [(x, y) for x in range(ax, bx + 1) for y in range(ay, by + 1)]
        for number, point in enumerate(points):
            sides = (before if number else 0) | (after if number < len(points) - 1 else 0)
            self.joints[point] = self.joints.get(point, 0) | sides

    def _wire(self, way: Way) -> None:
        for a, b in pairwise(way.points):
            self._line(a, b)
            if way.wire.down:
                self.down |= {
                    (x, y)
                    for x in range(min(a[0], b[0]), max(a[0], b[0]) + 1)
                    for y in range(min(a[1], b[1]), max(a[1], b[1]) + 1)
                }

    def _box(self, placed: Placed) -> None:
        box = placed.box
        left, top, right, bottom = placed.x, placed.y, placed.x + placed.width, placed.y + placed.height
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        edge = {(x, y) for x in range(left, right + 1) for y in range(top, bottom + 1)}
        self.down -= edge
        for a, b in pairwise(corners):
            self._line(a, b)
        if box.is_bar:
            self.bars |= edge
        rows = [row.text for row in box.rows]
        texts = ["  ".join([box.name, *rows])] if box.is_bar else [box.name, *rows]
        inside = placed.width - 1
        for number, text in enumerate(texts, 1):
            self.words[left + 1, top + number] = text.center(inside + len(text) - cells(text))
