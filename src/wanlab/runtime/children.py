"""Starting programs inside nodes, by the holder."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import termios
from collections.abc import Callable
from dataclasses import dataclass

from wanlab.runtime.world import World


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: in *node*, or where None in the lab's own view, with the caller's stdio."""

    node: str | None
    argv: list[str]
    environment: dict[str, str]
    directory: str
    terminal: bool
    """Whether its stdin is a terminal of its own, to control."""
    umask: int
    open_files: tuple[int, int]
    """The caller's own soft and hard limit of open files: those of the holder are none of a program's business."""


class CannotStart(Exception):
    """The child could not become the program: `errno`, and whether it was the directory that failed."""

    def __init__(self, errno: int, *, directory: bool) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno
        self.directory = directory


class Nursery:
    """Starts the lab's programs.

    The holder itself steps into the node and back: a child that has nothing to do but `exec` can be made by vfork, at a
    fraction of what a fork of this process costs.
    """

    def __init__(self, world: World, most_open_files: int) -> None:
        self._world = world
        self._most = most_open_files
        """The holder's limit of open files, soft and hard."""

    def start(self, command: Command, stdio: list[int]) -> int:
        """Start a program; returns its PID (as seen inside the lab) once it runs. Raises CannotStart."""
        hard = min(command.open_files[1], self._most)
        limits = min(command.open_files[0], hard), hard
        with self._world.inside(command.node):
            try:
                lowered = self._lower_limit(limits)
                # A preparation in the child makes it a full fork.
                prepare = self._preparation(command, None if lowered else limits)
                child = subprocess.Popen(
                    command.argv,
                    stdin=stdio[0],
                    stdout=stdio[1],
                    stderr=stdio[2],
                    env=command.environment,
                    cwd=command.directory,
                    umask=command.umask,
                    start_new_session=True,
                    preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
                )
            except OSError as error:
                raise CannotStart(error.errno or 0, directory=error.filename == command.directory) from None
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self._most, self._most))
        child.returncode = 0  # the holder reaps all children itself: Popen need not care
        return child.pid

    def _lower_limit(self, limits: tuple[int, int]) -> bool:
        """Take on the caller's own limit for the child to inherit; False where that would not do."""
        soft, hard = limits
        lowest_free = os.dup(0)
        os.close(lowest_free)
        if lowest_free + 8 > soft or hard < self._most:  # no descriptor would be free; or there were no way back
            return False
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return True

    @staticmethod
    def _preparation(command: Command, limits: tuple[int, int] | None) -> Callable[[], None] | None:
        if limits is None and not command.terminal:
            return None

        def prepare() -> None:
            if limits is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            if command.terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        return prepare
