"""`wanlab down`: take labs down."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli.options import UpLab


def down(
    lab: UpLab = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab that is up.")] = False,
) -> None:
    """Take a lab down.

    Its programs, interfaces and namespaces are gone when this returns.
    """
    from wanlab.cli.target import lab_name
    from wanlab.errors import UsageError
    from wanlab.runtime.directory import labs, runtime_directory

    if lab and everything:
        raise UsageError("--lab and --all contradict each other", hint="give one of them")
    names = labs(runtime_directory()) if everything else [lab_name(lab)]
    for name in names:
        _take_down(name, gone_is_fine=everything)
        print(f"lab {name} is down", flush=True)
    if not names:
        print("no lab is up")


def _take_down(name: str, *, gone_is_fine: bool) -> None:
    # Not by way of `Lab.attach`: a lab that an older wanlab has built must go down whatever its topology says.
    from wanlab.errors import KernelError, LabEnded, NoSuchLab
    from wanlab.runtime.connection import connect, wait_until_cleared
    from wanlab.runtime.directory import runtime_directory

    directory = runtime_directory()
    try:
        connection = connect(directory, name)
        connection.ask({"verb": "down"})
        connection.close()
    except LabEnded:
        pass  # that is what we want
    except NoSuchLab:
        if not gone_is_fine:
            raise
    if not wait_until_cleared(directory, name):
        raise KernelError(f"lab {name!r} does not end", hint="its processes are called wanlab-guard and wanlab-holder")
