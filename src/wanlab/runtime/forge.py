"""The forge: one warm process that forks the holders of all labs that a program makes.

Importing Python and wanlab is paid once; a lab costs two forks. It is started before it is known what labs there will be,
has one thread, and ends with the program that started it.

For each lab it forks a *guardian*, which stays in the machine's own namespaces but for the user's: it claims the lab's place,
forks the holder into a new PID namespace, waits for its end and clears the place.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path

# Everything that a holder needs is imported here, before any fork.
from wanlab.errors import WanlabError
from wanlab.kernel.syscalls import die_with_parent, set_process_name
from wanlab.kernel.userns import become_root
from wanlab.runtime import holder
from wanlab.runtime.directory import claim
from wanlab.runtime.protocol import Frames, error_message, receive, receive_some, send


def main() -> None:
    """Serve the program at the other end of the socket that is our stdin: each descriptor that it sends owns a new lab."""
    set_process_name("wanlab-forge")
    # What the terminal sends is meant for the program that started us, and reaches labs by its end.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for guardians: the kernel may forget them
    program = socket.socket(fileno=os.dup(0))
    gc.collect()
    gc.freeze()  # forks share these pages as long as nobody touches them
    frames = Frames()
    while receive_some(program, frames):
        while (found := frames.next()) is not None:
            _, descriptors = found
            for descriptor in descriptors:
                if os.fork() == 0:
                    program.close()
                    _guard(socket.socket(fileno=descriptor))
                os.close(descriptor)


def _guard(owner: socket.socket) -> None:
    """In the guardian: never returns."""
    code = 1
    try:
        os.setsid()
        _let_go_of_stdio()
        set_process_name("wanlab-guard")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            lab, _ = receive(owner, Frames())
            code = _hold(owner, lab)
        except WanlabError as error:
            with contextlib.suppress(OSError):
                send(owner, error_message(error))
    except BaseException as error:  # noqa: BLE001 - nothing may escape into the forge's loop, and silence would be worse
        with contextlib.suppress(OSError):
            send(owner, error_message(error if isinstance(error, Exception) else RuntimeError(repr(error))))
    finally:
        os._exit(code)


def _hold(owner: socket.socket, lab: dict[str, object]) -> int:
    place = claim(Path(str(lab["directory"])), str(lab["name"]))
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(place.socket))
        listener.listen(128)
        become_root()
        alive, living = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(living)
            die_with_parent(signal.SIGKILL)
            if select.select([alive], [], [], 0)[0]:
                os._exit(1)  # the guardian died before the line above
            # /proc is still the machine's: it knows us by the PID that the machine knows us by.
            holder.run(owner, listener, place.mounts, int(os.readlink("/proc/self")), lab)
            os._exit(1)
        os.close(alive)
        listener.close()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
        # The owner's socket stays open here too: its end tells the owner that everything is gone and cleared.
        os.waitpid(child, 0)
        return 0
    finally:
        place.clear()


def _let_go_of_stdio() -> None:
    # A lab outlives `wanlab up`: it must not keep a terminal or a pipe of its caller open.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
