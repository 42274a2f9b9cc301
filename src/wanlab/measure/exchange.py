"""Sends many probes between the nodes of a lab at once, and notes what arrives where, from whom.

One UDP socket a node sends, receives and answers; the answer leaves from the address that the probe was sent to. What
must not arrive is sent from a second socket that nobody sends to: from the first, two nodes that send to each other at
once would each have asked for the other's packet, and a firewall that works would let it in. And it is sent to a third
that sends to nobody: a firewall may let anybody in to a port that has sent (endpoint-independent filtering).
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING

from wanlab.measure.probes import Probe, Role, decode, udp_frame, udp_overhead
from wanlab.runtime.ports import bind_to_next
from wanlab.topology.network import Interface, IPAddress, Network

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

QUIET = 0.15
"""Seconds without news after which what has not arrived will not: a cable here delivers in microseconds."""
_AGAIN = (
    0.25  # seconds after which what should have arrived, and has not, is sent again (a neighbour is being looked up)
)
_PATIENCE = 2.0  # seconds for everything that is expected to arrive
# The kernel's table of neighbours is one for all namespaces (gc_thresh3: 1,024). While other labs fill it, packets to a
# new neighbour are refused, until it forgets those that have not been used for 5 s.
_CROWDED = 8.0
_BATCH = 64  # probes sent before the sockets are read: far fewer than a receive buffer holds

_FIRST_PORT, _LAST_PORT = 20_000, 50_000

_IP_PKTINFO, _IP_RECVTTL, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 8, 12, 10, 2
_IPV6_RECVPKTINFO, _IPV6_RECVHOPLIMIT, _IPV6_MTU_DISCOVER = 49, 51, 23
_IPV6_PKTINFO, _IPV6_HOPLIMIT, _IP_TTL = 50, 52, 2


@dataclass(frozen=True, slots=True)
class Injection:
    """Put the packet on the sender's cable as a frame to the neighbour `via`, as if there were a route."""

    out: Interface
    via: Interface


@dataclass(slots=True)
class Flow:
    """A probe to be sent, and afterwards what became of it."""

    sender: str
    receiver: str
    destination: IPAddress
    expected: bool
    """Whether it should arrive: then it is worth sending again."""
    size: int = 0
    """Bytes of the whole IP packet, sent with DF set; 0: as small as it gets, without."""
    injection: Injection | None = None
    arrived: tuple[IPAddress, int] | None = None
    """The source address and port that the receiver saw."""
    ttl: int | None = None
    answered: bool = False
    error: int = 0
    """The errno with which sending failed."""
    port: int = 0
    """The port that the sender sent from."""


class _Use(Enum):
    """What a socket is for."""

    KNOWN = "sends and receives what should arrive"
    STRANGER = "sends what should not"
    SILENT = "is sent what should not arrive"


@dataclass(slots=True)
class _Place:
    """A node's socket for one address family."""

    node: str
    endpoint: socket.socket
    version: int
    port: int
    raw: dict[str, socket.socket] = field(default_factory=dict)


def exchange(lab: Lab, flows: Sequence[Flow]) -> None:
    """Send every flow's probe and fill in what became of it. The flows' receivers must be nodes of *lab*."""
    _Exchange(lab, flows).run()


_MOST_LINKS = 6  # impaired ones on a path, as far as is waited for


def round_trip(network: Network) -> float:
    """Seconds that a packet and its answer may take, where links delay packets; 0 where none does."""
    ways = sorted((i.egress.longest_ms for node in network for i in node.interfaces if i.egress), reverse=True)
    return 2 * sum(ways[:_MOST_LINKS]) / 1000


