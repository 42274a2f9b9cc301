"""What a shell offers to complete. Quick, and silent about errors: the person is still typing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import typer

_PATIENCE = 0.5  # seconds to wait for a lab

_Completion = Callable[[typer.Context, str], list[str]]


def _silently(find: Callable[[typer.Context], Iterator[str]]) -> _Completion:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return sorted(name for name in find(ctx) if name.startswith(incomplete))
        except Exception:
            return []

    return complete


@_silently
def labs(ctx: typer.Context) -> Iterator[str]:
    """Labs that are up."""
    from wanlab.runtime import directory

    yield from directory.labs(directory.runtime_directory())


@_silently
def nodes(ctx: typer.Context) -> Iterator[str]:
    """Nodes of the lab that the command line is about."""
    from wanlab.cli.target import lab_name
    from wanlab.runtime.connection import connect
    from wanlab.runtime.directory import runtime_directory

    connection = connect(runtime_directory(), lab_name(ctx.params.get("lab")))
    connection.set_timeout(_PATIENCE)
    yield from connection.ask({"verb": "info"})[0]["nodes"]


@_silently
def catalogue(ctx: typer.Context) -> Iterator[str]:
    """Labs of the catalogue."""
    from wanlab.topology.catalogue import names

    yield from names()


@_silently
def sources(ctx: typer.Context) -> Iterator[str]:
    """Labs of the catalogue, and lab files in this directory; for other files the shell's own completion is better."""
    from wanlab.topology.catalogue import names
    from wanlab.topology.files import SUFFIXES

    yield from names()
    yield from (file.name for file in Path().iterdir() if file.suffix in SUFFIXES)
