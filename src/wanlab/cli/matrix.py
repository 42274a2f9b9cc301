"""`wanlab matrix`: a command in a fresh lab for each combination of what is varied."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import Json
from wanlab.errors import UsageError

if TYPE_CHECKING:
    from wanlab.matrix.results import Results
    from wanlab.matrix.variation import Axis

Lab = Annotated[
    str,
    typer.Argument(metavar="LAB", help="A lab of the catalogue, or a file.", autocompletion=complete.sources),
]
Command = Annotated[
    list[str], typer.Argument(metavar="COMMAND", help="What to run, after `--`. It passes where it exits with 0.")
]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="NODE.KEY[=VALUE,...]",
        help="What to vary: a key of a node in a lab file, like home-a.nat or alice.mtu=1280,1500; without values: "
        "all NATs that have names. May be given several times.",
        show_default=False,
    ),
]


def matrix(
    source: Lab,
    command: Command,
    *,
    vary: Vary = None,
    unordered: Annotated[
        bool, typer.Option("--unordered", help="Of a+b and b+a, which two places with the same values have, only one.")
    ] = False,
    node: Annotated[
        str | None,
        typer.Option("--in", metavar="NODE", help="Run it in that node; left out: in none, with all in reach."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", metavar="N", help="How many labs at once; left out: one a core.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long the command may take.")] = 60,
    retries: Annotated[
        int, typer.Option("--retries", metavar="N", help="How often to run what did not pass again: is it flaky?")
    ] = 0,
    capture: Annotated[
        str,
        typer.Option(
            "--capture", metavar="WHEN", help="Keep packets and state of labs: of those that failed, always, never."
        ),
    ] = "failed",
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where results, logs and captures go.")
    ] = Path("wanlab-matrix"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on: cells that have a result in DIR are not run again.")
    ] = False,
    json: Json = False,
) -> int:
    """Run a command behind every pair of NATs, each in a fresh lab.

    Or in every combination of anything else that a lab file can say. Exits with 1 where any does not pass. DIR
    has index.html, results.json and junit.xml.
    """
    from wanlab.cli.matrix_screen import progress
    from wanlab.cli.target import load
    from wanlab.matrix.matrix import Matrix
    from wanlab.matrix.run import read_results, run_matrix

    axes = tuple(_axis(text) for text in vary or ())
    wanted = Matrix(load(source), axes, tuple(command), node, not unordered)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with progress() as screen:
            found = run_matrix(
                wanted,
                directory,
                jobs=jobs,
                timeout_s=timeout,
                retries=retries,
                capture=capture,
                resume=resume,
                progress=screen,
            )
    except (KeyboardInterrupt, SystemExit):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has ended: what is left to do is quick
        with contextlib.suppress(UsageError):  # nothing has begun
            _report(read_results(wanted, directory), json)
        raise
    _report(found, json)
    return 0 if found.ok else 1


def _axis(text: str) -> Axis:
    from wanlab.cli.values import values
    from wanlab.matrix.variation import Axis

    place, equals, listed = text.partition("=")
    return Axis.of(place, values(listed) if equals else None)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _report(results: Results, json: bool) -> None:
    from wanlab.cli.matrix_screen import print_results
    from wanlab.cli.text import print_json
    from wanlab.matrix.report import write_reports

    write_reports(results)
    if json:
        print_json(results.to_json())
    else:
        print_results(results)
