"""The directory of a matrix: what is run, and each cell's result as soon as it is there, so that a run can go on.

DIR/matrix.json                   what is run: lab, command, axes
DIR/cells/CELL/result.json        what became of a cell
DIR/cells/CELL/attempt-N/         of each attempt: the command's output (output.log), what it left in WANLAB_RUN, and
                                  where it failed what measure/run_directory.py records
DIR/results.json, junit.xml, index.html   the report on all of them
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from wanlab.errors import KernelError, UsageError
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.results import FORMAT, Attempt, Result
from wanlab.matrix.variation import Cell

_MATRIX = "matrix.json"
_CELLS = "cells"
REPORTS = ("results.json", "junit.xml", "index.html")
_SAME = {
    "format": "another version of wanlab",
    "document": "another lab",
    "command": "another command",
    "node": "a command in another node",
}
_LONGEST_NAME = 120  # of a cell's directory; file systems allow 255 bytes


class Directory:
    """The directory of one matrix, held by one run at a time until `close`.

    With *resume* it goes on with what is there; without, what an earlier run has left goes. Raises UsageError where
    something else is there, KernelError where it cannot be written.
    """

    def __init__(self, path: Path, matrix: Matrix, *, resume: bool) -> None:
        self.path = path
        self._matrix = matrix
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", hint="choose another --dir") from None
        try:
            self._take(resume)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others have it."""
        os.close(self._lock)

    def _take(self, resume: bool) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another matrix is running in {self.path}", hint="choose another --dir") from None
        there = _read(self.path)
        if there is None and any(self.path.iterdir()):
            raise UsageError(f"{self.path} holds something else than a matrix", hint="choose another --dir")
        if there is not None and resume:
            _refuse_another(self.path, there, self._matrix)
        elif there is not None:
            self._clear()
        write(self.path / _MATRIX, json.dumps(_described(self._matrix), indent=2) + "\n")

    def _clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path / _CELLS)
        for name in REPORTS:
            (self.path / name).unlink(missing_ok=True)

    # -- cells -----------------------------------------------------------------------------------------------------

    def result(self, cell: Cell) -> Result:
        """What became of a cell in this run or the one that it goes on with."""
        return _result(self.path, cell)

    def save(self, result: Result) -> None:
        """Keep what became of a cell. Raises KernelError."""
        write(self.path / _of(result.cell) / "result.json", json.dumps(result.to_json(), indent=2) + "\n")

    def attempt(self, cell: Cell, number: int) -> str:
        """Make an empty directory for an attempt; its name, relative to this one. Raises KernelError."""
        name = f"{_of(cell)}/attempt-{number}"
        try:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.path / name)  # of a run that was cut off
            (self.path / name).mkdir(parents=True)
        except OSError as error:
            raise cannot_write(self.path / name, error) from None
        return name


def read(path: Path, matrix: Matrix) -> tuple[Result, ...]:
    """What became of the cells of a matrix that was run, to the end or not. Raises UsageError for another matrix."""
    there = _read(path)
    if there is None:
        raise UsageError(f"{path} holds no matrix")
    _refuse_another(path, there, matrix)
    return tuple(_result(path, cell) for cell in matrix.cells)


def _result(path: Path, cell: Cell) -> Result:
    try:
        found = json.loads((path / _of(cell) / "result.json").read_text("utf-8"))
        attempts = found["attempts"] if found["name"] == cell.name else ()
        return Result(cell, tuple(Attempt.from_json(attempt) for attempt in attempts))
    except (OSError, ValueError, KeyError, TypeError):
        return Result(cell)  # it has yet to be run


def _described(matrix: Matrix) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **matrix.to_json()}))
    return described


def _read(path: Path) -> dict[str, Any] | None:
    """What is said of the matrix that is there; None: none is."""
    try:
        found = json.loads((path / _MATRIX).read_text("utf-8"))
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def _refuse_another(path: Path, there: dict[str, Any], matrix: Matrix) -> None:
    wanted = _described(matrix)
    other = next((words for key, words in _SAME.items() if there.get(key) != wanted[key]), None)
    if other is not None:
        hint = "leave out --resume to start anew, or choose another --dir"
        raise UsageError(f"{path} holds the results of {other}", hint=hint)


def _of(cell: Cell) -> str:
    """Where a cell's files are: by its name, as file systems and shells and artefact stores take it."""
    name = re.sub(r"[^A-Za-z0-9_.+=,-]+", "-", cell.name)[:_LONGEST_NAME].strip("-.")
    if name != cell.name:
        name += f"-{hashlib.sha256(cell.name.encode()).hexdigest()[:8]}"
    return f"{_CELLS}/{name}"


def write(path: Path, text: str) -> None:
    """Write a file, all of it or nothing. Raises KernelError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> KernelError:
    """What to say then."""
    return KernelError(
        f"{path} cannot be written: {error.strerror}",
        errno=error.errno or 0,
        hint="the results so far are kept: make room, and go on with --resume",
    )
