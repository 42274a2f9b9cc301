"""A terminal of the program's own, joined to ours: Ctrl-C, Ctrl-Z, job control and screen programs work in a node.

A terminal belongs to one session, and a program in a lab is in a session of its own; so it gets a pty, and our terminal
is raw meanwhile: every key goes to the pty, whose other side knows what Ctrl-C means to whom.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import tty
from collections.abc import Iterator

from wanlab.runtime.process import Process

_MOST_AHEAD = 1 << 16  # bytes typed (or pasted) that the program has not read
_GRACE = 0.1  # seconds that output may still come after the program's end, where others keep its terminal open


class Terminal:
    """Our terminal (stdin and stdout) lent to a program. As a context manager: restored however it ends."""

    def __init__(self) -> None:
        self._saved = self._attributes()
        self._ours, self.theirs = os.openpty()
        """`theirs` is to become the program's stdio."""
        termios.tcsetattr(self.theirs, termios.TCSANOW, self._saved)
        os.set_blocking(self._ours, False)
        self.follow_size()

    def __enter__(self) -> Terminal:
        self._make_raw()
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()
        os.close(self._ours)  # where the program still runs, it gets SIGHUP
        self.handed_over()

    def handed_over(self) -> None:
        """The program has its side: while nobody else has it open, its end is seen."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def follow_size(self) -> None:
        """Tell the program's terminal the size of ours; the kernel then sends SIGWINCH to whom it concerns."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    @contextlib.contextmanager
    def given_back(self) -> Iterator[None]:
        """Our terminal as it was, for as long as we are stopped."""
        self._restore()
        try:
            yield
        finally:
            self._make_raw()
            self.follow_size()

    def converse(self, process: Process) -> None:
        """Carry what is typed and what is printed, until the program has ended or our own terminal has gone."""
        typed = b""
        listening = True  # until the program lets go of its terminal: a moment before its end, mostly
        ended = False
        while not ended or listening:
            readers: list[int] = []
            if listening:
                readers.append(self._ours)
            if not ended:
                readers.append(process.fileno())
            if len(typed) < _MOST_AHEAD:
                readers.append(0)
            readable, writable, _ = select.select(readers, [self._ours] if typed else [], [], _GRACE if ended else None)
            if ended and self._ours not in readable:
                return
            try:
                if self._ours in readable:
                    printed = self._read()
                    listening = printed is not None
                    _write_all(printed or b"")
                if 0 in readable:
                    key = os.read(0, 4096)
                    if not key:
                        return  # our terminal has hung up
                    typed += key
            except OSError:
                return  # our terminal has gone
            if writable:
                typed = self._write(typed)
            ended = ended or process.fileno() in readable

    def _read(self) -> bytes | None:
        """What the program has printed; None where nobody has its terminal open any more."""
        try:
            return os.read(self._ours, 1 << 16)
        except BlockingIOError:
            return b""
        except OSError:  # EIO
            return None

    def _write(self, data: bytes) -> bytes:
        try:
            return data[os.write(self._ours, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""

    def _make_raw(self) -> None:
        with _as_os_error():
            tty.setraw(0, termios.TCSADRAIN)

    def _restore(self) -> None:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    @staticmethod
    def _attributes() -> list[int | list[bytes | int]]:
        with _as_os_error():
            return termios.tcgetattr(0)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except termios.error as error:
        raise OSError(*error.args) from None


def _write_all(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # somebody who shares our terminal has made it so
            select.select([], [1], [])
