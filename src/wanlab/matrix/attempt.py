"""One attempt at one cell: a fresh lab, the command in it, and what is to be recorded of both."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from wanlab.capture.capture import Capture, capture_in_case
from wanlab.errors import LabEnded, NoSuchLab, WanlabError
from wanlab.matrix.directory import Directory, cannot_write
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.results import OUTPUT, Attempt, State
from wanlab.matrix.variation import Cell
from wanlab.recording.run_directory import record_run
from wanlab.runtime.directory import INHERITED, runtime_directory
from wanlab.runtime.lab import Lab
from wanlab.runtime.process import Process
from wanlab.runtime.record import Log
from wanlab.runtime.server import describe_exit
from wanlab.topology.network import Kind, Node

_GRACE_S = 2.0  # between asking a command that took too long to end and ending it
_LAB_ENDED = "its lab was ended by somebody else"


class Stopped(Exception):
    """The run is over before this attempt was."""


class Stop:
    """Tells all who wait that the run is over."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC)

    def set(self) -> None:
        """It is."""
        os.eventfd_write(self._event, 1)

    def check(self) -> None:
        """Raises Stopped."""
        self.wait_for(None, 0)

    def wait_for(self, process: Process | None, seconds: float | None) -> bool:
        """Whether a program has ended within *seconds*. Raises Stopped."""
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        if process is not None:
            poll.register(process.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(None if seconds is None else max(0.0, seconds) * 1000)}
        if self._event in ready:
            raise Stopped
        return bool(ready)

    def close(self) -> None:
        """Nobody waits any more."""
        os.close(self._event)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for all attempts."""

    matrix: Matrix
    directory: Directory
    timeout_s: float | None
    """How long a command may take; None: as long as it wants."""
    capture: str
    """Whose packets, and all the rest, are kept: of those that `failed`, `always`, `never`."""
    stop: Stop


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the files of an attempt go: *name* is relative to *root*, the matrix's directory."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.name

    def files(self) -> tuple[str, ...]:
        """Those that are there, relative to it."""
        return tuple(sorted(str(file.relative_to(self.path)) for file in self.path.rglob("*") if file.is_file()))


def attempt(conditions: Conditions, cell: Cell, number: int) -> Attempt:
    """Make a lab, run the command in it, record what it did, take the lab down.

    Raises CommandNotFound for a command that cannot be started, Stopped, KernelError where its output has no place.
    """
    conditions.stop.check()
    place = _Place(conditions.directory.path, conditions.directory.attempt(cell, number))
    matrix = conditions.matrix
    lab = Lab(matrix.topologies[cell], count_rules=conditions.capture != "never")
    try:
        lab.up()
    except WanlabError as error:
        return Attempt(State.NOT_BUILT, 0.0, None, str(error), place.name)
    capture: Capture | None = None
    try:
        if conditions.capture != "never":
            capture = capture_in_case(lab, however_large=conditions.capture == "always")
        environment = _environment(lab, cell, number, place.path)
        if cell in matrix.theories:
            environment["WANLAB_THEORY"] = matrix.theories[cell].udp.says
        return _run(conditions, lab, environment, place, capture)
    except (LabEnded, NoSuchLab):
        return Attempt(State.FAILED, 0.0, None, _LAB_ENDED, place.name, place.files())
    finally:
        if capture is not None:
            capture.stop()
        lab.down()


def _run(
    conditions: Conditions, lab: Lab, environment: dict[str, str], place: _Place, capture: Capture | None
) -> Attempt:
    try:
        log = Log(place.path / OUTPUT)
    except OSError as error:
        raise cannot_write(place.path / OUTPUT, error) from None
    matrix, stop = conditions.matrix, conditions.stop
    start = lab.shell if matrix.node is None else lab[matrix.node].popen
    output = log.fileno()
    began = time.monotonic()
    process = start(matrix.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
    process.record.log = log
    ended = stop.wait_for(process, conditions.timeout_s)
    seconds = time.monotonic() - began
    code = process.wait() if ended else None
    state, problems = _judge(code, process.ended_with_lab, conditions.timeout_s)
    if conditions.capture == "always" or (conditions.capture == "failed" and state is not State.PASSED):
        problems += record_run(lab, place.path, state.value, capture).problems
    if not ended:
        # Not before all is recorded: what it was doing is what one wants to know.
        process.send_signal_to_group(signal.SIGTERM)
        stop.wait_for(process, _GRACE_S)
    status = code if code is None or code >= 0 else 128 - code
    return Attempt(state, seconds, status, "; ".join(problems), place.name, place.files())


def _judge(code: int | None, lab_ended: bool, timeout_s: float | None) -> tuple[State, list[str]]:
    if code is None:
        return State.TIMED_OUT, [f"did not end within {timeout_s:g} s"]
    if lab_ended:
        return State.FAILED, [_LAB_ENDED]
    return (State.PASSED, []) if code == 0 else (State.FAILED, [describe_exit(code)])


def _environment(lab: Lab, cell: Cell, number: int, directory: Path) -> dict[str, str]:
    """What the command finds in its environment besides the caller's."""
    network = lab.network
    nodes = network.of(Kind.ROUTER, Kind.HOST)
    found = {
        **os.environ,
        INHERITED: str(runtime_directory()),
        "WANLAB_LAB": lab.name,
        "WANLAB_CELL": cell.name,
        "WANLAB_ATTEMPT": str(number),
        "WANLAB_RUN": str(directory.absolute()),
        "WANLAB_NODES": " ".join(node.name for node in nodes),
        **{f"WANLAB_ADDRESS_{_variable(node.name)}": str(node.address) for node in nodes if _has_address(node)},
        **{f"WANLAB_VARY_{_variable(choice.place)}": choice.label for choice in cell.choices},
    }
    for name in ("WANLAB_NODE", "WANLAB_THEORY"):  # of a lab that we are in ourselves
        found.pop(name, None)
    return found


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _has_address(node: Node) -> bool:
    return any(interface.addresses for interface in node.interfaces)
