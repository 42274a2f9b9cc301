"""`wanlab graph`: a lab, drawn."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import Output, UpLab

if TYPE_CHECKING:
    from wanlab.drawing.scene import Condition
    from wanlab.topology.network import Network

_WIDE = 100  # columns for what is no terminal


class Format(Enum):
    """What a lab can be drawn as."""

    TEXT = "text"
    TREE = "tree"
    SVG = "svg"
    MERMAID = "mermaid"
    DOT = "dot"
    JSON = "json"
    CONTAINERLAB = "containerlab"


_BY_ENDING = {".svg": Format.SVG, ".mmd": Format.MERMAID, ".dot": Format.DOT, ".gv": Format.DOT, ".json": Format.JSON}


def graph(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="LAB",
            help="A lab of the catalogue, a file or a run directory; left out: the lab that is up.",
            show_default=False,
            autocompletion=complete.sources,
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Left out: by the file's name, else text.", show_default=False),
    ] = None,
    output: Output = None,
    lab: UpLab = None,
) -> None:
    """Draw a lab: as text, SVG, Mermaid, DOT, for containerlab.

    Of a lab that is up, links that are down and addresses that have changed are marked.
    """
    from wanlab.cli.target import attach, load
    from wanlab.cli.text import put
    from wanlab.drawing.scene import AS_DECLARED
    from wanlab.errors import UsageError

    if source and lab:
        raise UsageError("either a lab to read or --lab, one that is up", hint="give one of them")
    if source and Path(source, "run.json").exists():
        from wanlab.recording.recording import Recording

        network, found = Recording.open(source).network, AS_DECLARED
    elif source:
        network, found = load(source).resolve(), AS_DECLARED
    else:
        from wanlab.measure.condition import condition

        attached = attach(lab)
        network, found = attached.network, condition(attached)
    chosen = format or (_by_name(output.name) if output is not None else Format.TEXT)
    drawn = _draw(network, found, chosen)
    put(drawn, output)


def _draw(network: Network, found: Condition, chosen: Format) -> str:
    """The drawing, ending in a newline."""
    match chosen:
        case Format.TEXT | Format.TREE:
            from wanlab.drawing.text_picture import draw_text

            text = draw_text(network, found, columns=_columns() if chosen is Format.TEXT else 0)
            return f"{text}\n" if text else ""
        case Format.SVG:
            from wanlab.drawing.svg import draw_svg

            return draw_svg(network, found)
        case Format.MERMAID:
            from wanlab.drawing.mermaid import draw_mermaid

            return draw_mermaid(network, found)
        case Format.DOT:
            from wanlab.drawing.dot import draw_dot

            return draw_dot(network, found)
        case Format.JSON:
            from wanlab.drawing.graph_json import draw_json

            return draw_json(network, found)
        case Format.CONTAINERLAB:
            from wanlab.plan.compile import compile_network
            from wanlab.plan.containerlab import write_containerlab

            return write_containerlab(compile_network(network))


def _by_name(name: str) -> Format:
    """What a file of that name is thought to hold."""
    if name.endswith((".clab.yml", ".clab.yaml")):
        return Format.CONTAINERLAB
    return _BY_ENDING.get(Path(name).suffix.lower(), Format.TEXT)


def _columns() -> int:
    import os
    import sys

    return os.get_terminal_size(1).columns if sys.stdout.isatty() else _WIDE
