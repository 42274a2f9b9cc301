"""`wanlab up`: build a lab and leave it up."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wanlab.cli.options import LabSource
from wanlab.cli.text import columns, count
from wanlab.cli.verify import print_report
from wanlab.errors import UsageError

if TYPE_CHECKING:
    from wanlab.plan.steps import Plan
    from wanlab.runtime.lab import Lab
    from wanlab.topology.topology import Topology

_PATIENCE = 1.0  # seconds until a person wonders what is going on


def up(
    lab: LabSource = None,
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it, where not as its file does.")
    ] = None,
    impairment: Annotated[
        str | None,
        typer.Option(
            "--impairment", metavar="MEANS", help="What impairs links: netem or wire. Left out: what works here."
        ),
    ] = None,
    prove: Annotated[bool, typer.Option("--verify", help="Then prove that it is what it should be.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and build nothing.")] = False,
    play: Annotated[bool, typer.Option("--play", help="Then play the timeline that its file has.")] = False,
) -> int:
    """Build a lab and leave it up."""
    from wanlab.cli.target import load

    topology = load(lab)
    if dry_run:
        from wanlab.plan.compile import compile_network

        _describe(compile_network(topology.resolve()))
        return 0
    if topology.events:
        from wanlab.plan.rehearsal import rehearse
        from wanlab.topology.scenario import Scenario

        rehearse(Scenario(topology.events), topology, topology.resolve())  # what cannot be is told before all
    elif play:
        raise UsageError(f"lab {topology.name!r} has no timeline", hint="write [[event]] tables into its file")
    name = topology.name if name is None else name
    status = _bring_up(topology, name, impairment, prove)
    if play:
        from wanlab.cli.play import play_in

        return play_in(name, None) or status
    return status


def _bring_up(topology: Topology, name: str, impairment: str | None, prove: bool) -> int:
    from wanlab.runtime.lab import Lab

    lab = Lab(topology, name=name, impairment=impairment)
    started = time.monotonic()
    # Until it is detached the lab ends with us, however we end.
    with _Progress(f"building {name}") as progress:
        lab.up(progress=progress)
    seconds = time.monotonic() - started
    report = lab.verify() if prove else None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late: from here on it is up
    lab.detach()
    print(f"lab {name} is up: {count(len(lab.network.nodes), 'node')} in {seconds:.2f} s", flush=True)
    if report is not None:
        print_report(report)
    _tell_how_to_go_on(lab)
    if lab.topology.events:
        print(f"  it has a timeline of {count(len(lab.topology.events), 'event')}: `wanlab play` plays it", flush=True)
    return 0 if report is None or report.ok else 1


def _tell_how_to_go_on(lab: Lab) -> None:
    from wanlab.runtime.directory import labs, runtime_directory
    from wanlab.topology.network import Kind

    where = "" if len(labs(runtime_directory())) == 1 else f" --lab {lab.name}"
    node = next(iter((*lab.network.of(Kind.HOST), *lab.network)), None)
    ways = [
        (f"  wanlab shell{where}", "a shell in which `ip netns exec NODE ...` works"),
        (f"  wanlab down{where}", "takes it down"),
    ]
    if node is not None:
        ways.insert(0, (f"  wanlab exec{where} {node.name} COMMAND", "runs a program in a node"))
    print(columns(ways))


class _Progress:
    """A bar on stderr, for labs that take longer than a second and for people only."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._from = time.monotonic() + _PATIENCE
        self._person = sys.stderr is not None and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, of: int) -> None:
        if not self._person or time.monotonic() < self._from:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=of)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=of)


def _describe(plan: Plan) -> None:
    from wanlab.plan.words import in_words

    for stage in plan.stages:
        print(stage.title)
        for step in stage.steps:
            print(f"  {in_words(step)}")
    print(f"{count(len(plan.steps), 'step')} for lab {plan.lab}; nothing was built")
