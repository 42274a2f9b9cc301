"""`wanlab graph`: a lab, drawn."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import UpLab


def graph(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="LAB",
            help="A lab of the catalogue, or a file; left out: the lab that is up.",
            show_default=False,
            autocompletion=complete.sources,
        ),
    ] = None,
    lab: UpLab = None,
) -> None:
    """Draw a lab in the terminal."""
    from wanlab.cli.target import attach, load
    from wanlab.errors import UsageError
    from wanlab.topology.drawing import draw_tree

    if source and lab:
        raise UsageError("either a lab to read or --lab, one that is up", hint="give one of them")
    print(draw_tree(load(source).resolve() if source else attach(lab).network))
