"""The system calls that Python 3.11 has no function for. Each raises OSError with the kernel's errno."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# include/uapi/linux/mount.h
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Leave some of this process's namespaces for new ones (unshare(2))."""
    _call("unshare", flags)


def setns(fd: int, kind: int = 0) -> None:
    """Enter the namespace that *fd* refers to (setns(2))."""
    _call("setns", fd, kind)


def mount(source: str | Path, target: str | Path, kind: str | None = None, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )


def unmount(target: str | Path, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    _call("umount2", os.fsencode(target), flags)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _call("sethostname", encoded, len(encoded))


def die_with_parent(signal: int) -> None:
    """Have the kernel send *signal* to this process when its parent dies (PR_SET_PDEATHSIG)."""
    _call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(signal))


def set_process_name(name: str) -> None:
    """What `ps -o comm` shows for this process; 15 bytes at most (PR_SET_NAME)."""
    _call("prctl", _PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))
