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
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanlab.errors import KernelError
from wanlab.kernel import nftables
from wanlab.kernel.execute import Namespaces
from wanlab.kernel.means import wire_tap
from wanlab.kernel.netlink import Netlink
from wanlab.plan.steps import SetImpairment
from wanlab.runtime import wire_process

TABLE = "wanlab_wire"
MARK = 0x77697265  # "wire"; a packet loses its mark on the way into another namespace

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_TAP_QUEUE = 8192  # packets that wait to be read: a burst longer than that is dropped
_SEND_BUFFER = 1 << 22
_PATIENCE = 5.0  # seconds that the process may take to answer
_MOST_STARTS, _WITHIN = 5, 10.0  # who ends more often in so many seconds would only end again

_SPARED = (
    "\t\tmeta protocol arp accept\n"
    "\t\ticmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } "
    "accept\n"
)


@dataclass(slots=True)
class _Place:
    """An interface that goes through the wire."""

    step: SetImpairment
    index: int
    """The interface's."""

    @property
    def tap(self) -> str:
        return wire_tap(self.index)


class Wire:
    """Impairs the interfaces of a lab, by a process that is started with the first, and anew where it ends.

    *tell* hears what has become of it.
    """

    def __init__(self, namespaces: Namespaces, tell: Callable[[str], None]) -> None:
        self._namespaces = namespaces
        self._tell = tell
        self._orders: socket.socket | None = None
        self.pid = 0
        """Its process; 0 while there is none."""
        self.trouble = ""
        """Why there is no process, though there should be one: nothing passes the interfaces."""
        self._places: dict[tuple[str, str], _Place] = {}
        self._ends: deque[float] = deque(maxlen=_MOST_STARTS)

    @property
    def interfaces(self) -> dict[tuple[str, str], str]:
        """The taps' names, by node and interface."""
        return {name: place.tap for name, place in self._places.items()}

    def rehearse(self) -> None:
        """Try all that it takes but the process, on this namespace's `lo`. Raises OSError."""
        tap = _open_tap("wire1")
        try:
            with _open_way_out("lo"):
                _turn_into("lo", "wire1", spare=True)
            _load(f"delete table netdev {TABLE}\n")
        finally:
            os.close(tap)

    def set(self, step: SetImpairment, index: int) -> None:
        """Impair an interface of the node that the caller is in, or do so otherwise than before. Raises OSError."""
        name = (step.node, step.interface)
        place = _Place(step, index)
        if name in self._places:
            self._ask(_order(step))
        else:
            _hand_over(place, self._ask)
        self._places[name] = place
        _turn(place)

    def clear(self, node: str, interface: str) -> None:
        """Let an interface of the node that the caller is in go by itself again."""
        if self._places.pop((node, interface), None) is not None:
            others = any(owner == node for owner, _ in self._places)
            try:
                _load(
                    f"delete chain netdev {TABLE} {_chain(interface)}\n" if others else f"delete table netdev {TABLE}\n"
                )
            except OSError:
                if self._turned(interface):  # else somebody has taken the rules away already
                    raise
            finally:
                self._ask({"order": "clear", "node": node, "interface": interface})

    def in_place(self, node: str) -> list[str]:
        """The interfaces of the node that the caller is in whose packets are turned into the wire."""
        return [name for owner, name in self._places if owner == node and self._turned(name)]

    @staticmethod
    def _turned(interface: str) -> bool:
        try:
            listed = nftables.as_json(f"list chain netdev {TABLE} {_chain(interface)}")
        except KernelError:
            return False
        return any("fwd" in each for rule in listed for each in rule.get("rule", {}).get("expr", ()))

    def tallies(self) -> dict[tuple[str, str], dict[str, int]]:
        """What became of the packets, for each interface; nothing where none is impaired, or there is no process."""
        if self._orders is None:
            return {}
        return {(node, name): tally for node, name, tally in self._ask({"order": "tallies"})["tallies"]}

    def note_end(self, pid: int, status: int) -> None:
        """One of the lab's processes has ended, with that exit status: perhaps it was the wire's."""
        if pid == self.pid:
            self._forget(_how(status))
            self._revive()

    def _ask(self, order: dict[str, Any], descriptors: list[int] | None = None) -> dict[str, Any]:
        if self._orders is None:
            self._start_anew()
        try:
            return self._exchange(order, descriptors)
        except OSError as error:
            # It has ended, and nobody has told us yet; or it hangs, which is as good.
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            hangs = isinstance(error, TimeoutError)
            self._forget("did not answer" if hangs else _how(os.waitstatus_to_exitcode(status)))
            self._revive()
        if self._orders is None:
            raise OSError(errno.EPIPE, f"the wire's process {self.trouble}")
        return self._exchange(order, descriptors)

    def _exchange(self, order: dict[str, Any], descriptors: list[int] | None = None) -> dict[str, Any]:
        assert self._orders is not None
        socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors or [])
        data = self._orders.recv(1 << 20)
        if not data:
            raise OSError(errno.EPIPE, "the wire's process has ended")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _forget(self, how: str) -> None:
        """Keep nothing of a process that has ended."""
        if self._orders is not None:
            self._orders.close()
        self._orders, self.pid, self.trouble = None, 0, how

    def _revive(self) -> None:
        """Start it anew, with all interfaces that go through it. The caller stays in the node that it is in."""
        now, how = time.monotonic(), self.trouble
        self._ends.append(now)
        if len(self._ends) == _MOST_STARTS and now - self._ends[0] < _WITHIN:
            self.trouble = f"{how}, {_MOST_STARTS} times in {_WITHIN:.0f} s"
            self._tell(f"the wire's process {self.trouble}: impaired links carry nothing")
            return
        try:
            lost = self._start_anew()
        except OSError as error:
            self._forget(f"{how}, and cannot be started: {error.strerror or error}")
            self._tell(f"the wire's process {self.trouble}: impaired links carry nothing")
            return
        self._tell(
            f"the wire's process {how}, and was started anew: packets on their way through it were lost"
            + (f"; not impaired as they should be: {', '.join(lost)}" if lost else "")
        )

    def _start_anew(self) -> list[str]:
        """Start a process for all interfaces that go through it; those that cannot, and why. Raises OSError."""
        self._start()
        here = self._namespaces.here
        lost = []
        try:
            for (node, interface), place in self._places.items():
                try:
                    self._namespaces.enter(node)
                    self._reconnect(place)
                except OSError as error:  # perhaps somebody has taken the interface away
                    lost.append(f"{node}:{interface} ({error.strerror or error})")
        finally:
            self._namespaces.enter(here)
        return lost

    def _reconnect(self, place: _Place) -> None:
        was_turned = self._turned(place.step.interface)
        _hand_over(place, self._exchange)
        if was_turned:  # where somebody has taken the rules away, that is theirs to know
            _turn(place)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            # In no node: it is to outlive each.
            wire_process.run(theirs, lambda: self._namespaces.enter(None))
        theirs.close()
        ours.settimeout(_PATIENCE)
        self._orders, self.trouble = ours, ""


def _order(step: SetImpairment) -> dict[str, Any]:
    it = step.impairment
    return {
        "order": "set",
        "node": step.node,
        "interface": step.interface,
        "impairment": it.to_row(),
        "limit": it.limit(step.mtu),
        "mtu": step.mtu,
    }


def _hand_over(place: _Place, ask: Callable[[dict[str, Any], list[int]], object]) -> None:
    """Give the process a way there and back for an interface of the node that the caller is in."""
    descriptor = _open_tap(place.tap)
    try:
        with _open_way_out(place.step.interface) as out:
            ask(_order(place.step), [descriptor, out.fileno()])
    finally:
        os.close(descriptor)


def _how(status: int) -> str:
    """How a process ended, in words."""
    return f"ended with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"


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


def _turn(place: _Place) -> None:
    _turn_into(place.step.interface, place.tap, spare=not place.step.impairment.hit_arp)


def _turn_into(interface: str, tap: str, *, spare: bool) -> None:
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
