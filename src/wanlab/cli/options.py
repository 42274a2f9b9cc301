"""The arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wanlab.cli import complete

UpLab = Annotated[
    str | None,
    typer.Option(
        "--lab", metavar="NAME", help="The lab that is up; only where there are several.", autocompletion=complete.labs
    ),
]
"""Which of the labs that are up."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""For programs."""

LabSource = Annotated[
    str | None,
    typer.Argument(
        metavar="LAB",
        help="A lab of the catalogue, or a file; left out: the lab file in this directory.",
        show_default=False,
        autocompletion=complete.sources,
    ),
]
"""Where a topology comes from."""

NodeName = Annotated[
    str, typer.Argument(metavar="NODE", help="A host, router or switch.", autocompletion=complete.nodes)
]
"""A node of the lab that is up."""

OptionalNode = Annotated[
    str | None,
    typer.Argument(metavar="NODE", help="A host, router or switch.", show_default=False, autocompletion=complete.nodes),
]
"""A node, where there need not be one."""

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.", show_default=False)
]
"""Where a drawing goes; left out: stdout. See :func:`wanlab.cli.text.put`."""
