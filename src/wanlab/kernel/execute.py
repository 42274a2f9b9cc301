"""Takes the steps of a plan: the only thing in wanlab that builds networks.

Runs in a process with one thread that may change its network namespace at will (the holder). Consecutive steps of one
node are taken in one visit to its namespace, and their netlink messages travel together.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from wanlab.errors import KernelError
from wanlab.kernel import conntrack, netem, nftables
from wanlab.kernel.cables import Cables
from wanlab.kernel.netlink import MOST_ANSWERS, Netlink
from wanlab.kernel.syscalls import CLONE_NEWNET, MS_BIND, mount, setns, unmount, unshare
from wanlab.plan.older_kernels import with_sets_beside_maps
from wanlab.plan.steps import (
    AddAddress,
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    AwaitAddress,
    ClearImpairment,
    End,
    Enslave,
    ForgetConnections,
    LoadRuleset,
    LoseFrames,
    MoveLink,
    RemoveAddress,
    RemoveLink,
    RemoveNamespace,
    RemoveRoute,
    SetDown,
    SetImpairment,
    SetMtu,
    SetSysctl,
    SetUp,
    StartService,
    Step,
    StopService,
)

_LO = 1  # the index of `lo` in every namespace
_ADVERTISED = 5.0  # seconds that an address may take to come by router advertisement
_LOOK_AGAIN = 0.002
_IFA_F_TENTATIVE = 0x40
_DOTS_AND_SLASHES = str.maketrans("./", "/.")  # sysctl(8): a dot in a name is written as a slash
_PASSING = "passing"  # what an interface is called in the lab's own namespace, on its way from node to node
_ANY = 0  # lets the kernel choose an index


class Namespaces:
    """The network namespaces of a lab, each held by a bind mount `<directory>/<node>`: no descriptor, no process."""

    directory: Path
    """Set before the first one is made."""

    def __init__(self) -> None:
        unshare(CLONE_NEWNET)  # a namespace of the lab's own, with no cable, for what runs in no node
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._here: str | None = None
        _bring_up_loopback()

    @property
    def here(self) -> str | None:
        """The node that this process is in; None: the lab's own namespace."""
        return self._here

    def create(self, node: str) -> None:
        """Make a namespace and enter it. Raises FileExistsError where the node has one already."""
        handle = self.directory / node
        os.close(os.open(handle, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC))
        unshare(CLONE_NEWNET)
        self._here = node
        mount("/proc/self/ns/net", handle, flags=MS_BIND)

    def remove(self, node: str) -> None:
        """Let go of a namespace: the kernel frees it once no program or socket is in it."""
        self.enter(None)
        handle = self.directory / node
        unmount(handle)
        handle.unlink()

    def identity(self, node: str) -> tuple[int, int]:
        """What tells a node's namespace from all others: device and inode, as of `/proc/*/ns/net`."""
        status = (self.directory / node).stat()
        return status.st_dev, status.st_ino

    def enter(self, node: str | None) -> None:
        """Enter a node's namespace; None: the lab's own, which has no cables."""
        if node == self._here:
            return
        if node is None:
            setns(self.home, CLONE_NEWNET)
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


class Services(Protocol):
    """Starts and stops programs in nodes. Leaves this process in the lab's own network namespace."""

    def start(self, step: StartService) -> None:
        """Start a program. Raises KernelError, MachineError."""

    def stop(self, node: str, name: str) -> None:
        """End a program, and return when it has ended."""

    def wait_until_ready(self) -> None:
        """Return when all that were started are ready. Raises KernelError for one that does not get there."""


class Wire(Protocol):
    """Impairs interfaces without netem. The caller is in the interface's node."""

    def set(self, step: SetImpairment, index: int) -> None:
        """Impair an interface, or do so otherwise than before. Raises OSError."""

    def clear(self, node: str, interface: str) -> None:
        """Let it go by itself again. Raises OSError."""


