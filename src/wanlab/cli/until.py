"""How verbs hear that they are to end: `Stop`, between two things that they do; `ending_well`, where they stand."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
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


@contextlib.contextmanager
def ending_well() -> Iterator[None]:
    """In it SIGTERM and SIGHUP end the program as Ctrl-C does: what was begun is brought to an end."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    wanted = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
