"""The holder's side of the wire: which interfaces go through it, and how their packets get there.

What an impaired interface sends is turned away by a rule at its egress, into a tap beside it. The wire's process reads
the tap, and sends by a packet socket, whose mark the rule lets pass. The interface itself, its addresses and sockets
notice nothing: a link becomes impaired and clean again under a running program. The rule lets ARP and neighbour
discovery pass as well, where they are to be spared.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from wanlab.errors import KernelError
from wanlab.kernel import nftables
from wanlab.kernel.netlink import Netlink
from wanlab.plan.steps import SetImpairment
from wanlab.runtime import wire_process

TABLE = "wanlab_wire"
MARK = 0x77697265  # "wire"; a packet loses its mark on the way into another namespace

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_TAP_QUEUE = 8192  # packets that wait to be read: a burst longer than that is dropped
_SEND_BUFFER = 1 << 22
_PATIENCE = 5.0  # seconds that the process may take to answer

_SPARED = (
    "\t\tmeta protocol arp accept\n"
    "\t\ticmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } "
    "accept\n"
)


class Wire:
    """Impairs the interfaces of a lab, by a process that is started with the first."""

    def __init__(self) -> None:
        self._orders: socket.socket | None = None
        self.pid = 0
        self._taps: dict[tuple[str, str], str] = {}

    @property
    def interfaces(self) -> dict[tuple[str, str], str]:
        """The taps' names, by node and interface."""
        return self._taps

    def rehearse(self) -> None:
        """Try all that it takes but the process, on this namespace's `lo`. Raises OSError."""
        tap = _open_tap("wire1")
        try:
            with _open_way_out("lo"):
                _turn("lo", "wire1", spare=True)
            _load(f"delete table netdev {TABLE}\n")
        finally:
            os.close(tap)

    def set(self, step: SetImpairment, index: int) -> None:
        """Impair an interface of the node that the caller is in, or do so otherwise than before. Raises OSError."""
        place = (step.node, step.interface)
        it = step.impairment
        order = {
            "order": "set",
            "node": step.node,
            "interface": step.interface,
            "impairment": it.to_row(),
            "limit": it.limit(step.mtu),
            "mtu": step.mtu,
        }
        if place in self._taps:
            self._ask(order)
            _turn(step.interface, self._taps[place], spare=not it.hit_arp)
            return
        tap = f"wire{index}"
        descriptor = _open_tap(tap)
        try:
            with _open_way_out(step.interface) as out:
                self._ask(order, [descriptor, out.fileno()])
        finally:
            os.close(descriptor)
        self._taps[place] = tap
        _turn(step.interface, tap, spare=not it.hit_arp)

    def clear(self, node: str, interface: str) -> None:
        """Let an interface of the node that the caller is in go by itself again."""
        if self._taps.pop((node, interface), None) is not None:
            others = any(owner == node for owner, _ in self._taps)
            try:
                _load(
                    f"delete chain netdev {TABLE} {_chain(interface)}\n" if others else f"delete table netdev {TABLE}\n"
                )
            finally:
                self._ask({"order": "clear", "node": node, "interface": interface})

    def tallies(self) -> dict[tuple[str, str], dict[str, int]]:
        """What became of the packets, for each interface; nothing where none is impaired."""
        if self._orders is None:
            return {}
        return {(node, name): tally for node, name, tally in self._ask({"order": "tallies"})["tallies"]}

    def _ask(self, order: dict[str, Any], descriptors: list[int] | None = None) -> dict[str, Any]:
        if self._orders is None:
            self._start()
        assert self._orders is not None
        try:
            socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors or [])
            data = self._orders.recv(1 << 20)
        except OSError as error:
            raise OSError(error.errno, f"the wire does not answer: {error.strerror or error}") from None
        if not data:
            raise OSError(errno.EPIPE, "the wire's process has ended")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            wire_process.run(theirs)
        theirs.close()
        ours.settimeout(_PATIENCE)
        self._orders = ours


def _open_tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        # It has no address and gives itself none: nobody is to send by it.
        sysctl = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        if sysctl.exists():
            sysctl.write_text("1")
        netlink = Netlink()
        try:
            netlink.prepare_tap(socket.if_nametoindex(name), _TAP_QUEUE)
            netlink.flush(lambda which, number, words: OSError(number, words))
        finally:
            netlink.close()
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_way_out(interface: str) -> socket.socket:
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        out.setblocking(False)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        out.bind((interface, 0))
    except BaseException:
        out.close()
        raise
    return out


def _turn(interface: str, tap: str, *, spare: bool) -> None:
    chain = _chain(interface)
    _load(
        f"table netdev {TABLE} {{\n"
        f'\tchain {chain} {{\n\t\ttype filter hook egress device "{interface}" priority 0; policy accept;\n\t}}\n'
        "}\n"
        f"flush chain netdev {TABLE} {chain}\n"
        f"table netdev {TABLE} {{\n"
        f"\tchain {chain} {{\n"
        f"\t\tmeta mark {MARK:#x} accept\n"
        f"{_SPARED if spare else ''}"
        f'\t\tfwd to "{tap}"\n'
        "\t}\n}\n"
    )


def _chain(interface: str) -> str:
    """A name that nft takes for no word of its own, and that holds no character it would not take."""
    return "wl_" + "".join(c if c.isalnum() else f"_{ord(c):x}_" for c in interface)


def _load(text: str) -> None:
    try:
        nftables.load(text)
    except KernelError as error:
        raise OSError(error.errno, error.what) from None
