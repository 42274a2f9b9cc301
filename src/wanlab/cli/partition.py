"""`wanlab partition` and `heal`: nodes that are kept from one another for a time."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.apply import DryRun, carry_out
from wanlab.cli.options import UpLab

Groups = Annotated[
    list[str],
    typer.Argument(
        metavar="NODE,NODE...",
        help="Groups of hosts and routers; one alone is kept from everybody else.",
        autocompletion=complete.nodes,
    ),
]
Nodes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NODE...", help="End what names one of these; left out: all.", autocompletion=complete.nodes
    ),
]


def partition(groups: Groups, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """Keep groups of nodes from one another: alice bob,carol.

    What they send each other is lost in silence, ARP and connections that stand included. A router stands for all that
    is behind it.
    """
    from wanlab.topology.edits import Part

    carry_out(Part(tuple(tuple(name for name in group.split(",") if name) for group in groups)), lab, dry_run)


def heal(nodes: Nodes = None, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """End partitions: all of them, or those of some nodes."""
    from wanlab.topology.edits import Heal

    carry_out(Heal(tuple(nodes or ())), lab, dry_run)
