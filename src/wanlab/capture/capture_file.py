"""A capture's file: whatever ends it, a full disk included, what is in it can be read to the last packet."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from wanlab.capture.pcapng import PcapngWriter

_Start = Callable[[PcapngWriter], None]


class WholeBlocks:
    """Keeps blocks until `flush`, which writes all of them, or as many whole ones as there is room for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._blocks: list[bytes] = []
        self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self.bytes = 0
        """How many were written."""

    def write(self, block: bytes) -> None:
        """Keep a block."""
        self._blocks.append(block)

    def extend(self, blocks: Sequence[bytes]) -> None:
        """Keep several."""
        self._blocks += blocks

    def flush(self) -> None:
        """Write what is kept. Raises OSError; then a file ends with a whole block, and the rest is given up."""
        blocks, self._blocks = self._blocks, []
        data = memoryview(b"".join(blocks))
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError:
            whole = 0
            for block in blocks:
                if whole + len(block) > done:
                    break
                whole += len(block)
            if self._regular and whole < done:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_CUR) - (done - whole))
            raise
        self.bytes += done


class CaptureFile:
    """One file, or several that follow each other: `name.1.pcapng`, `name.2.pcapng` and so on.

    *start* writes what each begins with. *most_bytes*: a file that has so many is followed by another; *files*: the
    oldest are removed where there would be more. Raises OSError.
    """

    def __init__(
        self,
        path: Path | int,
        start: _Start,
        *,
        comment: str = "",
        most_bytes: int | None = None,
        files: int | None = None,
    ) -> None:
        self._path = path
        self._start = start
        self._comment = comment
        self._most_bytes = most_bytes
        self._files = files
        self._number = 0
        self._written: list[Path] = []
        self._open()

    @property
    def path(self) -> Path | None:
        """The file that is being written; None for what is none."""
        return self._written[-1] if self._written else None

    def extend(self, blocks: Sequence[bytes]) -> None:
        """Write blocks that `writer` has numbered the ends of."""
        self._target.extend(blocks)
        self._target.flush()
        if self._most_bytes is not None and self._target.bytes >= self._most_bytes:
            self.close()
            self._open()

    def close(self) -> None:
        """Write what is kept, and close."""
        try:
            self._target.flush()
        finally:
            if not isinstance(self._path, int):
                os.close(self._descriptor)

    def _open(self) -> None:
        if isinstance(self._path, int):
            self._descriptor = self._path
        else:
            self._number += 1
            path = self._path
            if self._most_bytes is not None:
                path = path.with_name(f"{path.stem}.{self._number}{path.suffix}")
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            self._written.append(path)
            if self._files is not None:
                while len(self._written) > self._files:
                    self._written.pop(0).unlink(missing_ok=True)
        self._target = WholeBlocks(self._descriptor)
        self.writer = PcapngWriter(self._target, comment=self._comment)
        self._start(self.writer)
        self._target.flush()
