"""The programs that are in a node, whoever started them: found by the network namespace that they are in."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator

_PATIENCE = 2.0  # seconds that the kernel may take to end what was killed
_LOOK_AGAIN = 0.001

Identity = tuple[int, int]
"""Of a namespace: see `Namespaces.identity`."""


def end_programs(namespaces: Collection[Identity]) -> None:
    """End all programs in these network namespaces at once, and return when there are none."""
    deadline = time.monotonic() + _PATIENCE
    while namespaces and any(list(_kill(namespaces))) and time.monotonic() < deadline:  # they may have forked meanwhile
        time.sleep(_LOOK_AGAIN)


def _kill(namespaces: Collection[Identity]) -> Iterator[bool]:
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        # Where /proc is that of the machine its numbers are not ours: a process is signalled by its directory.
        with contextlib.suppress(OSError):  # it has ended
            process = os.open(f"/proc/{entry}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                status = os.stat("ns/net", dir_fd=process)
                if (status.st_dev, status.st_ino) in namespaces:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    yield True
            finally:
                os.close(process)
