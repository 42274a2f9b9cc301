"""What the processes of a lab see besides the network: mounts, names, /proc, /sys and hostname.

Three kinds of mount namespace: the lab's *base* (private mounts, its own /proc, hosts, resolver), one for each *node* that
runs something (the base with the node's own /sys), and the holder's own (the base with a handle on every network namespace).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from wanlab.kernel.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUTS,
    MS_BIND,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    mount,
    sethostname,
    setns,
    unshare,
)

_RESOLVER = "# nothing outside this lab answers: names are in /etc/hosts\n"
# Sources like `resolve`, `mymachines` and `mdns` would ask daemons of the machine, by sockets that no namespace closes.
_HOST_SOURCES = "hosts: files dns\n"


class World:
    """The mount namespaces of a lab. Made by the holder, once, after it has become the lab's first process."""

    def __init__(self, inside: Path, hosts: str, hostname: str) -> None:
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)  # as root on a shared /, what follows would reach the machine
        mount("wanlab", inside, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700")
        self._mount_proc()
        self._cover_names(inside, hosts)
        sethostname(hostname)
        self._base = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self.handles = inside / "netns"
        self.handles.mkdir()
        # From here on in a copy: handles of namespaces stay out of the base, where thousands would slow every unshare.
        unshare(CLONE_NEWNS)

    @staticmethod
    def _mount_proc() -> None:
        try:
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        except PermissionError:
            # Containers cover parts of /proc, and then the kernel gives no new one. The old one works, and shows more.
            pass

    @staticmethod
    def _cover_names(inside: Path, hosts: str) -> None:
        """Cover /etc/hosts and the resolver's files, where the machine has them, for all processes of the lab."""
        texts = {"/etc/hosts": hosts, "/etc/resolv.conf": _RESOLVER}
        switch = Path("/etc/nsswitch.conf")
        if switch.is_file():
            texts[str(switch)] = re.sub(r"(?m)^\s*hosts:.*\n?", _HOST_SOURCES, switch.read_text())
        for target, text in texts.items():
            cover = inside / Path(target).name
            cover.write_text(text)
            cover.chmod(0o644)
            if Path(target).exists():
                mount(cover, target, flags=MS_BIND)
        if Path("/run/nscd").is_dir():
            mount("wanlab", "/run/nscd", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")

    def enter_base(self) -> None:
        """Enter the base: for a process of no node."""
        setns(self._base, CLONE_NEWNS)

    def make_node(self, node: str) -> None:
        """Make and enter a node's own mount and UTS namespaces; the caller is in its network namespace already."""
        self.enter_base()
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        sethostname(node)
        mount_sys()

    def make_shell(self) -> None:
        """Make and enter a view in which `ip netns` knows the lab's nodes: /run/netns holds their handles."""
        unshare(CLONE_NEWNS)
        netns = Path("/run/netns")
        if not netns.is_dir():
            _rebuild_run()
        mount(self.handles, netns, flags=MS_BIND | MS_REC)
        mount_sys()


def mount_sys() -> None:
    """Mount a /sys that shows the caller's network namespace."""
    try:
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:
        pass  # a container that covers parts of /sys: programs see the machine's interfaces there, and no harm is done


def _rebuild_run() -> None:
    """Cover /run by a copy that has /run/netns: a user can make no directory in the real one, and root should not."""
    copy = Path("/tmp")
    entries = list(_entries(Path("/run")))
    # It is put together where a mount point certainly exists, and moved into place: /tmp is uncovered again by that.
    mount("wanlab", copy, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for entry, kind in entries:
        target = copy / entry.name
        if kind == "link":
            target.symlink_to(entry.readlink())
            continue
        if kind == "directory":
            target.mkdir()
        else:
            target.touch()
        mount(entry, target, flags=MS_BIND | MS_REC)
    (copy / "netns").mkdir()
    mount(copy, "/run", flags=MS_MOVE)


def _entries(directory: Path) -> Iterator[tuple[Path, str]]:
    for entry in directory.iterdir():
        if entry.is_symlink():
            yield entry, "link"
        elif entry.is_dir():
            yield entry, "directory"
        else:
            yield entry, "file"
