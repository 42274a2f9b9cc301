"""Where labs that are up can be found: `$XDG_RUNTIME_DIR/wanlab/<lab>/socket`, else `/tmp/wanlab-<uid>/<lab>/socket`.

Who reaches such a socket can run commands as its owner, so the directory is 0700, ours, and no symlink. A lab's place
is locked by the processes that hold the lab: a place whose lock is free is a ruin, and is cleared when met.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanlab.errors import LabExists, MachineError, UsageError
from wanlab.topology.names import is_label

INHERITED = "WANLAB_RUNTIME_DIR"
"""Tells programs inside a lab the directory of the one who started them: a user is 0 in there, and has no login."""


def runtime_directory() -> Path:
    """This user's directory of labs, made where it is missing. Raises MachineError where it is another user's."""
    inherited = os.environ.get(INHERITED)
    if inherited and _is_ours(Path(inherited)):
        return _private(Path(inherited))
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and _is_ours(Path(given)):
        return _private(Path(given, "wanlab"))
    return _private(Path(f"/tmp/wanlab-{os.geteuid()}"))


def check_lab_name(name: str) -> None:
    """Refuse a lab's name that is not made of hostname labels."""
    if len(name) > 100 or not all(is_label(part) for part in name.split(".")):
        raise UsageError(f"{name!r} cannot name a lab", hint="use letters, digits and inner hyphens")


class Place:
    """A lab's own directory, locked. The lock lasts as long as any process has `lock` open."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    @property
    def mounts(self) -> Path:
        """An empty directory: inside the lab's mount namespace, its own files are mounted there."""
        return self.path / "inside"

    def clear(self) -> None:
        """Remove the place and what is in it."""
        # In turn: else it could be the ruin, then the new place, of somebody who claims the same name meanwhile.
        with _turn(self.path.parent):
            try:
                for name in ("socket", "lock"):
                    os.unlink(self.path / name)
                os.rmdir(self.path / "inside")
                os.rmdir(self.path)
            except OSError:  # somebody has put something there
                shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def socket_name(place: Path) -> Iterator[str]:
    """The name to bind or connect a lab's socket by: never too long for one (107 bytes), as the path could be."""
    descriptor = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/socket"
    finally:
        os.close(descriptor)


def claim(directory: Path, name: str) -> Place:
    """Take the place of the lab *name*. Raises LabExists where it is up."""
    path = directory / name
    with _turn(directory):
        if path.is_dir() and not _clear_if_ruin(path):
            raise LabExists(
                f"lab {name!r} is up already", hint=f"wanlab down --lab {name}, or give this one another --name"
            )
        path.mkdir(mode=0o700)
        (path / "inside").mkdir(mode=0o700)
        lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return Place(path, lock)


def labs(directory: Path) -> list[str]:
    """The names of the labs that are up, sorted; ruins are cleared on the way."""
    found = []
    with _turn(directory):
        for path in sorted(directory.iterdir()):
            if path.is_dir() and not _clear_if_ruin(path):
                found.append(path.name)
    return found


def _clear_if_ruin(path: Path) -> bool:
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)  # its maker died before it had a lock: we hold the turn
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    shutil.rmtree(path, ignore_errors=True)
    return True


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """One process at a time makes or clears places."""
    lock = os.open(directory / ".turn", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o022


def _private(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise MachineError(f"cannot make {path}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise MachineError(f"{path} belongs to somebody else", hint="remove it, or set XDG_RUNTIME_DIR")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return path
