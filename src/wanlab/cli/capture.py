"""`wanlab capture`: the packets of a lab, as lines in the terminal or as a file for Wireshark."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import UpLab
from wanlab.cli.text import count as counted
from wanlab.errors import LabEnded, UsageError

if TYPE_CHECKING:
    from wanlab.capture.packet_file import PacketFile
    from wanlab.capture.recorder import Recorded, Recorder

_MEGABYTE = 1_000_000  # as tcpdump's -C


def capture(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NODE[:INTERFACE]]... [FILTER]...",
            help="Where to listen, everywhere if left out; then a filter in tcpdump's words.",
            show_default=False,
            autocompletion=complete.nodes,
        ),
    ] = None,
    *,
    write: Annotated[
        str | None,
        typer.Option("-w", "--write", metavar="FILE", help="Write a pcapng file, `-`: to stdout; print no packets."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("-c", "--count", min=1, metavar="COUNT", help="End after so many packets.")
    ] = None,
    snaplen: Annotated[
        int, typer.Option("-s", "--snaplen", metavar="BYTES", help="How much of each packet is kept.")
    ] = 65535,
    file_size: Annotated[
        float | None,
        typer.Option("-C", "--file-size", metavar="MB", help="Begin another file, FILE.2, when one has so many."),
    ] = None,
    files: Annotated[
        int | None, typer.Option("-W", "--files", min=1, metavar="COUNT", help="Keep the last so many files.")
    ] = None,
    lab: UpLab = None,
) -> int:
    """Show or write the packets of a lab, until Ctrl-C."""
    from wanlab.capture.ends import split
    from wanlab.capture.recorder import Recorder
    from wanlab.cli.target import attach
    from wanlab.cli.until import Stop

    _check(write, file_size, files)
    up = attach(lab)
    places, filter = split(up.network, words or [])
    with Stop() as stop, Recorder(up, places, filter=filter, snap_bytes=snaplen) as recorder:
        sink = _Lines(recorder) if write is None else _file(recorder, write, file_size, files)
        nodes = len({end.partition(":")[0] for end in recorder.ends})
        where = f"{counted(len(recorder.ends), 'interface')} of {counted(nodes, 'node')}"
        _say(f"capturing at {where}; Ctrl-C ends")
        taken = 0
        try:
            while not stop.asked and not recorder.lab_ended and taken != count:
                packets = recorder.read(wake=stop.fileno())
                taken += sink.take(packets if count is None else packets[: count - taken])
            if taken != count:
                packets = recorder.finish()
                taken += sink.take(packets if count is None else packets[: count - taken])
        finally:
            lost = recorder.lost
            sink.close(lost)
            kept = f" in {sink.place}" if sink.place else ""
            _say(f"{counted(sink.taken, 'packet')}{kept}, {lost} lost")
        if recorder.lab_ended:
            raise LabEnded("the lab ended", hint="what was captured until then is kept" if sink.place else None)
    return 0


def _check(write: str | None, file_size: float | None, files: int | None) -> None:
    if write is None and file_size is not None:
        raise UsageError("--file-size without --write", hint="name the file: -w FILE")
    if write == "-" and file_size is not None:
        raise UsageError("--file-size with stdout", hint="name a file: -w FILE")
    if file_size is not None and file_size <= 0:
        raise UsageError(f"--file-size {file_size:g}", hint="more than 0 megabytes")
    if files is not None and file_size is None:
        raise UsageError("--files without --file-size", hint="say how large one may be: -C MB")
    if write == "-" and sys.stdout.isatty():
        raise UsageError("a capture is nothing for a terminal", hint="wanlab capture -w - | wireshark -k -i -")


def _file(recorder: Recorder, path: str, file_size: float | None, files: int | None) -> PacketFile:
    from wanlab.capture.packet_file import PacketFile

    most = None if file_size is None else int(file_size * _MEGABYTE)
    target = sys.stdout.fileno() if path == "-" else Path(path)
    return PacketFile(recorder, target, most_bytes=most, files=files)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


class _Lines:
    """Prints packets."""

    place: str | None = None

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._widest = max(map(len, recorder.ends), default=0)
        self.taken = 0

    def take(self, packets: Sequence[Recorded]) -> int:
        """Print some; how many they were."""
        from wanlab.capture.decode import describe

        lines = []
        for time_ns, end, data, length, outbound, comment in packets:
            way = ">" if outbound else "<"
            said = f"  [{comment}]" if comment else ""
            name = self._recorder.ends[end].ljust(self._widest)
            lines.append(f"{_clock(time_ns)} {name} {way} {describe(data, length)}{said}\n")
        sys.stdout.write("".join(lines))
        sys.stdout.flush()
        self.taken += len(packets)
        return len(packets)

    def close(self, lost: int) -> None:
        """Nothing is left to do."""


def _clock(time_ns: int) -> str:
    import time

    return f"{time.strftime('%H:%M:%S', time.localtime(time_ns // 1_000_000_000))}.{time_ns // 1000 % 1_000_000:06}"
