"""A client's side of a lab: finding it, asking it, having a new one forged."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import threading
import time
import weakref
from pathlib import Path

from wanlab.errors import LabEnded, NoSuchLab, did_you_mean
from wanlab.kernel.interpreter import own_process
from wanlab.runtime.directory import labs, socket_name
from wanlab.runtime.protocol import Frames, Message, raise_if_error, receive, send

_PATIENCE_S = 2.0
_LOOK_AGAIN_S = 0.002

_FORGE = own_process("from wanlab.runtime.forge import main; main()")


class Connection:
    """One request and its answers. Closing it takes the request back."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._frames = Frames()

    def ask(self, message: Message, descriptors: list[int] | None = None) -> tuple[Message, list[int]]:
        """Send and wait for the answer. Raises what the other side raised, or LabEnded."""
        with contextlib.suppress(ConnectionError):  # it has hung up: perhaps it said why
            send(self._socket, message, descriptors)
        return self.hear()

    def hear(self) -> tuple[Message, list[int]]:
        """Wait for the next message. Raises what the other side raised, LabEnded, or TimeoutError."""
        message, descriptors = receive(self._socket, self._frames)
        return raise_if_error(message), descriptors

    def tell(self, message: Message) -> None:
        """Send, and wait for nothing; a side that has gone does not matter."""
        with contextlib.suppress(OSError):
            send(self._socket, message)

    def fileno(self) -> int:
        """Its descriptor: readable when the other side has said something, or has gone."""
        return self._socket.fileno()

    def set_timeout(self, seconds: float | None) -> None:
        """How long `hear` waits."""
        self._socket.settimeout(seconds)

    def wait_for_end(self) -> None:
        """Say that nothing more will be asked, and wait until the other side has closed it."""
        with contextlib.suppress(LabEnded, OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(None)
            while True:
                receive(self._socket, self._frames)

    def close(self) -> None:
        """Close."""
        self._socket.close()
        self._frames.close()


def connect(directory: Path, name: str) -> Connection:
    """A new connection to the lab *name*. Raises NoSuchLab."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_name(directory / name) as address:
                connection.connect(address)
            return Connection(connection)
        except OSError:
            connection.close()
        there = labs(directory)
        if name not in there or time.monotonic() > deadline:
            raise NoSuchLab(f"no lab {name!r} is up", hint=did_you_mean(name, there))
        time.sleep(_LOOK_AGAIN_S)  # its place is taken, and it does not listen yet


def default_lab(directory: Path) -> str:
    """The name of the lab that this program runs in (`WANLAB_LAB`), else of the one that is up. Raises NoSuchLab."""
    inside = os.environ.get("WANLAB_LAB")
    if inside:
        return inside
    names = labs(directory)
    if not names:
        raise NoSuchLab("no lab is up", hint="bring one up: wanlab up two-lans")
    if len(names) > 1:
        raise NoSuchLab(f"{len(names)} labs are up: {', '.join(names)}", hint="say which: --lab NAME")
    return names[0]


def wait_until_cleared(directory: Path, name: str, seconds: float = 10.0) -> bool:
    """Wait until nothing is left of a lab that is ending. False where that takes longer than *seconds*."""
    deadline = time.monotonic() + seconds
    while (directory / name).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


class _Forge:
    """The forge of this process, started when first needed, and anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owners: weakref.WeakSet[Connection] = weakref.WeakSet()

    def order(self, directory: Path, name: str) -> Connection:
        """Order a lab of that name; the connection owns it, and what it shall be is the first message to be sent."""
        ours, theirs = socket.socketpair()
        with theirs:
            for attempt in (1, 2):
                try:
                    with self._lock:
                        send(self._running(), {"directory": str(directory), "name": name}, [theirs.fileno()])
                    break
                except ConnectionError:  # somebody killed it: labs that are up do not need it, new ones do
                    self.stop()
                    if attempt == 2:
                        ours.close()
                        raise LabEnded("the process that makes labs keeps dying") from None
        owner = Connection(ours)
        self._owners.add(owner)
        return owner

    def _running(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    _FORGE,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    process_group=0,  # a Ctrl-C is for this program, and may come before the forge can ignore it
                )
            self._socket = ours
        return self._socket

    def stop(self) -> None:
        """End the forge. Labs that are up do not notice."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            if self._process is not None:
                self._process.wait()
            self._socket = self._process = None

    def forget(self) -> None:
        """In a forked child: the forge and the labs are the parent's, and end with that, not with us."""
        for owner in list(self._owners):
            owner.close()
        self._owners.clear()
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.returncode = 0  # no child of ours: Popen need not care
        self._socket = self._process = None
        self._lock = threading.Lock()  # another thread may have held the old one


forge = _Forge()
atexit.register(forge.stop)
os.register_at_fork(after_in_child=forge.forget)
