"""A street of homes, one behind each preset, and what a test does there: sockets, and what arrives at them."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tests.compliance import packets
from wanlab import Lab, LabNode, Topology
from wanlab.measure.stun import Endpoint
from wanlab.topology.nat import NATS, Nat

Found = TypeVar("Found")

_UNUSED = itertools.count(20_000, 2)
PRESETS = [nat for nat in NATS.values() if nat is not None]
WIDE, LAST_MILE, NARROW, FAR = 1500, 1400, 1200, 1000
"""MTUs: of the WAN and of LANs, of the homes' uplinks, of their second LANs, and of a cable far away."""
DNS, WEB, SECURE_WEB = 53, 80, 443
"""Ports that every preset lets out to."""


def street(nats: list[Nat]) -> Topology:
    """Homes on one WAN, with a host `a` on a narrow LAN and a host `b` on a wide one.

    `peer` and `stranger` are on the WAN, `distant` is behind a router and a narrow cable.
    """
    t = Topology("street")
    wan = t.switch("wan", "5.0.0.0/16")
    t.host("peer", wan)
    t.host("stranger", wan)
    far = t.router("far")
    far.connect(wan)
    distance = t.switch("distance", mtu=FAR)
    far.connect(distance)
    t.host("distant", distance)
    for number, nat in enumerate(nats):
        home = t.router(f"home{number}", wan, nat=nat, mtu=LAST_MILE)
        narrow = t.switch(f"narrow{number}", mtu=NARROW)
        home.connect(narrow)
        t.host(f"a{number}", narrow)
        t.host(f"b{number}", home)
        t.host(f"c{number}", home)
    return t


class Wait(Protocol):
    """Waits for the next ICMP error; None for silence."""

    def __call__(self, seconds: float = 0.3, /) -> packets.Error | None: ...


@dataclass(eq=False)
class Home:
    """One home of a street, with all that is outside of it."""

    lab: Lab
    number: int
    nat: Nat
    stack: ExitStack
    opened: dict[tuple[str, int, int], socket.socket] = field(default_factory=dict)

    def node(self, name: str) -> LabNode:
        """`a`, `b`, `c` and `home` are this home's own."""
        return self.lab[f"{name}{self.number}" if name in ("a", "b", "c", "home") else name]

    def address(self, name: str) -> str:
        """Its IPv4 address; of a home, that on the WAN."""
        node = self.node(name)
        addresses = node.wan.addresses if name == "home" else node.interfaces[0].addresses
        return str(next(address.ip for address in addresses if address.version == 4))

    @property
    def externals(self) -> list[str]:
        """The router's external addresses."""
        return [str(address.ip) for address in self.node("home").wan.addresses]

    def port(self) -> int:
        """A port inside that no test has used before: what others left behind in the router is not met."""
        return next(_UNUSED)

    # -- sockets -------------------------------------------------------------------------------------------------

    def open(self, name: str, kind: int = socket.SOCK_DGRAM, protocol: int = 0, *, port: int = 0) -> socket.socket:
        """A new socket, closed at the end of the test."""
        made = self.stack.enter_context(self.node(name).socket(socket.AF_INET, kind, protocol))
        made.settimeout(3)
        if kind != socket.SOCK_RAW:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("0.0.0.0", port))
        return made

    def udp(self, name: str, port: int) -> socket.socket:
        """The UDP socket on that port: the same one each time."""
        key = name, socket.IPPROTO_UDP, port
        if key not in self.opened:
            self.opened[key] = self.open(name, port=port)
        return self.opened[key]

    def errors(self, name: str) -> Wait:
        """Listen for ICMP errors from now on."""
        listening = self.open(name, socket.SOCK_RAW, socket.IPPROTO_ICMP)

        def wait(seconds: float = 0.3, /) -> packets.Error | None:
            return first(lambda: packets.read_error(receive(listening)[0]), seconds, listening)

        return wait

    def inject(self, name: str, packet: bytes) -> None:
        """Send a whole IPv4 packet from that node."""
        with self.node(name).socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
            sender.sendto(packet, (".".join(map(str, packet[16:20])), 0))

    # -- what often happens --------------------------------------------------------------------------------------

    def send_out(self, name: str, port: int, to: str = "peer", to_port: int = DNS, text: bytes = b"out") -> Endpoint:
        """Send from inside by UDP; from which external endpoint it arrives."""
        receiver = self.udp(to, to_port)
        self.udp(name, port).sendto(text, (self.address(to), to_port))
        return expect(receiver, text)

    def connect(
        self, name: str, port: int, to: str = "peer", to_port: int = WEB
    ) -> tuple[socket.socket, socket.socket, Endpoint]:
        """Connect from inside by TCP: both ends, and the external endpoint."""
        key = to, socket.IPPROTO_TCP, to_port
        if key not in self.opened:
            self.opened[key] = self.open(to, socket.SOCK_STREAM, port=to_port)
            self.opened[key].listen()
        client = self.open(name, socket.SOCK_STREAM, port=port)
        client.connect((self.address(to), to_port))
        server, external = self.opened[key].accept()
        self.stack.enter_context(server)
        server.settimeout(3)
        return client, server, external


def receive(opened: socket.socket) -> tuple[bytes, Endpoint]:
    """What arrives next, and from where."""
    data, source = opened.recvfrom(65536)
    return data, (source[0], source[1])


def expect(opened: socket.socket, text: bytes) -> Endpoint:
    """From where *text* comes, which must be what arrives next."""
    data, source = receive(opened)
    assert data == text
    return source


def arrives(opened: socket.socket, text: bytes, seconds: float = 0.25) -> bool:
    """Whether *text* arrives; other packets are passed over."""
    return first(lambda: receive(opened)[0] == text or None, seconds, opened) is not None


def first(look: Callable[[], Found | None], seconds: float, opened: socket.socket) -> Found | None:
    """What *look*, which reads from the socket, finds first; None where time runs out."""
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            opened.settimeout(left)
            found = look()
            if found is not None:
                return found
    except TimeoutError:
        pass
    finally:
        opened.settimeout(3)
    return None
