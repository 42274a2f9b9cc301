"""A network as a Mermaid flowchart, which GitHub, GitLab and many wikis draw where they find one in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator

from wanlab.drawing.scene import AS_DECLARED, Box, Condition, Scene, Shape, Wire, scene
from wanlab.topology.network import Network

_FRAMES = {
    Shape.HOST: ("[", "]"),
    Shape.ROUTER: ("{{", "}}"),
    Shape.SWITCH: ("([", "])"),
    Shape.LAN: ("([", "])"),
}
_CLASSES = """\
    classDef switch fill:#3f4d61,stroke:#3f4d61,color:#ffffff
    classDef lan fill:#e5e9ef,stroke:#8a97a8,color:#1f2937
    classDef router fill:#e6effc,stroke:#3b76d4,color:#1f2937
    classDef host fill:#ffffff,stroke:#64748b,color:#1f2937
    classDef changed stroke:#b3420a,stroke-width:3px"""


def draw_mermaid(network: Network, condition: Condition = AS_DECLARED) -> str:
    """The flowchart, ending in a newline."""
    return "\n".join(_lines(scene(network, condition))) + "\n"


def _lines(shown: Scene) -> Iterator[str]:
    # A name could be a word of the language, like `end`: so nodes are numbered, and their names are their labels.
    numbers = {key: f"n{number}" for number, key in enumerate(shown.boxes)}
    yield "---"
    yield f"title: {json.dumps(_plain(f'{shown.name}: {shown.title}' if shown.title else shown.name))}"
    yield "---"
    yield "flowchart TB"
    for key, box in shown.boxes.items():
        yield f"    {numbers[key]}{_box(box)}"
    for wire in shown.wires:
        yield f"    {numbers[wire.a]} {_wire(wire)} {numbers[wire.b]}"
    yield _CLASSES
    for key, box in shown.boxes.items():
        if any(row.changed for row in box.rows):
            yield f"    class {numbers[key]} changed"


def _box(box: Box) -> str:
    left, right = _FRAMES[box.shape]
    rows = [row.text for row in box.rows]
    return f'{left}"{"<br/>".join(map(quoted, [box.name, *rows]))}"{right}:::{box.shape.value}'


def _wire(wire: Wire) -> str:
    line = ("-.", ".-") if wire.down else ("--", "---")
    if wire.label:
        return f'{line[0]} "{quoted(wire.label)}" {line[1]}'
    return "-.-" if wire.down else "---"


def quoted(text: str) -> str:
    """*text* inside of Mermaid's quotation marks: what has a meaning there is written as an entity."""
    return "".join(each if each.isalnum() or each in _HARMLESS else f"#{ord(each)};" for each in _plain(text))


_HARMLESS = " .,:/-_+()%'=@!?"


def _plain(text: str) -> str:
    """On one line."""
    return " ".join(text.split())
