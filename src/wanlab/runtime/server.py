"""`Server`: a program in a node that others are to talk to. Started, waited for, watched, stopped, its output kept."""

from __future__ import annotations

import contextlib
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wanlab.errors import ServerFailed, UsageError
from wanlab.runtime.process import Arguments, Process, ProcessOptions
from wanlab.runtime.record import Log

if TYPE_CHECKING:
    from wanlab.runtime.lab import LabNode

_GRACE_S = 3.0  # between asking a server to end and ending it: most take a few milliseconds
_ENDING = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)
_FIRST_LOOK_S, _LATER_LOOKS_S = 0.002, 0.05  # how long until it is looked whether a server is ready; doubled each time
_LISTEN = "0A"  # include/net/tcp_states.h, as /proc/net/tcp writes it


class Server:
    """A server in a node. Made by `LabNode.serve`; as a context manager it is stopped at the end of the `with`."""

    def __init__(self, node: str, process: Process, log: Log) -> None:
        self.node = node
        """The name of its node."""
        self.log = log
        """What it has written: `log.text()`, `log.tail()`, `log.path`."""
        self._process = process
        self._stopping = False

    def __repr__(self) -> str:
        return f"<server {self.name!r} in {self.node!r}>"

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.args[0]).name

    @property
    def args(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return self._process.record.args

    @property
    def pid(self) -> int:
        """Its PID as the machine sees it."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._process.wait() if self.wait(0) else None

    @property
    def died(self) -> bool:
        """Whether it has ended though nobody had stopped it, nor its lab."""
        return not self._stopping and self.returncode is not None and not self._process.ended_with_lab

    def check(self) -> None:
        """Raises ServerFailed, with its output, where it has died."""
        if self.died:
            raise self.failure("ended by itself")

    def send_signal(self, number: int) -> None:
        """Send it a signal. Where it is one that ends programs, the server was stopped by it, and has not died."""
        self._stopping = self._stopping or (number in _ENDING and self.returncode is None)
        self._process.send_signal(number)

    def release(self) -> None:
        """Let it outlive this program, until its lab ends."""
        self._stopping = True
        self._process.release()

    def stop(self, grace_s: float = _GRACE_S) -> int:
        """Ask it to end (SIGTERM), and end it with all that it has started after *grace_s*; its exit status."""
        self.ask_to_end()
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal_to_group(signal.SIGKILL)
            return self._process.wait()

    def ask_to_end(self) -> None:
        """Ask it to end, and do not wait. Nothing happens where it has ended, or was asked before."""
        if not self._stopping and self.returncode is None:
            self.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end. Whether it has ended: False where *timeout_s* was too short for that."""
        poll = select.poll()
        poll.register(self._process.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def watch(self, died: Callable[[Server], None]) -> None:
        """Have *died* called, in a thread, as soon as it ends by itself."""

        def watch() -> None:
            self.wait()
            if self.died:
                died(self)

        threading.Thread(target=watch, daemon=True, name=f"wanlab watches {self.name}").start()

    def failure(self, what: str, hint: str | None = None) -> ServerFailed:
        """The exception that says that it *what*, with its exit status and its output."""
        code = self.returncode
        status = "" if code is None else f" ({describe_exit(code)})"
        return ServerFailed(f"{self.name} in node {self.node!r} {what}{status}", log=self.log.tail(), hint=hint)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        died = self.died
        self.stop()
        if died and kind is None:
            raise self.failure("ended by itself")


@dataclass(frozen=True, slots=True)
class Ready:
    """What must hold until a server is ready: all that is not None."""

    tcp_port: int | None = None
    udp_port: int | None = None
    log_line: str | None = None
    command: Arguments | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for port in (self.tcp_port, self.udp_port):
            if port is not None and not 0 < port < 65536:
                raise UsageError(f"{port} is no port", hint="ports go from 1 to 65535")
        if self.log_line is not None:
            try:
                re.compile(self.log_line)
            except re.error as error:
                raise UsageError(f"log_line {self.log_line!r} is no regular expression: {error}") from None

    def missing(self, server: Server, node: LabNode, deadline: float) -> str | None:
        """What does not hold yet, in words; None where all does."""
        if self.tcp_port is not None and not _is_open(server.pid, "tcp", self.tcp_port):
            return f"TCP port {self.tcp_port} is not open"
        if self.udp_port is not None and not _is_open(server.pid, "udp", self.udp_port):
            return f"UDP port {self.udp_port} is not open"
        if self.log_line is not None and not re.search(self.log_line, server.log.text(), re.MULTILINE):
            return f"no line of its output matches {self.log_line!r}"
        if self.command is not None:
            left = max(0.01, deadline - time.monotonic())
            try:
                done = node.run(self.command, timeout=left, capture_output=True, stdin=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                return f"{self.command[0]} does not end"
            if done.returncode:
                return f"{self.command[0]} {describe_exit(done.returncode)}"
        return None


def start(node: LabNode, args: Arguments, ready: Ready, log: Log, options: ProcessOptions) -> Server:
    """Start a server and wait until it is ready. Raises ServerFailed, CommandNotFound; then it does not run."""
    options |= {"stdin": subprocess.DEVNULL, "stdout": log.fileno(), "stderr": subprocess.STDOUT}
    process = node.popen(args, **options)
    process.record.log = log
    server = Server(node.name, process, log)
    try:
        _wait_until_ready(server, node, ready)
    except BaseException:
        server.stop(grace_s=0)
        raise
    return server


def stop_all(servers: Iterable[Server], grace_s: float = _GRACE_S) -> None:
    """Stop several servers, together: the last one started is asked first."""
    running = [server for server in servers if server.returncode is None]
    for server in reversed(running):
        server.ask_to_end()
    deadline = time.monotonic() + grace_s
    for server in reversed(running):
        server.stop(max(0.0, deadline - time.monotonic()))


def describe_exit(code: int) -> str:
    """How a program ended, in words."""
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"
    return f"ended by signal {-code}"


def _wait_until_ready(server: Server, node: LabNode, ready: Ready) -> None:
    deadline = time.monotonic() + ready.timeout_s
    pause = _FIRST_LOOK_S
    while True:
        missing = ready.missing(server, node, deadline)
        if server.died:
            raise server.failure("ended before it was ready", "start it so that it stays in the foreground")
        if missing is None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise server.failure(f"was not ready within {ready.timeout_s:g} s: {missing}")
        server.wait(min(pause, left))
        pause = min(2 * pause, _LATER_LOOKS_S)


def _is_open(pid: int, protocol: str, port: int) -> bool:
    """Whether any socket of that process's network namespace listens there: by /proc, which disturbs no server."""
    for table in (protocol, f"{protocol}6"):
        try:
            with open(f"/proc/{pid}/net/{table}") as lines:  # the namespace's, not the process's (proc_pid_net(5))
                next(lines, None)
                for line in lines:
                    _, local, _, state, *_ = line.split()
                    if int(local.rpartition(":")[2], 16) == port and (protocol == "udp" or state == _LISTEN):
                        return True
        except OSError:  # it has ended, or there is no IPv6
            continue
    return False
