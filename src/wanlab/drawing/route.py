"""The way of a line between two boxes that others stand between: horizontal and vertical, with few bends.

The plane is a grid. A step costs one; a bend, a crossing, and running along another line cost more; through a box there
is no way. The cheapest way is found as A* does it (Hart, Nilsson, Raphael 1968).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[int, int]

_BEND, _CROSSING, _ALONG = 4, 2, 30
_MOST_STEPS = 60_000  # of one search; then the line is drawn straight, behind what stands in the way
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True, slots=True)
class Rectangle:
    """In grid points, edges included."""

    left: int
    top: int
    right: int
    bottom: int

    def grown(self, by: int) -> Rectangle:
        """Larger at each side."""
        return Rectangle(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def points(self) -> Iterator[Point]:
        """All of them."""
        for x in range(self.left, self.right + 1):
            for y in range(self.top, self.bottom + 1):
                yield x, y


class Plane:
    """Boxes and lines on a grid within *area*."""

    def __init__(self, area: Rectangle, boxes: Iterable[Rectangle]) -> None:
        self._area = area
        self._blocked = {point for box in boxes for point in box.points()}
        self._lines: dict[bool, set[Point]] = {True: set(), False: set()}
        """The points that horizontal (True) and vertical lines pass."""

    def add(self, way: Sequence[Point]) -> None:
        """Note a line that is drawn."""
        for (ax, ay), (bx, by) in pairwise(way):
            points = Rectangle(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)).points()
            self._lines[ay == by].update(points)

    def way(self, a: Rectangle, b: Rectangle) -> list[Point]:
        """From the edge of one box to that of another: its corners, both ends included. It is noted as drawn."""
        found = _corners(self._search(a, b) or _straight(a, b))
        self.add(found)
        return found

    def _search(self, a: Rectangle, b: Rectangle) -> list[Point] | None:
        goals = dict(_edge(b))
        search = _Search(b)
        for point, outward in _edge(a):
            if not any(point in lines for lines in self._lines.values()):
                search.offer(0, (point, outward), None)
        for _ in range(_MOST_STEPS):
            found = search.next()
            if found is None:
                return None
            cost, (point, direction) = found
            dx, dy = _DIRECTIONS[direction]
            there = (point[0] + dx, point[1] + dy)
            if there in goals and _opposite(goals[there]) == direction:
                return [*search.back((point, direction)), there]
            if there in self._blocked or not self._inside(there):
                continue
            cost += 1
            cost += _ALONG * (there in self._lines[dy == 0]) + _CROSSING * (there in self._lines[dy != 0])
            for turn in range(4):
                if turn != _opposite(direction):
                    search.offer(cost + (0 if turn == direction else _BEND), (there, turn), (point, direction))
        return None

    def _inside(self, point: Point) -> bool:
        area = self._area
        return area.left <= point[0] <= area.right and area.top <= point[1] <= area.bottom


_State = tuple[Point, int]
"""Where a line has come to, and which way it goes from there."""


@dataclass(slots=True)
class _Search:
    """What is known of the ways to *goal*: the cheapest are looked at first."""

    goal: Rectangle
    queue: list[tuple[int, int, _State]] = field(default_factory=list)
    known: dict[_State, tuple[int, _State | None]] = field(default_factory=dict)
    """What it costs to come there, and from where one does."""

    def offer(self, cost: int, state: _State, before: _State | None) -> None:
        """A way to *state*, forgotten where a cheaper one is known."""
        if state not in self.known or cost < self.known[state][0]:
            self.known[state] = (cost, before)
            (x, y), goal = state[0], self.goal
            left = max(goal.left - x, 0, x - goal.right) + max(goal.top - y, 0, y - goal.bottom)
            heapq.heappush(self.queue, (cost + left, cost, state))

    def next(self) -> tuple[int, _State] | None:
        """The state to go on from."""
        while self.queue:
            _, cost, state = heapq.heappop(self.queue)
            if self.known[state][0] == cost:
                return cost, state
        return None

    def back(self, last: _State) -> list[Point]:
        """The way that led to *last*."""
        way: list[Point] = []
        state: _State | None = last
        while state is not None:
            way.append(state[0])
            state = self.known[state][1]
        return way[::-1]


def _edge(box: Rectangle) -> Iterator[tuple[Point, int]]:
    """The points of a box's edges, but not its corners, and which way is outwards there."""
    for x in range(box.left + 1, box.right):
        yield (x, box.bottom), 2
        yield (x, box.top), 3
    for y in range(box.top + 1, box.bottom):
        yield (box.right, y), 0
        yield (box.left, y), 1


def _opposite(direction: int) -> int:
    return direction ^ 1


def _straight(a: Rectangle, b: Rectangle) -> list[Point]:
    end = ((b.left + b.right) // 2, (b.top + b.bottom) // 2)
    start = ((a.left + a.right) // 2, (a.top + a.bottom) // 2)
    return [start, (end[0], start[1]), end]


def _corners(way: Sequence[Point]) -> list[Point]:
    """Without the points that lie on a straight line between their neighbours."""
    kept = list(way[:1])
    for before, point, after in zip(way, way[1:], way[2:], strict=False):
        if (point[0] - before[0], point[1] - before[1]) != (after[0] - point[0], after[1] - point[1]):
            kept.append(point)
    return [*kept, way[-1]] if len(way) > 1 else kept
