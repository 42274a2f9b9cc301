"""`wanlab reboot`: turn a node off and on again."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli.options import NodeName, UpLab


def reboot(
    node: NodeName,
    lab: UpLab = None,
    down: Annotated[float, typer.Option("--down", metavar="SECONDS", min=0, help="How long it is off.")] = 0.0,
) -> None:
    """Turn a router off and on again: it remembers no mapping.

    Hosts and switches, too. While it is off, its cables have no carrier. Programs in it run on.
    """
    from wanlab.cli.target import attach
    from wanlab.cli.until import ending_well

    with ending_well():
        attach(lab).reboot(node, down_s=down)
    print(f"{node} is up again")
