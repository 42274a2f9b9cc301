"""`wanlab record`: all that happens in a lab, in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wanlab.cli.options import UpLab


def record(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that is empty, or not there yet.")],
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="SECONDS", help="Between two looks at mappings and links.")
    ] = 1.0,
    snaplen: Annotated[
        int, typer.Option("-s", "--snaplen", metavar="BYTES", help="How much of each packet is kept.")
    ] = 65535,
    lab: UpLab = None,
) -> None:
    """Record a lab into a directory, until Ctrl-C.

    Its topology, every packet, what its NATs remember, and what happens to it.
    """
    import sys

    from wanlab.cli.target import attach
    from wanlab.cli.text import count
    from wanlab.cli.until import Stop
    from wanlab.errors import LabEnded
    from wanlab.recording.lab_recorder import LabRecorder

    up = attach(lab)
    with Stop() as stop, LabRecorder(up, directory, interval_s=interval, snap_bytes=snaplen) as recorder:
        print(f"recording lab {up.name} in {directory}; Ctrl-C ends", file=sys.stderr, flush=True)
        while not stop.asked and not recorder.lab_ended:
            recorder.write(wake=stop.fileno())
        recorder.close()
        told = f"{count(recorder.packets, 'packet')}, {count(recorder.looks, 'look')}"
        print(f"{told} in {directory}", file=sys.stderr, flush=True)
        if recorder.lab_ended:
            raise LabEnded("the lab ended", hint=f"what was recorded until then is in {directory}")
