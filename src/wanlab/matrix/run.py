"""Runs a matrix: its cells in parallel, each in a fresh lab, each result kept as soon as it is there."""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wanlab.errors import KernelError, MachineError, UsageError
from wanlab.matrix.attempt import Conditions, Stop, Stopped, attempt
from wanlab.matrix.directory import Directory, read
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.results import Attempt, Result, Results, State
from wanlab.matrix.variation import Cell

CAPTURES = ("failed", "always", "never")
_IN_VAIN = 8  # cells that cannot be built (or all), for one reason and with no other cell built: then none will be


class Progress:
    """Told what is going on, in the thread that runs the matrix. This one keeps quiet: override what you want."""

    def began(self, results: Sequence[Result]) -> None:
        """All cells, those with a result of an earlier run among them."""

    def started(self, cell: Cell, attempt: int) -> None:
        """A cell's command is about to run, for the first time or once more."""

    def finished(self, result: Result) -> None:
        """A cell has its result."""


@dataclass(frozen=True, slots=True)
class _Started:
    cell: Cell
    attempt: int


_Event = _Started | Result | BaseException


def run_matrix(
    matrix: Matrix,
    directory: str | Path,
    *,
    jobs: int | None = None,
    timeout_s: float | None = 60.0,
    retries: int = 0,
    capture: str = "failed",
    resume: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Run the command in all cells, *jobs* at once (as many as there are cores), and return what became of them.

    *timeout_s*: how long a command may take. *retries*: how often one that did not pass is run again. *capture*: whose
    packets, and all else that is known of a lab, are kept: `failed`, `always`, `never`. *resume*: cells that have a
    result in *directory* are not run again.

    However it ends, no lab stays behind, and the results so far are in *directory*: `read_results` reads them. Raises
    UsageError, TopologyError, NoSuchNode before anything runs; CommandNotFound, KernelError where it makes no sense to
    go on, MachineError where no lab can be made.
    """
    if capture not in CAPTURES:
        raise UsageError(f"capture {capture!r} is none of {', '.join(CAPTURES)}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} cells at once cannot be run", hint="give 1 or more")
    if timeout_s is not None and timeout_s <= 0:
        raise UsageError(f"a command cannot end within {timeout_s:g} s", hint="give more")
    if retries < 0:
        raise UsageError(f"nothing can be run {retries} times more")
    matrix.check()
    began = time.monotonic()
    held = Directory(Path(directory), matrix, resume=resume)
    try:
        known = {cell: held.result(cell) for cell in matrix.cells}
        conditions = Conditions(matrix, held, timeout_s, capture, Stop())
        _Run(conditions, retries, progress or Progress()).through(known, jobs or len(os.sched_getaffinity(0)))
    except (KernelError, OSError) as error:
        if error.errno != errno.EMFILE:
            raise
        hint = "give fewer --jobs, or more files: ulimit -n"
        raise UsageError("so many labs at once need more open files than this program may have", hint=hint) from None
    finally:
        held.close()
    return Results(matrix, tuple(known.values()), held.path, time.monotonic() - began)


class _Run:
    """The run of a matrix: threads that take cells from one queue, and tell by another what became of them."""

    def __init__(self, conditions: Conditions, retries: int, progress: Progress) -> None:
        self._conditions = conditions
        self._retries = retries
        self._progress = progress
        self._cells: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()

    def through(self, known: dict[Cell, Result], jobs: int) -> None:
        """Run the cells that have no result, and put it into *known*."""
        left = [cell for cell, result in known.items() if not result.attempts]
        self._progress.began(list(known.values()))
        for cell in left:
            self._cells.put(cell)
        # Daemons: whoever interrupts twice need not wait for them.
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(min(jobs, len(left)))]
        try:
            for worker in workers:
                worker.start()
            self._follow(known, len(left))
        finally:
            self._conditions.stop.set()
            for worker in workers:
                if worker.ident is not None:
                    worker.join()  # its lab is gone then
            self._conditions.stop.close()

    def _follow(self, known: dict[Cell, Result], left: int) -> None:
        in_vain: list[str] = []
        enough = min(_IN_VAIN, left)
        built = False
        while left:
            event = self._events.get()
            if isinstance(event, _Started):
                self._progress.started(event.cell, event.attempt)
            elif isinstance(event, Result):
                left -= 1
                known[event.cell] = event
                self._progress.finished(event)
                if event.state is State.NOT_BUILT:
                    in_vain.append(event.problem)
                else:
                    built = True
                if not built and len(in_vain) == enough and len(set(in_vain)) == 1:
                    raise MachineError(f"not one of {enough} labs could be made: {in_vain[0]}")
            else:
                raise event

    # -- in the threads --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while True:
                try:
                    cell = self._cells.get_nowait()
                except queue.Empty:
                    return
                self._events.put(self._result(cell))
        except Stopped:
            pass
        except BaseException as error:
            self._events.put(error)

    def _result(self, cell: Cell) -> Result:
        attempts: list[Attempt] = []
        for number in range(1, self._retries + 2):
            self._events.put(_Started(cell, number))
            attempts.append(attempt(self._conditions, cell, number))
            if attempts[-1].state is State.PASSED:
                break
        result = Result(cell, tuple(attempts))
        if result.state is not State.NOT_BUILT:  # that may be the machine's fault, and be tried once more
            self._conditions.directory.save(result)
        return result


def read_results(matrix: Matrix, directory: str | Path) -> Results:
    """What is known of a matrix that was run in *directory*, to the end or not. Raises UsageError for another one."""
    path = Path(directory)
    return Results(matrix, read(path, matrix), path)