class Executor:
    """Takes the steps of one plan.

    It remembers which index every interface has that it made in a namespace of its own making. In others anybody may
    make interfaces: there the kernel chooses, and is asked.
    """

    def __init__(
        self, namespaces: Namespaces, services: Services, wire: Wire | None = None, cables: Cables | None = None
    ) -> None:
        self._namespaces = namespaces
        self._services = services
        self._cables = Cables() if cables is None else cables
        """What earlier steps of the same lab have made, and these."""
        self._wire = wire
        """What impairs links; None: netem does."""
        self._indices: dict[tuple[str, str], int] = {}
        self._next: dict[str, int] = {}
        self.done: list[Step] = []
        """The steps that were taken: where one was refused, others around it were not."""
        self._netlink: Netlink | None = None
        self._sent: list[Step] = []
        """The steps whose messages wait in the netlink socket."""
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
            self._leave()
            self._services.wait_until_ready()
        finally:
            self._leave()
            self._namespaces.enter(None)

    def _take(self, step: Step) -> None:
        match step:
            case AddNamespace(node):
                self._leave()
                self._namespaces.create(node)
                self._visit = node
                self.done.append(step)
                self._next[node] = _LO + 1
                self._indices[node, "lo"] = _LO
            case SetSysctl(node, key, value):
                self._enter(node)
                self._flush()
                _write_sysctl(key, value)
                self.done.append(step)
            case LoadRuleset(node, text) | LoseFrames(node, _, text):
                self._enter(node)
                self._flush()
                try:
                    _load(text)
                except KernelError as error:
                    raise _refusal(step, error.errno, error.what) from None
                self.done.append(step)
            case AddCable(a, b):
                self._enter(None)
                self._send(step).add_veth(self._end(a), self._end(b))
                self._cables.add((a.node, a.interface), (b.node, b.interface))
            case AddBridge(node, interface, mac, mtu):
                self._enter(node)
                self._send(step).add_bridge(interface, self._new_index(node, interface), mac, mtu)
            case Enslave(node, interface, bridge):
                self._enter(node)
                port, master = self._index(node, interface), self._index(node, bridge)
                self._send(step).enslave(port, master)
            case SetUp(node, interface):
                self._enter(node)
                index = self._index(node, interface)  # first: it may flush what waits
                self._send(step).set_up(index)
                self._note_up(step, node, interface)
            case AddAddress(node, interface, address):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).add_address(index, address)
            case AddRoute(node, destination, via, interface, metric):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).add_route(destination, via, index, metric)
            case ForgetConnections(node):
                self._enter(node)
                self._flush()
                conntrack.forget_all()
                self.done.append(step)
            case SetImpairment(node, interface):
                self._enter(node)
                self._impair(step, self._index(node, interface))
            case ClearImpairment(node, interface):
                self._enter(node)
                if self._wire is None:
                    index = self._index(node, interface)
                    self._send(step).delete_qdisc(index)
                else:
                    self._flush()
                    self._wire.clear(node, interface)
                    self.done.append(step)
            case SetMtu(node, interface, mtu):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).set_mtu(index, mtu)
            case SetDown(node, interface):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).set_down(index)
                self._cables.take_down((node, interface))
            case AwaitAddress(node, interface, address):
                self._settle()
                self._leave()
                self._services.wait_until_ready()
                self._enter(node)
                _await_address(interface, address)
                self.done.append(step)
            case StartService():
                self._leave()
                self._services.start(step)
                self.done.append(step)
            case StopService(node, name):
                self._leave()
                self._services.stop(node, name)
                self.done.append(step)
            case RemoveNamespace(node):
                self._leave()
                self._namespaces.remove(node)
                self._cables.remove_node(node)
                self.done.append(step)
            case RemoveLink(node, interface):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).delete_link(index)
                self._cables.remove((node, interface))
            case MoveLink():
                self._move(step)
            case RemoveAddress(node, interface, address):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).delete_address(index, address)
            case RemoveRoute(node, destination, via, interface, metric):
                self._enter(node)
                index = self._index(node, interface)
                self._send(step).delete_route(destination, via, index, metric)

    def _impair(self, step: SetImpairment, index: int) -> None:
        if self._wire is None:
            messages = netem.impair(self._send(step), index, step)
            self._sent += [step] * (messages - 1)
            return
        self._flush()
        self._wire.set(step, index)
        self._next.pop(step.node, None)  # the wire has an interface there, of an index that the kernel chose
        self.done.append(step)

    def _move(self, step: MoveLink) -> None:
        """By way of the lab's own namespace, also from one name to another in the same node.

        What leaves a namespace loses its addresses, its bridge and its carrier there, as a cable that is pulled does.
        """
        self._enter(step.node)
        index = self._index(step.node, step.interface)
        mac = step.mac or ":".join(f"{byte:02x}" for byte in (0x02, *os.urandom(5)))
        self._send(step).move_link(index, self._namespaces.home, _PASSING, mac, step.mtu)
        self._leave()
        self._namespaces.enter(None)
        self._send(step).move_link(socket.if_nametoindex(_PASSING), self._handle(step.to), step.name, mac, step.mtu)
        self._leave()
        self._indices.pop((step.node, step.interface), None)
        self._cables.move((step.node, step.interface), (step.to, step.name))

    def _note_up(self, step: Step, node: str, interface: str) -> None:
        """A cable has a carrier once its second end is up: from then on both ends should work, and at once."""
        peer = self._cables.bring_up((node, interface))
        if peer is not None:
            index = self._index(node, interface)
            self._send(step).settle(index)
            self._unsettled.setdefault(peer[0], []).append((step, peer[1]))

    def _settle(self) -> None:
        for node, ends in self._unsettled.items():
            self._enter(node)
            for number, (step, interface) in enumerate(ends):
                if number % MOST_ANSWERS == 0:
                    self._flush()
                with contextlib.suppress(OSError):  # somebody may have taken away what earlier steps have made
                    index = self._index(node, interface)
                    self._send(step).settle(index)
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
        refused: set[int] = set()

        def refuse(which: int, number: int, words: str) -> KernelError:
            refused.add(which)
            return _refusal(sent[which], number, words)

        try:
            if self._netlink is not None and sent:
                self._netlink.flush(refuse)
        finally:
            self.done += (step for which, step in enumerate(sent) if which not in refused)
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()

    def _end(self, end: End) -> tuple[str, int, int, str | None, int]:
        handle = self._handle(end.node)
        return end.interface, self._new_index(end.node, end.interface), handle, end.mac, end.mtu

    def _handle(self, node: str) -> int:
        """A descriptor of a node's namespace, until what waits has been sent."""
        handle = self._handles.get(node)
        if handle is None:
            handle = self._handles[node] = self._namespaces.open(node)
        return handle

    def _new_index(self, node: str, interface: str) -> int:
        # Choosing the index here saves asking the kernel for it, once for each interface.
        index = self._next.get(node)
        if index is None:
            return _ANY
        self._next[node] = index + 1
        self._indices[node, interface] = index
        return index

    def _index(self, node: str, interface: str) -> int:
        index = self._indices.get((node, interface))
        if index is None:
            self._flush()  # it may be among what waits to be made
            try:
                index = socket.if_nametoindex(interface)
            except OSError:
                raise OSError(errno.ENODEV, f"there is no interface {interface!r}") from None
        return index


