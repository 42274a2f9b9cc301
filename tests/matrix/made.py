"""Matrices and results for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from tests.support.labs import pair
from tests.support.shapes import two_lans
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.results import Attempt, Result, Results, State
from wanlab.matrix.variation import Axis


def of_nats(*nats: str, command: tuple[str, ...] = ("true",)) -> Matrix:
    """Two homes, with each of these NATs at each."""
    return Matrix(two_lans(), (Axis.of("home-a.nat", nats), Axis.of("home-b.nat", nats)), command)


def of_sizes(*mtus: int, command: tuple[str, ...] = ("true",), node: str | None = None) -> Matrix:
    """Two hosts, one of them with each of these MTUs."""
    return Matrix(pair(), (Axis.of("left.mtu", mtus),), command, node)


def results_of(matrix: Matrix, directory: Path, *states: State) -> Results:
    """Results as they might be, of the first cells; the others were not run."""
    made = []
    for number, cell in enumerate(matrix.cells):
        name = f"cells/{cell.name}/attempt-1"
        state = states[number] if number < len(states) else State.NOT_RUN
        status = {State.PASSED: 0, State.FLAKY: 0, State.FAILED: 3}.get(state)
        problem = "" if state in (State.PASSED, State.FLAKY) else f"it {state.words}"
        attempt = Attempt(State.PASSED if state is State.FLAKY else state, 0.5 + number, status, problem, name)
        first = Attempt(State.FAILED, 0.1, 1, "exit status 1", name)
        attempts = {State.NOT_RUN: (), State.FLAKY: (first, attempt)}.get(state, (attempt,))
        made.append(Result(cell, attempts))
    return Results(matrix, tuple(made), directory, 12.5)
