"""`wanlab diagram`: a sequence diagram of what was recorded."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import Output

if TYPE_CHECKING:
    from wanlab.drawing.sequence import Diagram
    from wanlab.trace.story import Story


class Format(Enum):
    """What an exchange can be drawn as."""

    TEXT = "text"
    SVG = "svg"
    MERMAID = "mermaid"


_BY_ENDING = {".svg": Format.SVG, ".mmd": Format.MERMAID}


def diagram(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="A run directory, a pcapng file that was captured in a lab, or what `trace -w` wrote."
        ),
    ],
    *,
    nodes: Annotated[
        list[str] | None,
        typer.Option(
            "--node", "-n", metavar="NODE", help="Only packets that this node has sent, or got.", show_default=False
        ),
    ] = None,
    protocols: Annotated[
        list[str] | None,
        typer.Option("--protocol", "-p", metavar="NAME", help="Only udp, tcp, icmp, icmp6.", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, metavar="COUNT", help="How many steps to draw.")] = 200,
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Left out: by the file's name, else text.", show_default=False),
    ] = None,
    output: Output = None,
    topology: Annotated[
        str | None,
        typer.Option(
            "--topology",
            metavar="LAB",
            help="Of a pcapng file: the lab, as `up` was given it; left out: the one that is up.",
            show_default=False,
            autocompletion=complete.sources,
        ),
    ] = None,
) -> None:
    """Draw who has sent what to whom, and where packets ended."""
    from wanlab.cli.text import put
    from wanlab.drawing.sequence import sequence

    stories = [
        story
        for story in _stories(source, topology)
        if (not nodes or {crossing.node for crossing in story.crossings} & set(nodes))
        and (not protocols or story.header.protocol in protocols)
    ]
    chosen = format or (_BY_ENDING.get(output.suffix.lower(), Format.TEXT) if output is not None else Format.TEXT)
    drawn = _draw(sequence(stories, most=most), chosen, source.name)
    put(drawn, output)


def _stories(source: Path, topology: str | None) -> list[Story]:
    from wanlab.capture.pcapng_reader import PcapngFile
    from wanlab.cli.target import attach, load
    from wanlab.errors import UsageError
    from wanlab.recording.recording import Recording, stories_in
    from wanlab.trace.retelling import retell
    from wanlab.trace.story import STORIES

    if source.is_dir():
        if topology is not None:
            raise UsageError("--topology is for pcapng files", hint="a run directory has its own")
        traced = source / STORIES
        if traced.exists() and not (source / "run.json").exists():  # `trace -w DIRECTORY`, and no recording
            return stories_in(traced)
        return Recording.open(source).stories()
    with source.open("rb") as file:
        is_trace = file.read(1) == b"{"
    if is_trace:
        if topology is not None:
            raise UsageError("--topology is for pcapng files", hint="a trace names its nodes itself")
        return stories_in(source)
    network = attach(None).network if topology is None else load(topology).resolve()
    capture = PcapngFile(source)
    return retell(capture.packets(), network, capture.ends)


def _draw(shown: Diagram, chosen: Format, title: str) -> str:
    match chosen:
        case Format.TEXT:
            from wanlab.drawing.sequence_text import sequence_text

            return sequence_text(shown) + "\n"
        case Format.SVG:
            from wanlab.drawing.sequence_svg import sequence_svg

            return sequence_svg(shown, title)
        case Format.MERMAID:
            from wanlab.drawing.sequence_mermaid import sequence_mermaid

            return sequence_mermaid(shown)
