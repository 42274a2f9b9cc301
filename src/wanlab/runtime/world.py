"""What the processes of a lab see besides the network: mounts, names, /proc, /sys and hostname.

Three kinds of mount namespace: the lab's *base* (private mounts, its own /proc, hosts, resolver), one for each *node*
that runs something (the base with the node's own /sys), and the holder's own (the base with a handle on every network
namespace).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanlab.kernel.execute import Namespaces
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

_LONGEST_HOSTNAME = 64  # include/linux/utsname.h; the name of a lab may be longer than that of a node
_MOST_VIEWS = 256  # nodes whose mount and UTS namespaces are kept, at two descriptors each

_RESOLVER = "# nothing outside this lab answers: names are in /etc/hosts\n"
# Sources like `resolve`, `mymachines` and `mdns` would ask daemons of the machine, by sockets that no namespace closes.
_HOST_SOURCES = "hosts: files dns\n"
_ANY_HOST_SOURCES = re.compile(r"^\s*hosts:.*\n?", re.MULTILINE)  # compiled once, by the forge

_View = tuple[int, int]
"""Descriptors of a mount and a UTS namespace."""


class World:
    """The namespaces of a lab. Made by its first process, which has one thread and steps into them and back."""

    def __init__(self) -> None:
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)  # as root on a shared /, what follows would reach the machine
        # Containers cover parts of /proc, and then the kernel gives no new one. The old one works, and shows more.
        with contextlib.suppress(PermissionError):
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        self.namespaces = Namespaces()
        self._resolver = {"/etc/resolv.conf": _RESOLVER}
        with contextlib.suppress(OSError):
            switch = Path("/etc/nsswitch.conf")
            self._resolver[str(switch)] = _ANY_HOST_SOURCES.sub(_HOST_SOURCES, switch.read_text())
        self._views: OrderedDict[str | None, _View] = OrderedDict()

    def furnish(self, inside: Path, hosts: str, hostname: str) -> None:
        """Give the lab its names. *inside* is an empty directory for its files; only the lab sees what is in it."""
        mount("wanlab", inside, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700")
        self._hosts = inside / "hosts"
        self._cover_names(inside, hosts)
        sethostname(hostname[:_LONGEST_HOSTNAME])
        self._base = _own_view()
        handles = inside / "netns"
        handles.mkdir()
        self.namespaces.directory = handles
        # From here on in a copy: handles of namespaces stay out of the base, where thousands would slow every unshare.
        unshare(CLONE_NEWNS)
        self._home = _own_view()

    def handles(self) -> list[int]:
        """Descriptors by which all network namespaces of the lab last, even when it has ended."""
        return [self._home[0], self.namespaces.home]

    def rename(self, hosts: str) -> None:
        """Give the lab other names: programs that run read them the next time that they look."""
        self._hosts.write_text(hosts)  # the same file as before: what covers /etc/hosts is it and not its name

    def _cover_names(self, inside: Path, hosts: str) -> None:
        """Cover /etc/hosts and the resolver's files, where the machine has them, for all processes of the lab."""
        for target, text in {"/etc/hosts": hosts, **self._resolver}.items():
            cover = os.path.join(inside, os.path.basename(target))
            descriptor = os.open(cover, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC)
            os.write(descriptor, text.encode())
            os.fchmod(descriptor, 0o644)  # whatever the umask
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):  # a machine without the file: nothing to cover
                mount(cover, target, flags=MS_BIND)
        with contextlib.suppress(FileNotFoundError):
            mount("wanlab", "/run/nscd", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")

    @contextmanager
    def inside(self, node: str | None) -> Iterator[None]:
        """Be inside *node*, with its network, /sys and hostname; None: where `ip netns` knows the lab's nodes."""
        self.namespaces.enter(node)  # first: what its handle is called is known in the holder's own mounts only
        try:
            view = self._views.get(node)
            if view is None:
                view = self._make_view(node)
            else:
                _enter(view)
            self._views.move_to_end(node)
            yield
        finally:
            _enter(self._home)
            self.namespaces.enter(None)

    def forget(self, node: str) -> None:
        """Keep nothing of a node that is being taken away."""
        for descriptor in self._views.pop(node, ()):
            os.close(descriptor)

    def _make_view(self, node: str | None) -> _View:
        """Make, enter and keep the mount and UTS namespaces of a node, or those of `wanlab shell`."""
        if node is not None:
            setns(self._base[0], CLONE_NEWNS)
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        if node is not None:
            sethostname(node)
        else:
            self._show_handles()
        # A container that covers parts of /sys gets no new one: programs see the machine's interfaces there, no more.
        with contextlib.suppress(PermissionError):
            mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        view = _own_view()
        while len(self._views) >= _MOST_VIEWS:
            for descriptor in self._views.popitem(last=False)[1]:
                os.close(descriptor)
        self._views[node] = view
        return view

    def _show_handles(self) -> None:
        """Put the handles where iproute2 looks for them."""
        netns = Path("/run/netns")
        if not netns.is_dir():
            _rebuild_run()
        mount(self.namespaces.directory, netns, flags=MS_BIND | MS_REC)


def _own_view() -> _View:
    return (
        os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC),
        os.open("/proc/self/ns/uts", os.O_RDONLY | os.O_CLOEXEC),
    )


def _enter(view: _View) -> None:
    setns(view[0], CLONE_NEWNS)
    setns(view[1], CLONE_NEWUTS)


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
