"""A server that dies while a test runs fails the test at once, with its output, whatever the test waits for."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wanlab.runtime.server import Server

# The last real-time signal: of those that nobody has a meaning for, the one that others are least likely to choose.
_SIGNAL = signal.SIGRTMAX
_AGAIN_S = 0.5  # until the test is interrupted again, where something in it has swallowed that


class DeathWatch:
    """Knows whether a test runs, and interrupts it.

    Tests run in the main thread, and a signal is the only thing that gets a thread out of a system call. The exception
    that its handler raises is pytest's own, which `except Exception` lets pass.
    """

    def __init__(self) -> None:
        self._dead: Server | None = None
        self._over = threading.Event()
        self._over.set()

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """A test runs inside the `with`; it fails there."""
        self._dead = None
        self._over.clear()
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(_SIGNAL, self._fail) if main else None
        try:
            yield
        finally:
            self._over.set()
            if main:
                signal.signal(_SIGNAL, before if before is not None else signal.SIG_DFL)
        self._fail()  # it may have died as the test ended, or the test have caught everything

    def died(self, server: Server) -> None:
        """In a thread: *server* has ended by itself."""
        if self._over.is_set():
            return
        self._dead = server
        while not self._over.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            self._over.wait(_AGAIN_S)

    def _fail(self, *_: object) -> None:
        __tracebackhide__ = True
        if self._dead is not None:
            failure = self._dead.failure("ended by itself")
            pytest.fail(str(failure))
