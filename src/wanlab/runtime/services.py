"""The programs that are a part of a lab: a router's port mapping server, a LAN's router advertisements.

They run from the plan's step that starts them until the lab ends, or a later step stops them, and have a directory of
their own, where their files are and all that they say is logged.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanlab.errors import KernelError, MachineError
from wanlab.plan.steps import StartService, Step
from wanlab.runtime.children import CannotStart, Command, Nursery
from wanlab.runtime.world import World

_PATIENCE = 5.0  # seconds that a program may take until it is ready, and again to end when it is asked to
_LOOK_AGAIN = 0.002  # seconds
_TAIL = 4096  # bytes of a log that are shown
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # an ordinary user's lacks where servers are


@dataclass(slots=True)
class _Service:
    step: StartService
    pid: int
    log: Path
    status: int | None = None
    """Its exit status, once it has ended."""

    def tail(self) -> str:
        """The end of what it said."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
            return log.read().decode(errors="replace")

    def ending(self) -> str:
        """How it ended, in words, with the last line of what it said."""
        assert self.status is not None
        how = f"exit status {self.status}" if self.status >= 0 else signal.Signals(-self.status).name
        said = self.tail().strip().splitlines()
        return f"{how}: {said[-1]}" if said else how


class Services:
    """Starts the lab's services, and knows how each of them is."""

    def __init__(self, world: World, nursery: Nursery, directory: Path) -> None:
        self._world = world
        self._nursery = nursery
        self._directory = directory
        self._running: dict[tuple[str, str], _Service] = {}
        self._starting: list[_Service] = []

    @staticmethod
    def require(steps: Iterable[Step]) -> None:
        """Refuse what needs a program that is not installed, before anything is made. Raises MachineError."""
        for step in steps:
            if isinstance(step, StartService):
                _program(step)

    def start(self, step: StartService) -> None:
        """Start a service. Raises MachineError where its program is not installed, KernelError where it cannot run."""
        place = self._directory / step.node / step.name
        place.mkdir(parents=True, exist_ok=True)
        for name, text in step.files:
            (place / name).write_text(text.replace("{files}", str(place)))
        argv = [_program(step), *(word.replace("{files}", str(place)) for word in step.argv[1:])]
        log = place / "log"
        with open(os.devnull, "rb") as nothing, log.open("wb") as said:
            stdio = [nothing.fileno(), said.fileno(), said.fileno()]
            try:
                pid = self._nursery.start(
                    Command(step.node, argv, {"PATH": _PATH, "LC_ALL": "C"}, "/", False, 0o022, (1024, 1024)), stdio
                )
            except CannotStart as error:
                raise KernelError(f"node {step.node!r}: {argv[0]}: {error}", errno=error.errno) from None
        service = _Service(step, pid, log)
        self._running[step.node, step.name] = service
        self._starting.append(service)

    def wait_until_ready(self) -> None:
        """Wait for all that were started. Raises KernelError for one that ends, or takes too long."""
        starting, self._starting = self._starting, []
        deadline = time.monotonic() + _PATIENCE
        for service in starting:
            while not self._ready(service):
                if service.status is None:
                    self._poll(service)
                if service.status is not None:
                    raise KernelError(
                        f"node {service.step.node!r}: its {service.step.name} ended at once, {service.ending()}"
                    )
                if time.monotonic() > deadline:
                    raise KernelError(
                        f"node {service.step.node!r}: its {service.step.name} is not ready after {_PATIENCE:.0f} s"
                    )
                time.sleep(_LOOK_AGAIN)

    def _ready(self, service: _Service) -> bool:
        port = service.step.udp_port
        if port is None:
            return service.status is None
        # By what the kernel says and not by the log, whose words change from version to version.
        with self._world.inside(service.step.node):
            tables = [Path("/proc/self/net") / name for name in ("udp", "udp6")]
            bound = [line.split()[1] for table in tables if table.exists() for line in table.read_text().splitlines()]
        return any(address.endswith(f":{port:04X}") for address in bound)

    def stop(self, node: str, name: str) -> None:
        """End a service, by force where it does not end by itself."""
        service = self._running.pop((node, name), None)
        if service is None:
            return
        for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, None)):
            if service.status is None:
                os.kill(service.pid, number)
                self._wait(service, patience)

    def _wait(self, service: _Service, patience: float | None) -> None:
        deadline = None if patience is None else time.monotonic() + patience
        while service.status is None and (deadline is None or time.monotonic() < deadline):
            self._poll(service)
            time.sleep(_LOOK_AGAIN)

    @staticmethod
    def _poll(service: _Service) -> None:
        pid, status = os.waitpid(service.pid, os.WNOHANG)
        if pid:
            service.status = os.waitstatus_to_exitcode(status)

    def note_end(self, pid: int, status: int) -> None:
        """One of the lab's processes has ended: perhaps it was a service."""
        for service in self._running.values():
            if service.pid == pid:
                service.status = status

    def report(self) -> list[dict[str, Any]]:
        """Each service: where it runs, how it is, the end of what it said."""
        return [
            {"node": node, "name": name, "argv": list(service.step.argv), "exit": service.status, "log": service.tail()}
            for (node, name), service in self._running.items()
        ]


def _program(step: StartService) -> str:
    found = shutil.which(step.argv[0], path=_PATH)
    if found is None:
        raise MachineError(
            f"node {step.node!r}: {step.argv[0]} is not installed", hint=f"install it (Debian package {step.package})"
        )
    return found
