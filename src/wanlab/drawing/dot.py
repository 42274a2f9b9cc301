"""A network in DOT, for Graphviz and all that reads its language."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.drawing.scene import AS_DECLARED, Box, Condition, Scene, Shape, Wire, scene
from wanlab.topology.network import Network

_LOOKS = {
    Shape.HOST: 'fillcolor="#ffffff" color="#64748b"',
    Shape.ROUTER: 'fillcolor="#e6effc" color="#3b76d4"',
    Shape.SWITCH: 'fillcolor="#3f4d61" color="#3f4d61" fontcolor="#ffffff"',
    Shape.LAN: 'fillcolor="#e5e9ef" color="#8a97a8"',
}


def draw_dot(network: Network, condition: Condition = AS_DECLARED) -> str:
    """The graph, ending in a newline. Its nodes have the names that they have in the lab."""
    return "\n".join(_lines(scene(network, condition))) + "\n"


def _lines(shown: Scene) -> Iterator[str]:
    yield f"graph {_quoted(shown.name)} {{"
    if shown.title:
        yield f"    label={_quoted(shown.title)} labelloc=t"
    yield '    node [shape=box style="filled,rounded" fontname="Helvetica" fontsize=11]'
    yield '    edge [color="#7b8794" fontname="Helvetica" fontsize=10]'
    for box in shown.boxes.values():
        yield f"    {_quoted(box.key)} [{_box(box)}]"
    for wire in shown.wires:
        yield f"    {_quoted(wire.a)} -- {_quoted(wire.b)}{_wire(wire)}"
    yield "}"


def _box(box: Box) -> str:
    label = "\\n".join(_escaped(text) for text in [box.name, *(row.text for row in box.rows)])
    changed = ' color="#b3420a" penwidth=2' if any(row.changed for row in box.rows) else ""
    return f'label="{label}" tooltip={_quoted(box.tip)} {_LOOKS[box.shape]}{changed}'


def _wire(wire: Wire) -> str:
    looks = []
    if wire.label:
        looks.append(f"label={_quoted(wire.label)}")
    if wire.down:
        looks.append('style=dashed color="#dc4c4c"')
    if wire.link is not None:
        looks.append(f"tooltip={_quoted(wire.tip)}")
    return f" [{' '.join(looks)}]" if looks else ""


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Backslashes begin escapes in labels; control characters are none of Graphviz's."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')
