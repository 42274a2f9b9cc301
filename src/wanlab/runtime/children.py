"""Starting programs inside nodes, by the holder."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from collections import OrderedDict
from dataclasses import dataclass

from wanlab.kernel.execute import Namespaces
from wanlab.kernel.syscalls import CLONE_NEWNS, CLONE_NEWUTS, setns
from wanlab.runtime.world import World

_MOST_CACHED = 256  # nodes whose mount namespaces are kept, at two descriptors each


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: in *node*, or where None in the lab's own view, with the caller's stdio."""

    node: str | None
    argv: list[str]
    environment: dict[str, str]
    directory: str
    terminal: bool
    """Whether its stdin is a terminal of its own, to control."""


class CannotStart(Exception):
    """The child could not become the program: `errno`, and whether it was the *directory* that failed."""

    def __init__(self, errno: int, stage: str) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno
        self.stage = stage


class Nursery:
    """Forks the lab's programs, and keeps each used node's mount and UTS namespaces."""

    def __init__(self, world: World, namespaces: Namespaces, limits: tuple[int, int]) -> None:
        self._world = world
        self._namespaces = namespaces
        self._limits = limits
        """The caller's own soft and hard limit of open files: the holder has raised its soft one."""
        self._views: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def start(self, command: Command, stdio: list[int]) -> int:
        """Fork and start; returns the PID (as seen inside the lab) once the program runs. Raises CannotStart."""
        view = self._views.get(command.node) if command.node else None
        report, tell = os.pipe()
        go, release = os.pipe()
        # The network namespace is entered before the fork: what its handle means differs between mount namespaces.
        self._namespaces.enter(command.node)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(command, stdio, view, tell, go)
        finally:
            self._namespaces.enter(None)
        os.close(tell)
        os.close(go)
        try:
            if command.node and view is None and os.read(report, 1) == b"v":
                self._remember(command.node, pid)
                os.write(release, b"g")
            answer = os.read(report, 64)
        finally:
            os.close(report)
            os.close(release)
        if answer:
            os.waitpid(pid, 0)
            stage, _, number = answer.decode().partition(" ")
            raise CannotStart(int(number), stage)
        return pid

    def _remember(self, node: str, pid: int) -> None:
        if len(self._views) >= _MOST_CACHED:
            _, old = self._views.popitem(last=False)
            for descriptor in old:
                os.close(descriptor)
        self._views[node] = (
            os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC),
            os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC),
        )

    def _become(self, command: Command, stdio: list[int], view: tuple[int, int] | None, tell: int, go: int) -> None:
        """In the child: never returns."""
        stage = "enter"
        try:
            os.setsid()
            if command.node is None:
                self._world.make_shell()
            elif view is None:
                self._world.make_node(command.node)
                os.write(tell, b"v")
                os.read(go, 1)
            else:
                setns(view[0], CLONE_NEWNS)
                setns(view[1], CLONE_NEWUTS)
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for target, descriptor in enumerate(stdio):
                os.dup2(descriptor, target)
            if command.terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            stage = "directory"
            os.chdir(command.directory)
            stage = "program"
            os.execvpe(command.argv[0], command.argv, command.environment)
        except OSError as error:
            os.write(tell, f"{stage} {error.errno or 0}".encode())
        finally:
            os._exit(127)
