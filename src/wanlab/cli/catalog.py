"""`wanlab catalog`: the ready labs."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import Json


def catalog(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Print this lab's file.", show_default=False, autocompletion=complete.catalogue
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the ready labs, or print one's file.

    Such a file is something to begin a lab of your own with.
    """
    from wanlab.cli.text import columns, print_json
    from wanlab.topology import catalogue

    if name is not None:
        text = catalogue.text(name)
        if json:
            print_json({"name": name, "title": catalogue.about(name), "file": text})
        else:
            print(text, end="")
        return
    labs = [(name, catalogue.about(name)) for name in catalogue.names()]
    if json:
        print_json([{"name": name, "title": title} for name, title in labs])
    else:
        print(columns(labs))
