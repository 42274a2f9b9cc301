"""Takes the steps of a plan: the only thing in wanlab that builds networks.

Runs in a process with one thread that may change its network namespace at will (the holder). Consecutive steps of one
node are taken in one visit to its namespace, and their netlink messages travel together.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from wanlab.errors import KernelError
from wanlab.kernel import nftables
from wanlab.kernel.netlink import MOST_ANSWERS, Netlink
from wanlab.kernel.syscalls import CLONE_NEWNET, MS_BIND, mount, setns, unshare
from wanlab.plan.steps import (
    AddAddress,
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    End,
    Enslave,
    LoadRuleset,
    SetSysctl,
    SetUp,
    Step,
)

_LO = 1  # the index of `lo` in every namespace


class Namespaces:
    """The network namespaces of a lab, each held by a bind mount `<directory>/<node>`: no descriptor, no process."""

    directory: Path
    """Set before the first one is made."""

    def __init__(self) -> None:
        unshare(CLONE_NEWNET)  # a namespace of the lab's own, with no cable, for what runs in no node
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._here: str | None = None

    def create(self, node: str) -> None:
        """Make a namespace and enter it."""
        unshare(CLONE_NEWNET)
        self._here = node
        handle = self.directory / node
        os.close(os.open(handle, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        mount("/proc/self/ns/net", handle, flags=MS_BIND)

    def enter(self, node: str | None) -> None:
        """Enter a node's namespace; None: the lab's own, which has no cables."""
        if node == self._here:
            return
        if node is None:
            setns(self._home, CLONE_NEWNET)
        else:
            handle = self.open(node)
            try:
                setns(handle, CLONE_NEWNET)
            finally:
                os.close(handle)
        self._here = node

    def open(self, node: str) -> int:
        """A descriptor of a node's namespace; the caller closes it."""
        return os.open(self.directory / node, os.O_RDONLY | os.O_CLOEXEC)


