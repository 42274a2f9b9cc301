"""The standard streams that a program in a node is given: what `subprocess` takes, as descriptors to pass on."""

from __future__ import annotations

import os
import subprocess
from typing import IO, Any, TypeAlias

Stream: TypeAlias = int | IO[Any] | None
"""What `subprocess` takes: None (the caller's), PIPE, DEVNULL, STDOUT (for stderr), a descriptor or a file."""


class Streams:
    """The three descriptors to pass on, and our ends of the pipes among them."""

    def __init__(self, *streams: Stream) -> None:
        self.theirs: list[int] = []
        self._ours: dict[int, int] = {}
        self._close: list[int] = []
        try:
            for number, stream in enumerate(streams):
                self.theirs.append(self._descriptor(number, stream))
        except BaseException:
            self.__exit__()
            raise

    def _descriptor(self, number: int, stream: Stream) -> int:
        if stream is None:
            return number if _is_open(number) else self._null()
        if stream == subprocess.PIPE:
            read, write = os.pipe()
            theirs, ours = (read, write) if number == 0 else (write, read)
            self._ours[number] = ours
            self._close.append(theirs)
            return theirs
        if stream == subprocess.DEVNULL:
            return self._null()
        if stream == subprocess.STDOUT:
            return self.theirs[1]
        return stream if isinstance(stream, int) else stream.fileno()

    def _null(self) -> int:
        self._close.append(os.open(os.devnull, os.O_RDWR))
        return self._close[-1]

    def take(self, number: int) -> int | None:
        """Our end of the pipe for this stream, which is then the caller's to close."""
        return self._ours.pop(number, None)

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *exception: object) -> None:
        for descriptor in (*self._close, *self._ours.values()):
            os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
