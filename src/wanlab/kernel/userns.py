"""Becoming root of a user namespace of one's own, and why a machine may refuse it."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from wanlab.errors import MachineError
from wanlab.kernel.syscalls import CLONE_NEWPID, CLONE_NEWUSER, unshare

_ALL = "0 0 4294967295\n"  # root keeps every id that there is


def become_root() -> bool:
    """Enter new user and PID namespaces (the PID one is the next child's), mapped so that the caller is root in them.

    Root keeps all ids; a user gets 0, and the ids of its /etc/subuid range where newuidmap and newgidmap grant them.
    Root goes on without a user namespace where that is refused. Returns whether there is one. Raises MachineError with
    the cure.
    """
    uid, gid = os.geteuid(), os.getegid()
    outside = _Outside(uid, gid)
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWPID)
    except OSError as error:
        outside.abandon()
        if uid != 0:
            raise MachineError(
                f"this machine refuses user namespaces ({error.strerror})", hint=refusal_cure(error.errno or 0)
            ) from None
        try:
            unshare(CLONE_NEWPID)
        except OSError as second:
            raise MachineError(
                f"this root may make no namespaces ({second.strerror})",
                hint="in a container, run it with --privileged, or as a user where user namespaces are allowed",
            ) from None
        return False
    mapped = outside.map_this_process()
    if not mapped:
        try:
            _map_only_self(uid, gid)
        except OSError as error:
            # Ubuntu 24.04: the namespace is made, and AppArmor then leaves no capability in it.
            raise MachineError(
                f"this machine makes user namespaces powerless ({error.strerror})", hint=refusal_cure(error.errno or 0)
            ) from None
    os.setgid(0)
    os.setuid(0)
    return True


def refusal_cure(number: int) -> str:
    """What to do about a refused user namespace, from what this machine says of itself."""
    for setting, blocks, cure in (
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=10000"),
    ):
        if _read(setting) == blocks:
            return f"allow them: {cure}"
    if number == errno.ENOSPC:
        return "too many are in use: sudo sysctl -w user.max_user_namespaces=10000"
    return "in a container, allow unshare (docker run --security-opt seccomp=unconfined), or run wanlab as root"


def _read(setting: str) -> str | None:
    try:
        return Path("/proc/sys", setting).read_text().strip()
    except OSError:
        return None


class _Outside:
    """A helper that stays in the parent's user namespace: only there may more than one's own id be mapped."""

    def __init__(self, uid: int, gid: int) -> None:
        self._child = 0
        commands = None if uid == 0 else _subordinate_commands(uid, gid)
        if uid != 0 and commands is None:
            return  # nobody outside could do more than we can
        wait, self._go = os.pipe()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._go)
            code = 1
            try:
                if os.read(wait, 1):
                    code = _map_all(parent) if commands is None else _map_by(commands, parent)
            finally:
                os._exit(code)
        os.close(wait)

    def map_this_process(self) -> bool:
        """Let the helper write the maps. False where it could not, or where there is none."""
        return self._finish(b"g") == 0 if self._child else False

    def abandon(self) -> None:
        """Let the helper go without mapping."""
        if self._child:
            self._finish(b"")

    def _finish(self, word: bytes) -> int:
        os.write(self._go, word)
        os.close(self._go)
        return os.waitpid(self._child, 0)[1]


def _map_all(pid: int) -> int:
    try:
        Path(f"/proc/{pid}/uid_map").write_text(_ALL)
        Path(f"/proc/{pid}/gid_map").write_text(_ALL)
    except OSError:
        return 1
    return 0


def _map_by(commands: list[list[str]], pid: int) -> int:
    for program, *ranges in commands:
        done = subprocess.run([program, str(pid), *ranges], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            return 1
    return 0


def _map_only_self(uid: int, gid: int) -> None:
    # A user without newuidmap may map only its own id, and must first give up setgroups(2) (user_namespaces(7)).
    Path("/proc/self/setgroups").write_text("deny")
    for name, own in (("uid_map", uid), ("gid_map", gid)):
        try:
            Path("/proc/self", name).write_text(f"0 {own} 1\n")
        except PermissionError:
            if not Path("/proc/self", name).read_text().strip():  # unless a helper got half of the way
                raise


def _subordinate_commands(uid: int, gid: int) -> list[list[str]] | None:
    """The newuidmap and newgidmap calls that give this user its ranges, or None where it has none."""
    programs = shutil.which("newuidmap"), shutil.which("newgidmap")
    ranges = _subordinate_range("/etc/subuid", uid), _subordinate_range("/etc/subgid", uid)
    if None in programs or None in ranges:
        return None
    return [
        [str(program), "0", str(own), "1", "1", *(str(number) for number in given or ())]
        for program, given, own in zip(programs, ranges, (uid, gid), strict=True)
    ]


def _subordinate_range(file: str, uid: int) -> tuple[int, int] | None:
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        names = {str(uid)}
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        owner, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if owner in names and start.isdigit() and count.isdigit():
            return int(start), int(count)
    return None
