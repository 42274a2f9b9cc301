"""A sequence diagram as Mermaid's."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.drawing.mermaid import quoted
from wanlab.drawing.sequence import Diagram, Step


def sequence_mermaid(diagram: Diagram) -> str:
    """The diagram, ending in a newline."""
    return "\n".join(_lines(diagram)) + "\n"


def _lines(diagram: Diagram) -> Iterator[str]:
    # A name could be a word of the language, like `end`: so nodes are numbered, and their names are their aliases.
    numbers = {name: f"n{number}" for number, name in enumerate(diagram.nodes)}
    yield "sequenceDiagram"
    for name, number in numbers.items():
        yield f"    participant {number} as {quoted(name)}"
    for step in diagram.steps:
        yield from (f"    {line}" for line in _step(step, numbers[step.sender], numbers[step.receiver]))
    if diagram.left_out and diagram.nodes:
        yield f"    Note over {numbers[diagram.nodes[0]]}: and {diagram.left_out} steps more"


def _step(step: Step, sender: str, receiver: str) -> Iterator[str]:
    if step.translation:
        yield f"Note over {sender}: {quoted(step.translation)}"
    if sender != receiver:
        yield f"{sender}{'-x' if step.death else '->>'}{receiver}: {quoted(step.text) or '#160;'}"
    if step.death:
        yield f"Note over {receiver}: {quoted(step.death)}"