def _bring_up_loopback() -> None:
    netlink = Netlink()
    try:
        netlink.set_up(_LO)
        netlink.flush(lambda which, number, words: OSError(number, words or os.strerror(number)))
    finally:
        netlink.close()


def _await_address(interface: str, address: str) -> None:
    """Wait for an address that nobody but the kernel gives: by a router advertisement."""
    wanted = ipaddress.IPv6Address(address).packed.hex()
    deadline = time.monotonic() + _ADVERTISED
    while True:
        # The namespace is that of the thread, not of the process.
        rows = (line.split() for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines())
        if any((row[0], row[5]) == (wanted, interface) and not int(row[4], 16) & _IFA_F_TENTATIVE for row in rows):
            return
        if time.monotonic() > deadline:
            raise OSError(errno.ETIMEDOUT, f"no router advertisement gave it that in {_ADVERTISED:.0f} s")
        time.sleep(_LOOK_AGAIN)


def _write_sysctl(key: str, value: str) -> None:
    # /proc/sys/net shows the namespace of whoever opens the file.
    path = "/proc/sys/" + key.translate(_DOTS_AND_SLASHES)
    if key.startswith("net.bridge.") and not os.path.exists(path):
        return  # a kernel without br_netfilter does by itself what these ask for
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _load(rules: str) -> None:
    """Load rules of nftables, as this kernel has them."""
    try:
        nftables.load(rules)
    except KernelError as error:
        older = with_sets_beside_maps(rules)
        if older is None:
            raise
        try:
            nftables.load(older)
        except KernelError:
            raise error from None


def _refusal_of(step: Step, error: Exception) -> KernelError:
    if isinstance(error, OSError):
        return _refusal(step, error.errno or 0, error.strerror or str(error))
    return _refusal(step, 0, str(error))


def _refusal(step: Step, number: int, words: str) -> KernelError:
    from wanlab.plan.words import in_words  # only here: who forks holders need not import it

    return KernelError(
        f"refused: {in_words(step)}: {words}", errno=number, hint="`wanlab doctor` tells what this machine can do"
    )
