"""`wanlab apply`: make another lab of one that is up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli.options import LabSource, UpLab

if TYPE_CHECKING:
    from wanlab.plan.steps import Step
    from wanlab.runtime.lab import Lab
    from wanlab.topology.topology import Topology

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]


def apply(source: LabSource = None, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """Change a lab that is up into another, by the fewest steps.

    What stays as it is notices nothing. Where a step is refused, the lab is what it was.
    """
    from wanlab.cli.target import attach, load

    topology = load(source)
    carry_out(attach(lab), topology, dry_run)


def carry_out(attached: Lab, topology: Topology, dry_run: bool) -> None:
    """Change the lab, or say what would be done."""
    if dry_run:
        from wanlab.plan.change import change

        _list(change(attached.network, attached.changed_to(topology).resolve()))
        print("nothing was changed")
        return
    _list(attached.apply(topology))


def _list(steps: Sequence[Step]) -> None:
    from wanlab.cli.text import count
    from wanlab.plan.words import in_words

    for step in steps:
        print(in_words(step))
    print(count(len(steps), "step"))