class _Exchange:
    def __init__(self, lab: Lab, flows: Sequence[Flow]) -> None:
        self.lab = lab
        self.flows = flows
        self.nonce = os.urandom(8)
        self.crowded = False
        """Whether the kernel had no room for a neighbour."""
        self.away = round_trip(lab.network)
        # Each socket its own port, so that two hosts behind one NAT never ask for the same one; and other ports in each
        # exchange, so that no state which an earlier one left behind lets anything in.
        self.ports = itertools.count(random.randrange(_FIRST_PORT, _LAST_PORT))
        self.places: dict[tuple[str, int, _Use], _Place] = {}
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        try:
            for flow in self.flows:
                self._from(flow)
                self._to(flow)
            self._send_all(range(len(self.flows)))
            self._collect()
        finally:
            self.selector.close()
            for place in self.places.values():
                place.endpoint.close()
                for raw in place.raw.values():
                    raw.close()

    def _from(self, flow: Flow) -> _Place:
        return self._place(flow.sender, flow.destination.version, _Use.KNOWN if flow.expected else _Use.STRANGER)

    def _to(self, flow: Flow) -> _Place:
        return self._place(flow.receiver, flow.destination.version, _Use.KNOWN if flow.expected else _Use.SILENT)

    def _place(self, node: str, version: int, use: _Use) -> _Place:
        place = self.places.get((node, version, use))
        if place is None:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            opened = self.lab[node].socket(family, socket.SOCK_DGRAM)
            opened.setblocking(False)
            if version == 4:
                opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
                opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            else:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
                opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
            port = bind_to_next(opened, "0.0.0.0" if version == 4 else "::", self.ports)
            place = self.places[node, version, use] = _Place(node, opened, version, port)
            self.selector.register(opened, selectors.EVENT_READ, place)
        return place

    # -- sending -------------------------------------------------------------------------------------------------

    def _send_all(self, numbers: Iterable[int]) -> None:
        for count, number in enumerate(numbers):
            self._send(number)
            if count % _BATCH == _BATCH - 1:
                self._read(0)

    def _send(self, number: int) -> None:
        flow = self.flows[number]
        version = flow.destination.version
        place = self._from(flow)
        port = self._to(flow).port
        payload = Probe(self.nonce, number, Role.PROBE).encode(flow.size - udp_overhead(version))
        flow.port = place.port
        try:
            if flow.injection is not None:
                self._inject(place, flow, flow.injection, port, payload)
                return
            _set_do_not_fragment(place, bool(flow.size))
            place.endpoint.sendto(payload, (str(flow.destination), port))
            flow.error = 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            self.crowded |= error.errno == errno.ENOBUFS

    def _inject(self, place: _Place, flow: Flow, injection: Injection, port: int, payload: bytes) -> None:
        raw = place.raw.get(injection.out.name)
        if raw is None:
            raw = place.raw[injection.out.name] = self.lab[flow.sender].socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind((injection.out.name, 0))
        source = next(a.ip for a in injection.out.addresses if a.version == flow.destination.version)
        pair = (source, flow.destination)
        raw.send(
            udp_frame(
                (injection.out.mac or "", injection.via.mac or ""),
                pair,  # type: ignore[arg-type]  # both are of the destination's family
                (place.port, port),
                payload,
            )
        )

    # -- receiving -----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        started = last_sent = time.monotonic()
        last_news = started
        while True:
            now = time.monotonic()
            missing = [n for n, flow in enumerate(self.flows) if flow.expected and not (flow.arrived and flow.answered)]
            if not missing and now - last_news > QUIET + self.away:
                return
            if now - started > (_CROWDED if self.crowded else _PATIENCE) + 8 * self.away:
                return
            if missing and now - last_sent > _AGAIN + self.away:
                self._send_all(missing)
                last_sent = time.monotonic()
            if self._read(0.02):
                last_news = time.monotonic()

    def _read(self, seconds: float) -> bool:
        """Read all that is there; whether anything was."""
        events = self.selector.select(seconds)
        for key, _ in events:
            self._drain(key.data)
        return bool(events)

    def _drain(self, place: _Place) -> None:
        while True:
            try:
                data, ancillary, _, sender = place.endpoint.recvmsg(65536, 256)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that came back: the probe did not arrive, which is noted as such
            probe = decode(data)
            if probe is None or probe.run != self.nonce or probe.number >= len(self.flows):
                continue
            flow = self.flows[probe.number]
            if probe.role is Role.ANSWER:
                if place.node == flow.sender:
                    flow.answered = True
            elif place.node == flow.receiver:
                flow.arrived = ip_address(sender[0]), sender[1]
                info, flow.ttl = _ancillary(ancillary)
                self._answer(place, probe, sender, info)

    def _answer(self, place: _Place, probe: Probe, sender: tuple[str, int], info: bytes) -> None:
        payload = Probe(self.nonce, probe.number, Role.ANSWER).encode()
        level, kind = (socket.IPPROTO_IP, _IP_PKTINFO) if place.version == 4 else (socket.IPPROTO_IPV6, _IPV6_PKTINFO)
        try:
            _set_do_not_fragment(place, False)
            place.endpoint.sendmsg([payload], [(level, kind, info)] if info else [], 0, sender)
        except OSError as error:  # no way back: the flow stays unanswered
            self.crowded |= error.errno == errno.ENOBUFS


def _ancillary(messages: list[tuple[int, int, bytes]]) -> tuple[bytes, int | None]:
    """From a received packet's control messages: those that make the answer leave from where it went, and its TTL."""
    info, ttl = b"", None
    for level, kind, data in messages:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            # ifindex 0: let routing choose the interface, but keep the address (ipi_spec_dst <- ipi_addr)
            info = struct.pack("=i4s4s", 0, data[8:12], b"\0" * 4)
        elif (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            info = data[:16] + struct.pack("=I", 0)
        elif (level, kind) in ((socket.IPPROTO_IP, _IP_TTL), (socket.IPPROTO_IPV6, _IPV6_HOPLIMIT)):
            (ttl,) = struct.unpack("=i", data[:4])
    return info, ttl


def _set_do_not_fragment(place: _Place, on: bool) -> None:
    level, option = (
        (socket.IPPROTO_IP, _IP_MTU_DISCOVER) if place.version == 4 else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
    )
    place.endpoint.setsockopt(level, option, _IP_PMTUDISC_DO if on else 0)
