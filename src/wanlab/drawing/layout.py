"""Where the boxes and wires of a picture are: what hangs below something stands below it, in rows that one can read.

The same for an SVG, in pixels, and for a terminal, in cells: a :class:`Ruler` says how large things are. Everything
stands on multiples of the ruler's unit, and a box takes the points from its left to its right edge, both included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from wanlab.drawing.route import Plane, Rectangle
from wanlab.drawing.scene import Box, Scene, Wire

Point = tuple[int, int]

_MARGIN = 3  # units around a picture, for lines that go round
_MOST_ROWS = 40


@dataclass(frozen=True, slots=True)
class Ruler:
    """How large things are."""

    unit: int
    """What all places are multiples of."""
    text_width: Callable[[str, bool], int]
    """How wide a text is; whether it is bold."""
    line: int
    """The height of a line of text."""
    frame_x: int
    """How much wider than its text a box is, and (`frame_y`) how much higher."""
    frame_y: int
    gap_x: int
    """Between what stands side by side, and (`gap_y`) one above the other."""
    gap_y: int
    rail: int
    """How far below a box the line runs that leads to what hangs below it."""
    label: int
    """How much higher a gap is for the labels of wires; these stand `label_up` above the box below."""
    label_up: int
    widest: int
    """What is no wider is never broken into rows."""
    tallest: int
    """A tree that is higher, and slim, is continued beside."""
    aspect: float
    """Of a good picture: its width to its height."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A box, and where it is."""

    box: Box
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Way:
    """A wire, and the corners of its line from one box to the other."""

    wire: Wire
    points: tuple[Point, ...]
    label_at: Point | None = None
    """The middle of its label."""


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it."""

    width: int
    height: int
    boxes: tuple[Placed, ...]
    ways: tuple[Way, ...]


def lay_out(scene: Scene, ruler: Ruler) -> Picture:
    """Place everything that *scene* has."""
    return _Layout(scene, ruler).picture()


@dataclass(slots=True)
class _Block:
    """A box and all that hangs below it, as seen from the point where its own wire comes in: 0, 0."""

    left: int
    """How far it reaches to the left (and right) of that point, and how far down."""
    right: int
    height: int
    near: int = 0
    """How far the box itself reaches to each side."""
    boxes: list[Placed] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)

    @property
    def width(self) -> int:
        return self.left + self.right

    def take(self, other: _Block, dx: int, dy: int) -> None:
        """Have another block in this one."""
        self.boxes += (Placed(b.box, b.x + dx, b.y + dy, b.width, b.height) for b in other.boxes)
        self.ways += (_moved(way, dx, dy) for way in other.ways)


@dataclass(slots=True)
class _Row:
    blocks: list[tuple[_Block, Wire]]
    width: int
    height: int


class _Layout:
    def __init__(self, scene: Scene, ruler: Ruler) -> None:
        self.scene = scene
        self.ruler = ruler
        self.cut: list[Wire] = []
        """The wires to what is placed elsewhere than below its own box."""

    def picture(self) -> Picture:
        blocks: list[_Block] = []
        for root in self.scene.roots:
            apart: list[_Block] = []
            blocks.append(self._block(root, apart, self._most_height(root)))
            blocks += reversed(apart)
        whole = self._beside(blocks)
        placed = {each.box.key: each for each in whole.boxes}
        ways = [*whole.ways, *self._others(placed, whole)]
        return _framed(list(placed.values()), ways, _MARGIN * self.ruler.unit)

    def _most_height(self, root: str) -> int:
        """How high a tree may be before it is continued beside: its parts shall be of about one height."""
        whole = self._block(root, [], 1 << 30).height
        parts = -(-whole // self.ruler.tallest)
        return whole if parts == 1 else whole // parts + 3 * self.ruler.gap_y

    # -- one box and what hangs below it -----------------------------------------------------------------------------

    def _block(self, key: str, apart: list[_Block], most: int) -> _Block:
        """What is too deep below it, for a block so high, goes to *apart*, the deepest first."""
        box = self.scene.boxes[key]
        width, height = self._size(box)
        children = []
        for wire in self.scene.below(key):
            child = self._block(wire.b, apart, most)
            total = height + self.ruler.gap_y + child.height
            if total > most and child.width * 2 < child.height:
                apart.append(child)
                self.cut.append(wire)
            else:
                children.append((child, wire))
        if not children:
            half = width // 2
            return _Block(half, half, height, half, [Placed(box, -half, 0, width, height)])
        widest = self.ruler.widest if key not in self.scene.above else self.ruler.widest // 2
        rows = self._best_rows(children, widest)
        return self._bar(box, width, height, rows) if box.is_bar else self._head(box, width, height, rows)

    def _bar(self, box: Box, width: int, height: int, rows: list[_Row]) -> _Block:
        """A bar that goes over all that hangs from it."""
        start = self._trunk_room(rows)
        first = rows[0].blocks
        anchors = list(self._anchors(first, start))
        if len(rows) == 1:
            left = anchors[0] - first[0][0].near
            right = anchors[-1] + first[-1][0].near
        else:
            left, right = 0, start + max(row.width for row in rows)
        spare = max(0, width - (right - left))
        left, right = left - self._even(spare) // 2, right + self._even(spare) // 2
        middle = self._snap((left + right) // 2)
        half = max(middle - left, right - middle)
        bar = Placed(box, middle - half, 0, 2 * half, height)
        return self._hang(bar, middle, rows, start)

    def _head(self, box: Box, width: int, height: int, rows: list[_Row]) -> _Block:
        """A box over the middle of what hangs below it."""
        start = self._trunk_room(rows)
        if len(rows) == 1:
            anchors = list(self._anchors(rows[0].blocks, start))
            middle = self._snap((anchors[0] + anchors[-1]) // 2)
        else:
            middle = self._snap((start + max(row.width for row in rows)) // 2)
        return self._hang(Placed(box, middle - width // 2, 0, width, height), middle, rows, start)

    def _hang(self, top: Placed, middle: int, rows: list[_Row], start: int) -> _Block:
        """*top* with the rows below it; *middle* is where its own wire comes in."""
        whole = _Block(0, 0, top.height, max(middle - top.x, top.x + top.width - middle), [top])
        y = top.height
        lowest = y
        for number, row in enumerate(rows):
            y += self._gap(row)
            start_of_line = self._to_rail(top, middle, number, y - self._gap(row) + self.ruler.rail)
            for (child, wire), anchor in zip(row.blocks, self._anchors(row.blocks, start), strict=True):
                whole.take(child, anchor, y)
                whole.ways.append(self._way(wire, start_of_line, (anchor, y), direct=top.box.is_bar and number == 0))
            y += row.height
            lowest = max(lowest, y)
        left = min(each.x for each in whole.boxes)
        right = max(each.x + each.width for each in whole.boxes)
        for way in whole.ways:
            left = min(left, *(x for x, _ in way.points))
            if way.label_at is not None:
                half = self._label_half(way.wire)
                left, right = min(left, way.label_at[0] - half), max(right, way.label_at[0] + half)
        moved = _Block(self._up(middle - left), self._up(right - middle), lowest, whole.near)
        moved.take(whole, -middle, 0)
        return moved

    def _to_rail(self, top: Placed, middle: int, number: int, rail: int) -> tuple[Point, ...]:
        """From the bottom of *top* to the rail of the how-manieth row below it: a trunk at the left leads to most."""
        bottom = top.height
        if number == 0:
            return (middle, bottom), (middle, rail)
        if top.box.is_bar:
            return (0, bottom), (0, rail)
        return (middle, bottom), (middle, bottom + self.ruler.rail), (0, bottom + self.ruler.rail), (0, rail)

    def _way(self, wire: Wire, start: tuple[Point, ...], end: Point, *, direct: bool) -> Way:
        """The line of a wire along a rail, or *direct* from a bar that is right above."""
        points = ((end[0], start[0][1]), end) if direct else (*start, (end[0], start[-1][1]), end)
        label = (end[0], end[1] - self.ruler.label_up) if wire.label else None
        return Way(wire, _straightened(points), label)

    # -- rows --------------------------------------------------------------------------------------------------------

    def _best_rows(self, children: list[tuple[_Block, Wire]], widest: int) -> list[_Row]:
        """One row where that is not too wide; else as many as make a picture of the best shape."""
        one = self._row(children)
        if one.width <= widest or len(children) == 1:
            return [one]
        children = self._alike(children)
        best, least = [one], float("inf")
        for count in range(1, min(len(children), _MOST_ROWS) + 1):
            rows = self._rows(children, max(widest, one.width // count))
            wide = max(row.width for row in rows)
            high = sum(row.height + self._gap(row) for row in rows)
            worse = max(wide / self.ruler.aspect, high)
            if worse < least:
                best, least = rows, worse
        return best

    @staticmethod
    def _alike(children: list[tuple[_Block, Wire]]) -> list[tuple[_Block, Wire]]:
        """Where nothing hangs below any of them: with boxes of one width, so that they stand in columns."""
        if any(len(block.boxes) > 1 for block, _ in children):
            return children
        half = max(block.near for block, _ in children)
        boxes = [(block, block.boxes[0]) for block, _ in children]
        wide = [
            _Block(half, half, block.height, half, [Placed(each.box, -half, 0, 2 * half, each.height)])
            for block, each in boxes
        ]
        return list(zip(wide, (wire for _, wire in children), strict=True))

    def _rows(self, children: list[tuple[_Block, Wire]], most: int) -> list[_Row]:
        rows: list[_Row] = []
        now: list[tuple[_Block, Wire]] = []
        width = 0
        for child in children:
            more = sum(self._reach(*child)) + self.ruler.gap_x
            if now and width + more - self.ruler.gap_x > most:
                rows.append(self._row(now))
                now, width = [], 0
            now.append(child)
            width += more
        return [*rows, self._row(now)]

    def _row(self, children: list[tuple[_Block, Wire]]) -> _Row:
        width = sum(sum(self._reach(*child)) for child in children)
        width += self.ruler.gap_x * (len(children) - 1)
        return _Row(children, width, max(block.height for block, _ in children))

    def _anchors(self, children: list[tuple[_Block, Wire]], start: int) -> Iterator[int]:
        """Where each child's wire comes in."""
        x = start
        for child in children:
            left, right = self._reach(*child)
            yield x + left
            x += left + right + self.ruler.gap_x

    def _reach(self, block: _Block, wire: Wire) -> tuple[int, int]:
        """To the left and right of its wire, with the wire's label."""
        half = self._label_half(wire)
        return max(block.left, half), max(block.right, half)

    def _trunk_room(self, rows: list[_Row]) -> int:
        return 0 if len(rows) == 1 else self.ruler.gap_x + self.ruler.unit

    def _gap(self, row: _Row) -> int:
        return self.ruler.gap_y + (self.ruler.label if any(wire.label for _, wire in row.blocks) else 0)

    # -- all together ------------------------------------------------------------------------------------------------

    def _beside(self, blocks: Sequence[_Block]) -> _Block:
        """The blocks of all roots, in rows."""
        whole = _Block(0, 0, 0)
        gap = self.ruler.gap_x * 2 if len(blocks) > 1 else 0
        total = sum(block.width + gap for block in blocks)
        area = sum((block.width + gap) * (block.height + gap) for block in blocks)
        most = max(self.ruler.widest, int((area * self.ruler.aspect) ** 0.5), *(b.width for b in blocks), 0)
        most = max(most, total // 2) if total < 2 * most else most
        x = y = row = 0
        for block in blocks:
            if x and x + block.width > most:
                x, y, row = 0, y + row + self.ruler.gap_y * 2, 0
            whole.take(block, x + block.left, y)
            x += block.width + gap
            row = max(row, block.height)
        return whole

    def _others(self, placed: dict[str, Placed], whole: _Block) -> Iterator[Way]:
        """The wires that nothing hangs by, or that were cut: they find their own way."""
        wires = [*self.cut, *self.scene.loose]
        if not wires:
            return
        unit = self.ruler.unit
        shapes = {
            key: Rectangle(b.x // unit, b.y // unit, (b.x + b.width) // unit, (b.y + b.height) // unit)
            for key, b in placed.items()
        }
        area = Rectangle(
            min(shape.left for shape in shapes.values()),
            min(shape.top for shape in shapes.values()),
            max(shape.right for shape in shapes.values()),
            max(shape.bottom for shape in shapes.values()),
        )
        plane = Plane(area.grown(_MARGIN - 1), shapes.values())
        for way in whole.ways:
            plane.add([(x // unit, y // unit) for x, y in way.points])
        for wire in wires:
            points = [(x * unit, y * unit) for x, y in plane.way(shapes[wire.a], shapes[wire.b])]
            yield Way(wire, tuple(points), self._on_longest(points) if wire.label else None)

    @staticmethod
    def _on_longest(points: Sequence[Point]) -> Point:
        """The middle of the longest straight piece of a line."""
        (ax, ay), (bx, by) = max(
            pairwise(points), key=lambda piece: abs(piece[0][0] - piece[1][0]) + abs(piece[0][1] - piece[1][1])
        )
        return (ax + bx) // 2, (ay + by) // 2

    # -- sizes -------------------------------------------------------------------------------------------------------

    def _size(self, box: Box) -> tuple[int, int]:
        texts = [row.text for row in box.rows]
        if box.is_bar:
            width = self.ruler.text_width(box.name, True) + sum(
                self.ruler.text_width(f"  {text}", False) for text in texts
            )
            lines = 1
        else:
            width = max(
                [self.ruler.text_width(box.name, True), *(self.ruler.text_width(text, False) for text in texts)]
            )
            lines = 1 + len(texts)
        return self._even(width + self.ruler.frame_x), self._up(lines * self.ruler.line + self.ruler.frame_y)

    def _label_half(self, wire: Wire) -> int:
        return self._even(self.ruler.text_width(wire.label, False) + self.ruler.unit) // 2 if wire.label else 0

    def _even(self, length: int) -> int:
        """Up to what has a middle that is a multiple of the unit."""
        double = 2 * self.ruler.unit
        return -(-length // double) * double

    def _up(self, length: int) -> int:
        return -(-length // self.ruler.unit) * self.ruler.unit

    def _snap(self, place: int) -> int:
        return place // self.ruler.unit * self.ruler.unit


def _straightened(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Without corners that are none."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and (kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def _moved(way: Way, dx: int, dy: int) -> Way:
    label = way.label_at and (way.label_at[0] + dx, way.label_at[1] + dy)
    return Way(way.wire, tuple((x + dx, y + dy) for x, y in way.points), label)


def _framed(boxes: list[Placed], ways: list[Way], margin: int) -> Picture:
    """Moved so that all is right of and below the margin."""
    if not boxes:
        return Picture(0, 0, (), ())
    xs = [x for way in ways for x, _ in way.points] + [x for box in boxes for x in (box.x, box.x + box.width)]
    ys = [y for way in ways for _, y in way.points] + [y for box in boxes for y in (box.y, box.y + box.height)]
    dx, dy = margin - min(xs), margin - min(ys)
    return Picture(
        max(xs) + dx + margin,
        max(ys) + dy + margin,
        tuple(Placed(b.box, b.x + dx, b.y + dy, b.width, b.height) for b in boxes),
        tuple(_moved(way, dx, dy) for way in ways),
    )
