"""`wanlab trace`: follow packets through a lab, and say what became of each."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from wanlab.cli import complete
from wanlab.cli.options import UpLab
from wanlab.cli.text import count as counted
from wanlab.errors import LabEnded

if TYPE_CHECKING:
    from wanlab.trace.story import Crossing, Story


def trace(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILTER]...",
            help="Which packets, as they are sent, in tcpdump's words.",
            show_default=False,
        ),
    ] = None,
    *,
    senders: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="NODE",
            help="Only what this node sends; may be given several times.",
            autocompletion=complete.nodes,
        ),
    ] = None,
    udp: Annotated[bool, typer.Option("--udp", help="Only UDP.")] = False,
    tcp: Annotated[bool, typer.Option("--tcp", help="Only TCP.")] = False,
    count: Annotated[
        int | None, typer.Option("-c", "--count", min=1, metavar="COUNT", help="End after so many packets.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Every node on the way, with its rules.")] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            "-w",
            "--write",
            metavar="FILE",
            help="Write stories as JSON, one a line; into trace.jsonl of a directory.",
        ),
    ] = None,
    lab: UpLab = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one packet a line.")] = False,
) -> int:
    """Say what became of each packet, until Ctrl-C."""
    from wanlab.cli.target import attach
    from wanlab.cli.until import Stop
    from wanlab.trace.story import STORIES
    from wanlab.trace.trace import Trace

    up = attach(lab)
    chosen = " or ".join(name for name, wanted in (("udp", udp), ("tcp", tcp)) if wanted)
    parts = [f"({part})" for part in (chosen, " ".join(words or [])) if part.strip()]
    target = write / STORIES if write is not None and write.is_dir() else write
    with Stop() as stop, closing(Trace(up, senders=senders or (), filter=" and ".join(parts))) as traced:
        teller = _Teller(count, target, json, verbose)
        try:
            print("tracing; Ctrl-C ends", file=sys.stderr, flush=True)
            while not stop.asked and not traced.lab_ended and not teller.has_enough:
                teller.tell(traced.read(wake=stop.fileno()))
            if not teller.has_enough:
                teller.tell(traced.finish())
        finally:
            traced.close()
            teller.close()
            lost = traced.lost_packets + traced.lost_verdicts
            missed = f"{counted(lost, 'event')} lost: stories may be wrong" if lost else "nothing lost"
            print(f"{counted(teller.told, 'packet')}, {missed}", file=sys.stderr)
        if traced.lab_ended:
            raise LabEnded("the lab ended")
    return 0


class _Teller:
    """Prints and writes stories, until there are as many as were wanted."""

    def __init__(self, count: int | None, target: Path | None, json: bool, verbose: bool) -> None:
        self._count = count
        self._file: TextIO | None = None if target is None else target.open("w", encoding="utf-8")
        self._json = json
        self._verbose = verbose
        self.told = 0

    @property
    def has_enough(self) -> bool:
        """Whether no more are wanted."""
        return self.told == self._count

    def tell(self, stories: Sequence[Story]) -> None:
        """Tell these."""
        chosen = stories if self._count is None else stories[: self._count - self.told]
        self.told += len(chosen)
        for story in chosen:
            line = json_format.dumps(story.to_json()) + "\n" if self._json or self._file is not None else ""
            if self._file is not None:
                self._file.write(line)
            sys.stdout.write(line if self._json else "".join(f"{each}\n" for each in _lines(story, self._verbose)))
        if chosen:
            sys.stdout.flush()
            if self._file is not None:
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _lines(story: Story, verbose: bool) -> list[str]:
    lines = [str(story)]
    if verbose:
        start = story.time_ns
        for crossing in story.crossings:
            lines.append(f"    {(crossing.time_ns - start) / 1e6:8.3f} ms  {_way(crossing)}")
            lines += [f"                   {rule}" for rule in crossing.rules]
    return lines


def _way(crossing: Crossing) -> str:
    came = "sent" if crossing.came_in is None else f"in {crossing.came_in}"
    went = "" if crossing.went_out is None else f", out {crossing.went_out}"
    changed = f", {crossing.translation}" if crossing.translated else ""
    hops = f", ttl {crossing.before.ttl}" if crossing.before.ttl else ""  # what is not routed has none
    return f"{crossing.node}: {came}{went}{hops}{changed}"
