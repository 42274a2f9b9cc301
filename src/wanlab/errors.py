"""Every error that wanlab raises, as one tree.

    WanlabError                    all of them; carries where and what to do
    ├── TopologyError              what was asked for makes no lab (a file, a name, an address)
    ├── UsageError                 a call or a command line that cannot be meant
    ├── NoSuchLab                  no lab of that name is up
    ├── NoSuchNode                 the lab has no node of that name
    ├── LabExists                  a lab of that name is up already
    ├── MachineError               this machine cannot do it (no user namespaces, no libnftables, ...)
    ├── KernelError                the kernel refused a step; carries the step and errno
    ├── LabEnded                   the lab went away while it was being used
    ├── ServerFailed               a server in a node did not become ready, or ended by itself; carries its log
    └── CommandNotFound            a program cannot be started in a node (also an OSError, like subprocess's)

A message is one line: what, where (node, file:line), and what to do about it. The exit code beside each class is what
the command line ends with; `docs/reference/exit-codes.md` lists them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """The place in a file (or a Python program) that a part of a topology was written at."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class WanlabError(Exception):
    """The root of the tree: *what* is wrong, *where*, and what to do about it (*hint*)."""

    exit_code = 1

    def __init__(self, what: str, *, where: Source | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"; {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class TopologyError(WanlabError):
    """What was asked for makes no lab. Raised before anything is built."""

    exit_code = 2


class UsageError(WanlabError):
    """A call or a command line that cannot be meant."""

    exit_code = 2


class ChangedMeanwhile(UsageError):
    """Another program has changed the lab since we heard of it: nothing was done."""


class NoSuchLab(WanlabError):
    """No lab of that name is up."""

    exit_code = 3


class NoSuchNode(WanlabError, KeyError):
    """The lab has no node of that name."""

    exit_code = 3

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return WanlabError.__str__(self)


class LabExists(WanlabError):
    """A lab of that name is up already."""

    exit_code = 3


class MachineError(WanlabError):
    """This machine cannot do what the lab needs; `wanlab doctor` tells more."""

    exit_code = 4


class KernelError(WanlabError):
    """The kernel refused one step of a plan. Everything built so far is gone when this is raised.

    `errno` is the kernel's error number, or 0 where it gave none.
    """

    exit_code = 5

    def __init__(self, what: str, *, errno: int = 0, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.errno = errno


class LabEnded(WanlabError):
    """The lab (the process that holds it) went away while it was being used."""

    exit_code = 6


class ServerFailed(WanlabError):
    """A server that was started in a node did not become ready, or ended though nobody had stopped it."""

    def __init__(self, what: str, *, log: str = "", hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.log = log
        """The last of its output."""

    def __str__(self) -> str:
        said = "".join(f"\n    {line}" for line in self.log.splitlines())
        return f"{super().__str__()}{said and '; the last of its output:'}{said}"


class CommandNotFound(WanlabError, OSError):
    """A program cannot be started in a node. `errno` says why, as in the OSError that `subprocess` raises."""

    exit_code = 127

    def __init__(self, what: str, *, errno: int) -> None:
        WanlabError.__init__(self, what)
        self.errno = errno
        self.exit_code = 127 if errno == 2 else 126  # a shell's: not found, or found and not executable

    def __str__(self) -> str:
        return WanlabError.__str__(self)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint for a misspelt name: the closest known one, or all of them where they are few."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if 0 < len(choices) <= 12:
        return f"there is {', '.join(sorted(choices))}"
    return None