class Executor:
    """Takes steps, and remembers which index every interface that it made has."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._indices: dict[tuple[str, str], int] = {}
        self._next: dict[str, int] = {}
        self._netlink: Netlink | None = None
        self._sent: list[Step] = []
        """The steps whose messages wait in the netlink socket."""
        self._peers: dict[tuple[str, str], tuple[str, str]] = {}
        """For each end of a cable made here, the other."""
        self._up: set[tuple[str, str]] = set()
        self._unsettled: dict[str, list[tuple[Step, str]]] = {}
        """Ends that got their carrier after they were brought up, by node."""
        self._handles: dict[str, int] = {}
        """Descriptors of namespaces that waiting messages refer to."""

    def execute(self, steps: Sequence[Step], progress: Callable[[int], None] = lambda done: None) -> None:
        """Take every step, in order, telling *progress* how many are done now and then. Raises KernelError."""
        try:
            for done, step in enumerate(steps):
                try:
                    self._take(step)
                except (OSError, ValueError, struct.error) as error:
                    self._flush()  # what was refused before may be the reason, and is told first
                    raise _refusal_of(step, error) from None
                if done % 500 == 499:
                    progress(done + 1)
            self._settle()
        finally:
            self._leave()
            self._namespaces.enter(None)

    def _take(self, step: Step) -> None:
        match step:
            case AddNamespace(node):
                self._leave()
                self._namespaces.create(node)
                self._visit = node
                self._next[node] = _LO + 1
                self._indices[node, "lo"] = _LO
            case SetSysctl(node, key, value):
                self._enter(node)
                self._flush()
                _write_sysctl(key, value)
            case LoadRuleset(node, text):
                self._enter(node)
                self._flush()
                try:
                    nftables.load(text)
                except KernelError as error:
                    raise _refusal(step, error.errno, error.what) from None
            case AddCable(a, b):
                self._enter(None)
                self._send(step).add_veth(self._end(a), self._end(b))
                self._peers[a.node, a.interface] = (b.node, b.interface)
                self._peers[b.node, b.interface] = (a.node, a.interface)
            case AddBridge(node, interface, mac, mtu):
                self._enter(node)
                self._send(step).add_bridge(interface, self._new_index(node, interface), mac, mtu)
            case Enslave(node, interface, bridge):
                self._enter(node)
                self._send(step).enslave(self._index(node, interface), self._index(node, bridge))
            case SetUp(node, interface):
                self._enter(node)
                self._send(step).set_up(self._index(node, interface))
                self._note_up(step, node, interface)
            case AddAddress(node, interface, address):
                self._enter(node)
                self._send(step).add_address(self._index(node, interface), address)
            case AddRoute(node, destination, via, interface, metric):
                self._enter(node)
                self._send(step).add_route(destination, via, self._index(node, interface), metric)

    def _note_up(self, step: Step, node: str, interface: str) -> None:
        """A cable has a carrier once its second end is up: from then on both ends should work, and at once."""
        peer = self._peers.get((node, interface))
        if peer is None:
            return
        self._up.add((node, interface))
        if peer in self._up:
            self._send(step).settle(self._index(node, interface))
            self._unsettled.setdefault(peer[0], []).append((step, peer[1]))

    def _settle(self) -> None:
        for node, ends in self._unsettled.items():
            self._enter(node)
            for number, (step, interface) in enumerate(ends):
                if number % MOST_ANSWERS == 0:
                    self._flush()
                self._send(step).settle(self._index(node, interface))
        self._unsettled.clear()
        self._flush()

    _visit: str | None = None

    def _enter(self, node: str | None) -> None:
        if node != self._visit:
            self._leave()
            self._namespaces.enter(node)
            self._visit = node

    def _leave(self) -> None:
        """End a visit: nothing of it may wait, and its socket goes."""
        try:
            self._flush()
        finally:
            if self._netlink is not None:
                self._netlink.close()
                self._netlink = None
            self._visit = None

    def _send(self, step: Step) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        if self._netlink.full:
            self._flush()
        self._sent.append(step)
        return self._netlink

    def _flush(self) -> None:
        sent, self._sent = self._sent, []
        try:
            if self._netlink is not None and sent:
                self._netlink.flush(lambda which, number, words: _refusal(sent[which], number, words))
        finally:
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()

    def _end(self, end: End) -> tuple[str, int, int, str | None, int]:
        handle = self._handles.get(end.node)
        if handle is None:
            handle = self._handles[end.node] = self._namespaces.open(end.node)
        return end.interface, self._new_index(end.node, end.interface), handle, end.mac, end.mtu

    def _new_index(self, node: str, interface: str) -> int:
        # Choosing the index here saves asking the kernel for it, once for each interface.
        index = self._next[node]
        self._next[node] = index + 1
        self._indices[node, interface] = index
        return index

    def _index(self, node: str, interface: str) -> int:
        index = self._indices.get((node, interface))
        if index is None:
            try:
                index = self._indices[node, interface] = socket.if_nametoindex(interface)
            except OSError:
                raise OSError(errno.ENODEV, f"there is no interface {interface!r}") from None
        return index


def _write_sysctl(key: str, value: str) -> None:
    # /proc/sys/net shows the namespace of whoever opens the file.
    descriptor = os.open("/proc/sys/" + key.replace(".", "/"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _refusal_of(step: Step, error: Exception) -> KernelError:
    if isinstance(error, OSError):
        return _refusal(step, error.errno or 0, error.strerror or str(error))
    return _refusal(step, 0, str(error))


def _refusal(step: Step, number: int, words: str) -> KernelError:
    return KernelError(
        f"{_describe(step)}: {words}", errno=number, hint="`wanlab doctor` tells what this machine can do"
    )


def _describe(step: Step) -> str:
    match step:
        case AddNamespace(node):
            return f"node {node!r}: making its network namespace"
        case SetSysctl(node, key, value):
            return f"node {node!r}: setting {key} = {value}"
        case AddCable(a, b):
            return f"cable {a.node}:{a.interface} -- {b.node}:{b.interface}"
        case AddBridge(node, interface):
            return f"node {node!r}: making bridge {interface!r}"
        case Enslave(node, interface, bridge):
            return f"node {node!r}: plugging {interface!r} into {bridge!r}"
        case SetUp(node, interface):
            return f"node {node!r}: bringing up {interface!r}"
        case AddAddress(node, interface, address):
            return f"node {node!r}: address {address} on {interface!r}"
        case AddRoute(node, destination, via):
            return f"node {node!r}: route to {destination} by {via}"
        case LoadRuleset(node):
            return f"node {node!r}: loading its nftables rules"
