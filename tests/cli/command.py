"""The command line as its users run it: a process, with pipes or on a terminal."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.labs import descendants, eventually

WANLAB = (sys.executable, "-m", "wanlab")
_PR_SET_CHILD_SUBREAPER = 36


def wanlab(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `wanlab` with these arguments to its end."""
    options = {"stdin": None if "input" in options else subprocess.DEVNULL, "timeout": 60, **options}
    return subprocess.run([*WANLAB, *arguments], capture_output=True, text=True, check=False, **options)


def must(*arguments: str, **options: Any) -> str:
    """Run `wanlab`, which must end well and without complaints; what it printed."""
    done = wanlab(*arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


class UntilCtrlC:
    """A verb that runs until Ctrl-C, from when it says that it has begun; at the end of the `with` it gets one.

    Unless it has ended by itself.
    """

    def __init__(self, *arguments: str, begun: str, prefix: Sequence[str] = (), stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [*prefix, *WANLAB, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True
        )
        self.output = self.said = ""
        """What it printed: to stdout, and to stderr after its first line."""
        self._begun = begun

    def __enter__(self) -> Self:
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        assert re.fullmatch(self._begun, first), first
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        if not self.said:
            output, self.said = self.process.communicate(timeout=30)
            self.output = output or ""
        return self.process.returncode


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a verb which failed has printed."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("wanlab: "), done.stderr
    return lines[0].removeprefix("wanlab: ")


def adopt_orphans(yes: bool) -> None:
    """Make this process the parent of its descendants' orphans, so that none of them gets out of sight; or no more."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def bury_orphans() -> None:
    """Take note of the end of those that were adopted."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ChildProcessError):
            pid, _, rest = stat.read_text().partition(" (")
            name, _, fields = rest.rpartition(") ")
            if name.startswith("wanlab-") and fields.split()[:2] == ["Z", str(os.getpid())]:
                os.waitpid(int(pid), os.WNOHANG)


def nothing_left(runtime: Path) -> bool:
    """Whether no process of a lab and no directory of a lab is there any more."""
    if any(process.name.startswith("wanlab") for process in descendants(os.getpid())):
        return False
    return not runtime.is_dir() or not any(path.is_dir() for path in runtime.iterdir())


class OnTerminal:
    """A command on a terminal of its own, which we are at the other end of."""

    def __init__(self, *command: str, rows: int = 24, columns: int = 80, **options: Any) -> None:
        self._ours, self._theirs = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self._theirs)
        self.seen = ""
        # setsid --ctty: the terminal becomes the command's controlling one, as a terminal window does it
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=options.pop("stderr", self._theirs),
            **options,
        )

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self._ours, self._theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def resize(self, rows: int, columns: int) -> None:
        """What a person does who drags a window's corner."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def until(self, text: str, seconds: float = 15.0) -> str:
        """Read until *text* is seen; everything up to and with it, which is then forgotten."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"waited in vain for {text!r}; seen: {self.seen!r}"
            if select.select([self._ours], [], [], left)[0]:
                self.seen += os.read(self._ours, 65536).decode(errors="replace")
        head, _, self.seen = self.seen.partition(text)
        return head + text

    def end(self, seconds: float = 15.0) -> int:
        """Wait for the command's end; its exit status. What it printed last is in `seen`."""
        status = self.process.wait(seconds)
        while select.select([self._ours], [], [], 0.05)[0]:
            self.seen += os.read(self._ours, 65536).decode(errors="replace")
        return status

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal echoes, breaks lines and makes signals as it did at first."""
        return termios.tcgetattr(self._theirs) == self.before

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._ours)

    def child(self) -> int:
        """The PID of the command, which `setsid` may have forked."""
        return eventually(lambda: _python_below(self.process.pid), "the command's process")


def _python_below(pid: int) -> int:
    """*pid* itself unless it is setsid that waits for its child."""
    return next((p.pid for p in descendants(pid) if p.parent == pid), 0) or pid
