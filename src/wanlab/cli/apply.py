"""`wanlab apply`: make another lab of one that is up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli.options import LabSource, UpLab

if TYPE_CHECKING:
    from wanlab.plan.steps import Step
    from wanlab.topology.edits import Edit

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]


def apply(source: LabSource = None, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """Change a lab that is up into another, by the fewest steps.

    What stays as it is notices nothing. Where a step is refused, the lab is what it was.
    """
    from wanlab.cli.target import attach, load
    from wanlab.plan.rehearsal import next_of

    topology = load(source)
    attached = attach(lab)
    if dry_run:
        _list(next_of(attached.topology, attached.network, topology).steps)
        print("nothing was changed")
        return
    _list(attached.apply(topology))


def carry_out(edit: Edit, lab: str | None, dry_run: bool) -> None:
    """Change the lab by an edit, or say what would be done."""
    from wanlab.cli.target import attach

    attached = attach(lab)
    if dry_run:
        _list(attached.after(edit).steps)
        print("nothing was changed")
        return
    _list(attached.edit(edit))


def _list(steps: Sequence[Step]) -> None:
    from wanlab.cli.text import count
    from wanlab.plan.words import in_words

    for step in steps:
        print(in_words(step))
    print(count(len(steps), "step"))
