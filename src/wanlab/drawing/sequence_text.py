"""A sequence diagram for a terminal: a line for each step, what it is beside it."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.drawing.sequence import Diagram, Step

_LEAST = 10  # cells between two lifelines
_TIME = 12


def sequence_text(diagram: Diagram) -> str:
    """The lines, without a newline at the end."""
    return "\n".join(line.rstrip() for line in _lines(diagram))


def _lines(diagram: Diagram) -> Iterator[str]:
    if not diagram.steps:
        yield "(no packets)"
        return
    width = max(_LEAST, *(len(name) + 2 for name in diagram.nodes))
    places = {name: _TIME + 2 + width // 2 + number * width for number, name in enumerate(diagram.nodes)}
    heading = " " * (_TIME + 2 + len(diagram.nodes) * width)
    for name, place in places.items():
        start = place - len(name) // 2
        heading = heading[:start] + name + heading[start + len(name) :]
    yield heading
    for step in diagram.steps:
        row = [" "] * (_TIME + 2 + len(diagram.nodes) * width)
        for place in places.values():
            row[place] = "│"
        time = diagram.after_ms(step).rjust(_TIME)
        row[: len(time)] = time
        _arrow(row, places[step.sender], places[step.receiver], step, set(places.values()))
        yield "".join(row) + "  " + _said(step)
    if diagram.left_out:
        yield f"... and {diagram.left_out} steps more"


def _arrow(row: list[str], start: int, end: int, step: Step, lifelines: set[int]) -> None:
    if start == end:
        row[start] = "x"
        return
    right = end > start
    for place in range(min(start, end) + 1, max(start, end)):
        row[place] = "┼" if place in lifelines else "─"
    row[start] = "├" if right else "┤"
    row[end - 1 if right else end + 1] = ">" if right else "<"
    if step.death:
        row[end] = "x"


def _said(step: Step) -> str:
    translated = f"({step.sender}: {step.translation})" if step.translation else ""
    died = f"x {step.death}" if step.death else ""
    return "  ".join(filter(None, (step.text, translated, died)))
