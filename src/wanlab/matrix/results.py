"""What became of the cells of a matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from wanlab.matrix.matrix import Matrix
from wanlab.matrix.variation import Cell

FORMAT = 1
"""Of what is written: a number that changes when a reader must."""
OUTPUT = "output.log"
"""What a command has written, stdout and stderr together, in the directory of an attempt."""


class State(Enum):
    """What became of a cell, or of one attempt."""

    PASSED = "passed"
    FLAKY = "flaky"
    """It passed, but not at the first attempt."""
    FAILED = "failed"
    """The command's exit status was not 0."""
    TIMED_OUT = "timed-out"
    NOT_BUILT = "not-built"
    """There could be no lab for it."""
    NOT_RUN = "not-run"

    @property
    def words(self) -> str:
        """As a person reads it."""
        return _WORDS.get(self, self.value)

    @property
    def mark(self) -> str:
        """As a grid shows it."""
        return _MARKS[self]

    @property
    def good(self) -> bool:
        """Whether it passed in the end."""
        return self in (State.PASSED, State.FLAKY)


_MARKS = {
    State.PASSED: "+",
    State.FLAKY: "~",
    State.FAILED: "x",
    State.TIMED_OUT: "t",
    State.NOT_BUILT: "!",
    State.NOT_RUN: ".",
}
_WORDS = {State.TIMED_OUT: "timed out", State.NOT_BUILT: "could not be built", State.NOT_RUN: "not run"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of the command, in a lab of its own."""

    state: State
    seconds: float
    """How long the command ran."""
    exit_status: int | None
    """128 + n where signal n ended it; None: it did not end by itself, or did not run."""
    problem: str
    """Why it did not pass, in words."""
    directory: str
    """Where its files are, relative to the matrix's directory."""
    files: tuple[str, ...] = ()
    """Their names, relative to that."""

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "state": self.state.value,
            "seconds": round(self.seconds, 3),
            "exit_status": self.exit_status,
            "problem": self.problem,
            "directory": self.directory,
            "files": list(self.files),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Attempt:
        """The inverse. Raises KeyError, TypeError, ValueError."""
        return cls(
            State(found["state"]),
            float(found["seconds"]),
            found["exit_status"],
            found["problem"],
            found["directory"],
            tuple(found["files"]),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one cell."""

    cell: Cell
    attempts: tuple[Attempt, ...] = ()
    """None of them: it was not run."""

    @property
    def state(self) -> State:
        """How it ended."""
        if not self.attempts:
            return State.NOT_RUN
        last = self.attempts[-1].state
        return State.FLAKY if last is State.PASSED and len(self.attempts) > 1 else last

    @property
    def seconds(self) -> float:
        """How long the command ran, the last time."""
        return self.attempts[-1].seconds if self.attempts else 0.0

    @property
    def problem(self) -> str:
        """Why it did not pass, the last time it did not; "" where it always did."""
        return next((attempt.problem for attempt in reversed(self.attempts) if attempt.problem), "")

    @property
    def words(self) -> str:
        """How it ended, at which attempt, why and after how long, as a person reads it."""
        if not self.attempts:
            return self.state.words
        words, tries = self.state.words, len(self.attempts)
        if self.state is State.FLAKY:
            words += f": passed at attempt {tries}, before that {self.problem}"
        elif self.problem:
            words += f" ({self.problem}{f', at attempt {tries} of {tries}' if tries > 1 else ''})"
        return f"{words}, {seconds_in_short(self.seconds)} s"

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "name": self.cell.name,
            "choices": {choice.place: choice.label for choice in self.cell.choices},
            "state": self.state.value,
            "seconds": round(self.seconds, 3),
            "attempts": [attempt.to_json() for attempt in self.attempts],
        }


@dataclass(frozen=True)
class Results:
    """The cells of a matrix, in order, and what became of each."""

    matrix: Matrix
    results: tuple[Result, ...]
    directory: Path
    """Where their files are."""
    seconds: float = 0.0
    """How long it took, the earlier parts of one that was resumed left out."""

    def __getitem__(self, name: str) -> Result:
        """That of the cell `linux+symmetric`. Raises KeyError."""
        for result in self.results:
            if result.cell.name == name:
                return result
        raise KeyError(name)

    @property
    def ok(self) -> bool:
        """Whether all cells passed."""
        return all(result.state.good for result in self.results)

    @property
    def bad(self) -> tuple[Result, ...]:
        """The cells that were run and did not pass."""
        return tuple(r for r in self.results if not r.state.good and r.state is not State.NOT_RUN)

    @property
    def counts(self) -> dict[State, int]:
        """How many cells are in each state, the states that there are none of left out."""
        found = Counter(result.state for result in self.results)
        return {state: found[state] for state in State if found[state]}

    @property
    def outcome(self) -> str:
        """All of it in a line."""
        counts = ", ".join(f"{count} {state.words}" for state, count in self.counts.items())
        return f"{len(self.results)} cells: {counts}; {self.seconds:.1f} s"

    def output(self, attempt: Attempt, most_bytes: int) -> str:
        """The last of what the command has written in an attempt, from the beginning of a line on."""
        try:
            with (self.directory / attempt.directory / OUTPUT).open("rb") as file:
                cut = file.seek(0, 2) > most_bytes
                file.seek(-most_bytes if cut else 0, 2 if cut else 0)
                data = file.read()
        except OSError:  # no lab, no output; or somebody has tidied up
            return ""
        return (data.partition(b"\n")[2] if cut else data).decode(errors="replace")

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        theories = self.matrix.theories
        return {
            "format": FORMAT,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            **self.matrix.to_json(),
            "counts": {state.value: count for state, count in self.counts.items()},
            "cells": [
                {
                    **result.to_json(),
                    "theory": theories[result.cell].to_json() if result.cell in theories else None,
                }
                for result in self.results
            ],
        }


def seconds_in_short(seconds: float) -> str:
    """Three digits of them."""
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"
