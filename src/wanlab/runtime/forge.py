"""The forge: one warm process that forks the holders of all labs that a program makes.

Importing Python and wanlab is paid once. The forge has one thread, and ends with the program that started it.

For each lab it forks a *guardian*, which stays in the machine's own namespaces but for the user's: it forks the holder
into a new PID namespace, claims the lab's place, waits for the holder's end and clears the place. From a program's
second lab on a pair of them waits prepared for the next one.

The forge also sees to it that the kernel does not free one lab's namespaces while the next lab is being built
(`remains.py`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import selectors
import signal
import socket
from pathlib import Path

# Everything that a holder needs is imported here, before any fork.
from wanlab.errors import LabEnded, MachineError, WanlabError
from wanlab.kernel import nftables
from wanlab.kernel.syscalls import die_with_parent, set_process_name
from wanlab.kernel.userns import become_root
from wanlab.runtime import holder
from wanlab.runtime.directory import claim, socket_name
from wanlab.runtime.protocol import Frames, Message, error_message, receive, receive_some, send
from wanlab.runtime.remains import Remains


def main() -> None:
    """Serve the program at the other end of the socket that is our stdin: each of its messages orders a lab."""
    set_process_name("wanlab-forge")
    # Whatever the thread that started us blocks: without SIGCHLD a holder would wait for ever.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # What the terminal sends is meant for the program that started us, and reaches labs by its end. Not SIG_IGN: that
    # would be inherited by every program of every lab.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it hands that on, and would have no child to wait for
    with contextlib.suppress(MachineError):
        nftables.require()  # loaded once, for all; a lab that needs it and has it not will say so
    program = socket.socket(fileno=os.dup(0))
    gc.collect()
    gc.freeze()  # forks share these pages as long as nobody touches them
    gc.disable()  # what builds a lab makes no garbage worth looking for; who serves it turns it on again
    _Forge(program).serve()


class _Forge:
    """Takes orders, and between them has a guardian prepared for the next one."""

    def __init__(self, program: socket.socket) -> None:
        self._program = program
        self._mounts = _MountTable()
        self._remains = Remains()
        self._guardians: set[_Guardian] = set()
        """All that run."""
        self._waiting: _Guardian | None = None
        self._building: set[_Guardian] = set()
        """Those whose labs are being built."""
        self._orders = 0
        self._selector = selectors.PollSelector()  # not epoll's: it has no descriptor that a fork would share
        self._selector.register(program, selectors.EVENT_READ, self._hear)

    def serve(self) -> None:
        """Take orders until the program ends."""
        self._frames = Frames()
        self._ended = False
        while not self._ended:
            for key, _ in self._selector.select(None if self._building else self._remains.seconds_left()):
                key.data()
            if not self._building:
                self._remains.let_go_of_old()
        if self._waiting is not None:
            self._waiting.orders.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._waiting.pid, 0)

    def _hear(self) -> None:
        if not receive_some(self._program, self._frames):
            self._ended = True
        while (found := self._frames.next()) is not None:
            order, (owner,) = found
            self._pass_on(order, owner)

    def _pass_on(self, order: Message, owner: int) -> None:
        if self._waiting is not None and self._mounts.changed():
            self._waiting.orders.close()  # its holder would not see what was mounted meanwhile
            self._waiting = None
        guardian = self._waiting or self._fork()
        self._waiting = None
        try:
            send(guardian.orders, order, [owner])
        except ConnectionError:  # somebody killed the one that waited
            guardian.orders.close()
            guardian = self._fork()
            send(guardian.orders, order, [owner])
        os.close(owner)
        self._orders += 1
        self._building.add(guardian)
        self._selector.register(guardian.orders, selectors.EVENT_READ, lambda: self._built(guardian))

    def _built(self, guardian: _Guardian) -> None:
        """A lab is built, or will not be."""
        self._selector.unregister(guardian.orders)
        self._building.discard(guardian)
        with guardian.orders, contextlib.suppress(LabEnded):
            _, guardian.namespaces = receive(guardian.orders, Frames())
        self._remains.let_go()
        if guardian not in self._guardians:  # it has ended before we came to hear that it was built
            self._remains.keep(guardian.namespaces)
        if not self._building and self._waiting is None and self._orders > 1:
            self._mounts.changed()  # until now
            self._waiting = self._fork()  # sooner, it would slow the building down

    def _fork(self) -> _Guardian:
        guardian = _Guardian(self)
        self._guardians.add(guardian)
        self._selector.register(guardian.handle, selectors.EVENT_READ, lambda: self._bury(guardian))
        return guardian

    def _bury(self, guardian: _Guardian) -> None:
        """A guardian has ended, and so has its lab."""
        os.waitpid(guardian.pid, 0)
        self._selector.unregister(guardian.handle)
        os.close(guardian.handle)
        self._guardians.discard(guardian)
        if guardian is self._waiting:
            self._waiting = None
        self._remains.keep(guardian.namespaces)

    def close(self) -> None:
        """In a fork: close what is the forge's alone. A namespace would last as long as we do."""
        self._program.close()
        self._mounts.close()
        self._remains.let_go()
        for guardian in self._guardians:
            for descriptor in (guardian.handle, *guardian.namespaces):
                os.close(descriptor)
            guardian.orders.close()


