"""What a lab remembers of the programs that ran in it, and the files that servers write their output to."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

_MOST_BYTES = 16 << 10  # of a program's output: what a person would read of it


class Log:
    """What a program has written, stdout and stderr together, in a file: *path*, or one without a name."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        """Where it is; None: nowhere, and it goes with this object."""
        # Append, so that a program that forks and one that truncates do not overwrite each other's lines.
        if path is not None:
            self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed with this object
        else:
            self._file = tempfile.TemporaryFile("ab+", buffering=0, prefix="wanlab-")  # noqa: SIM115
        self._start = os.fstat(self._file.fileno()).st_size

    def fileno(self) -> int:
        """Its descriptor, to be written to."""
        return self._file.fileno()

    def text(self) -> str:
        """All of it."""
        return self._read(self._start).decode(errors="replace")

    def tail(self, most_bytes: int = _MOST_BYTES) -> str:
        """The last of it, from the beginning of a line on."""
        size = os.fstat(self._file.fileno()).st_size
        start = max(self._start, size - most_bytes)
        return _whole_lines(self._read(start), cut=start > self._start)

    def _read(self, start: int) -> bytes:
        chunks = []
        while chunk := os.pread(self._file.fileno(), 1 << 16, start):  # no seek: its writers share the offset
            chunks.append(chunk)
            start += len(chunk)
        return b"".join(chunks)

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()


@dataclass(slots=True)
class Record:
    """A program that a lab has run, or is running."""

    node: str | None
    """Where; None: in no node, by `Lab.shell`."""
    args: tuple[str, ...]
    pid: int = -1
    """As the machine sees it; -1: it never ran."""
    returncode: int | None = None
    """Its exit status, or minus the signal that ended it; None: it runs, or nobody has asked."""
    log: Log | None = None
    """Its output, where it is a server."""
    _output: bytes = field(default=b"", repr=False)

    def set_output(self, output: bytes) -> None:
        """Remember the last of what it wrote into pipes."""
        self._output = output[-_MOST_BYTES:]

    def tail(self) -> str:
        """The last of its output, as far as it went through a pipe to its end, or into a log."""
        if self.log is not None:
            return self.log.tail()
        return _whole_lines(self._output, cut=len(self._output) == _MOST_BYTES)


def _whole_lines(data: bytes, *, cut: bool) -> str:
    if cut:
        data = data.partition(b"\n")[2]
    return data.decode(errors="replace")
