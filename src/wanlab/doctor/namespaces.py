"""Whether this machine makes namespaces as labs need them."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from wanlab.doctor.cures import blocker, container, line_of, namespaces, package, refused
from wanlab.doctor.kernel_calls import LO, netlink_socket, write_and_read
from wanlab.doctor.probe import Lacking, Probe
from wanlab.errors import MachineError
from wanlab.kernel.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    mount,
    unshare,
)
from wanlab.kernel.userns import become_root

USER_NAMESPACES = "user namespaces"


def _become_root() -> str:
    number = _refusal(CLONE_NEWUSER | CLONE_NEWPID)
    try:
        if become_root():
            return f"root in one, with {_ids(_mapped_ids())}"
    except MachineError as error:
        # Ubuntu 24.04 makes the namespace, and leaves no capability in it.
        why, cure = blocker(number or errno.EPERM)
        raise Lacking(f"{error.what}: {why}", cure) from None
    why, cure = blocker(number)
    raise Lacking(f"{os.strerror(number)}: {why}; root does without", cure, needed=False)


def _refusal(flags: int) -> int:
    """The errno with which a child is refused these namespaces, or 0."""
    child = os.fork()
    if child == 0:
        number = 0
        try:
            unshare(flags)
        except OSError as error:
            number = error.errno or errno.EPERM
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _mapped_ids() -> int:
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())


def _ids(number: int) -> str:
    return "1 id" if number == 1 else f"{number} ids"


def _subordinate_ids() -> str:
    uid = int(Path("/proc/self/uid_map").read_text().split()[1])
    if uid == 0:
        raise Lacking("not needed: root gives all ids that it has", ok=None)
    ids = _mapped_ids()
    if ids > 1:
        return _ids(ids)
    if not all(shutil.which(program) for program in ("newuidmap", "newgidmap")):
        raise Lacking("newuidmap and newgidmap are not installed", package("uidmap", "shadow-utils"))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    files = ("/etc/subuid", "/etc/subgid")
    without = [f for f in files if all(line_of(f, f"{owner}:") is None for owner in (name, str(uid)))]
    if without:
        start = max((end for file in files for end in _ends(file)), default=100000)
        entry = f"{name}:{start}:65536"
        raise Lacking(f"no range for {name} in {', '.join(without)}", f"echo {entry} | sudo tee -a {' '.join(without)}")
    raise Lacking(f"newuidmap refuses the range of {name} (no_new_privs, or a mount with nosuid?)")


def _ends(file: str) -> Iterator[int]:
    """The first id after each range in /etc/subuid or /etc/subgid."""
    for line in Path(file).read_text().splitlines() if Path(file).exists() else ():
        _, _, numbers = line.partition(":")
        start, _, count = numbers.partition(":")
        if start.isdigit() and count.isdigit():
            yield int(start) + int(count)


def _own_mounts() -> str:
    unshare(CLONE_NEWNS | CLONE_NEWUTS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("wanlab", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700")
    return "private, with a tmpfs"


def _own_network() -> str:
    unshare(CLONE_NEWNET)
    with netlink_socket() as netlink:
        netlink.set_up(LO)
    return "made and entered"


def _own_proc() -> str:
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return "mounted"


def _own_sys() -> str:
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return "mounted"


def _sysctls() -> str:
    write_and_read("net/ipv4/ip_forward", "1")
    return "written and read back"


NAMESPACES = (
    Probe(USER_NAMESPACES, "being root of a lab, and of nothing else", _become_root, refused, True, None),
    Probe("mounts", "a lab's own /etc/hosts and resolver", _own_mounts, namespaces("mnt"), True, USER_NAMESPACES),
    Probe("network namespaces", "every node is one", _own_network, namespaces("net"), True, "mounts"),
    Probe("network sysctls", "routers that forward", _sysctls, container, True),
    Probe("a /proc of its own", "programs of a lab see no others", _own_proc, container),
    Probe("a /sys of its own", "a node's interfaces in /sys/class/net", _own_sys, container),
    Probe("subordinate ids", "programs in a node that change their user", _subordinate_ids),
)
