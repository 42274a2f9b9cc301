"""`wanlab exec`: run a program in a node. What it does is in `program`; `main` goes there directly where it can."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli.options import NodeName, UpLab


def exec_(
    node: NodeName,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments; `--` may come first.")
    ],
    lab: UpLab = None,
) -> int:
    """Run a program in a node, as if it were run here.

    Its stdio, terminal, signals and exit status are passed on. Exits with 128 + n where signal n ended the program, 127
    where there is no such program, 126 where it cannot be executed, and 125 where wanlab itself fails.
    """
    from wanlab.cli.program import run_program
    from wanlab.errors import UsageError

    if command[0] == "--":
        del command[0]
    if not command:
        raise UsageError("missing argument 'COMMAND'", hint="see wanlab exec -h")
    return run_program(lab, node, command)
