"""`Stop`: how verbs that run until Ctrl-C hear of it, between two things that they do and not in the middle of one."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """While it is entered, Ctrl-C and SIGTERM only set `asked`; a second one ends the program as ever."""

    def __init__(self) -> None:
        self.asked = False
        """Whether one has come."""
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()
        os.close(self._event)

    def fileno(self) -> int:
        """A descriptor that can be read when it was asked."""
        return self._event

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        os.eventfd_write(self._event, 1)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