class _MountTable:
    """Tells whether anything was mounted or unmounted since it was last asked (proc_pid_mounts(5): by poll)."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/mounts", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI)

    def changed(self) -> bool:
        return bool(self._poll.poll(0))

    def close(self) -> None:
        os.close(self._file)


class _Guardian:
    """A guardian, as the forge sees it: what it shall guard is sent to it by `orders`."""

    def __init__(self, forge: _Forge) -> None:
        self.namespaces: list[int] = []
        """Descriptors that keep its lab's namespaces; known once the lab is built."""
        self.orders, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            forge.close()
            self.orders.close()
            _guard(theirs)
        self.handle = os.pidfd_open(self.pid)
        theirs.close()


def _guard(orders: socket.socket) -> None:
    """In the guardian: never returns."""
    code = 1
    owner: socket.socket | None = None
    try:
        os.setsid()
        _let_go_of_stdio()
        set_process_name("wanlab-guard")
        try:
            holding: tuple[int, socket.socket] | WanlabError = _fork_holder()
        except WanlabError as error:
            holding = error
        try:
            order, (descriptor,) = receive(orders, Frames())
        except LabEnded:  # the program ended, and needs no lab
            _dismiss(holding)
        else:
            owner = socket.socket(fileno=descriptor)
            if isinstance(holding, WanlabError):
                raise holding
            _hold(*holding, order, owner, orders)
        code = 0
    except BaseException as error:
        # Nothing may escape into the forge's loop, and nothing may be passed over in silence.
        if owner is not None:
            with contextlib.suppress(OSError):
                send(owner, error_message(error))
    finally:
        if owner is not None:
            owner.close()  # now, and not after the pages of this process: somebody waits for it
        os._exit(code)


def _fork_holder() -> tuple[int, socket.socket]:
    """A holder that prepares itself: its PID, and the socket by which it is told what to hold. Raises MachineError."""
    become_root()
    ours, theirs = socket.socketpair()
    alive, living = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(living)
            ours.close()
            die_with_parent(signal.SIGKILL)
            if not select.select([alive], [], [], 0)[0]:  # else the guardian died before the line above
                os.close(alive)
                holder.run(theirs)
        finally:
            os._exit(1)
    os.close(alive)
    theirs.close()
    # The guardian keeps `living` until it ends.
    return child, ours


def _dismiss(holding: tuple[int, socket.socket] | WanlabError) -> None:
    if not isinstance(holding, WanlabError):
        child, link = holding
        link.close()
        os.waitpid(child, 0)


def _hold(child: int, link: socket.socket, order: Message, owner: socket.socket, orders: socket.socket) -> None:
    """Give the holder its lab, and clear up after its end."""
    place = claim(Path(order["directory"]), order["name"])
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with socket_name(place.path) as name:
                listener.bind(name)
            listener.listen(128)
            descriptors = [owner.fileno(), listener.fileno(), place.lock, orders.fileno()]
            with contextlib.suppress(ConnectionError):
                send(link, {"name": order["name"], "inside": str(place.mounts)}, descriptors)
        link.close()
        orders.close()  # the holder has the other one, and tells by it that the lab is built
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
        # The owner's socket stays open here too: its end tells the owner that everything is gone and cleared.
        os.waitpid(child, 0)
    finally:
        place.clear()


def _let_go_of_stdio() -> None:
    # A lab outlives `wanlab up`: it must not keep a terminal or a pipe of its caller open.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    main()
