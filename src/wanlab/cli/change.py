"""`wanlab change`: change a node of a lab that is up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wanlab.cli import complete
from wanlab.cli.apply import DryRun, carry_out
from wanlab.cli.options import UpLab
from wanlab.cli.values import value

Changes = Annotated[
    list[str],
    typer.Argument(metavar="KEY=VALUE...", help="A key of a lab file and what it shall be; KEY= takes it away."),
]


Place = Annotated[
    str,
    typer.Argument(
        metavar="NODE[:INTERFACE]", help="A host, router or switch, or an interface.", autocompletion=complete.nodes
    ),
]


def change(node: Place, changes: Changes, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """Change a node: its NAT, its address, what it is plugged into.

    Keys and values are those of a lab file: nat=symmetric, address=5.5.5.9, link=cafe,
    nat='{preset = "home", filtering = "endpoint-independent"}'.
    """
    from wanlab.topology.edits import Change

    carry_out(Change({node: dict(_parse(text) for text in changes)}), lab, dry_run)


def _parse(text: str) -> tuple[str, Any]:
    from wanlab.errors import UsageError

    key, equals, text_of_value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is no KEY=VALUE", hint="write it like nat=symmetric")
    if not text_of_value:
        return key, None
    return key, value(text_of_value)
