"""What the NATs of a lab do, measured from the hosts behind them, held against what their descriptions say.

The STUN server that it takes, and hosts where too few are behind a router, are plugged into the lab for as long as the
measurement lasts, with addresses that nobody has. What has no mappings (IPv6, and IPv4 without a NAT) is `routed`'s.
"""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wanlab.errors import UsageError
from wanlab.measure.behaviour import (
    FEW,
    MANY,
    Behaviour,
    Neighbours,
    Outcome,
    survey,
    survey_neighbours,
)
from wanlab.measure.conversation import Pace, Strand, converse
from wanlab.measure.exchange import round_trip
from wanlab.measure.finding import Finding
from wanlab.measure.icmp import checksum
from wanlab.measure.lifetime import LIFETIME_SOCKETS, Lifetime, survey_lifetime
from wanlab.measure.nat_findings import compared
from wanlab.measure.nat_sites import Place, Site, Sites
from wanlab.measure.routed import measure_routed, routed_versions
from wanlab.measure.stun import Answering, Endpoint
from wanlab.topology.nat import Nat, Unsolicited
from wanlab.topology.network import Kind, Network, Node

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_PACE = Pace(interval_s=0.05, tries=3)
"""Inside a lab a packet takes microseconds, and silence is questioned before it is believed."""
_AT_ONCE = 8  # routers measured together: each takes some 40 sockets
_PAIRS = 3
_SERVER_PORTS = range(20_000, 60_000)
_CLOSED = 9  # a port that no NAT gives out: what comes for it is unsolicited
_ICMP_PATIENCE = 0.1  # seconds for an answer of the router itself
_ECHO_REPLY, _UNREACHABLE = 0, 3  # ICMP's types


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found out about a router's NAT."""

    router: str
    nat: str
    """The name of what it was declared as."""
    findings: tuple[Finding, ...]
    behaviour: Behaviour | None = None
    neighbours: Neighbours | None = None
    lifetime: Lifetime | None = None
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @property
    def ok(self) -> bool:
        """Whether nothing differs from what was declared."""
        return all(finding.ok is not False for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The findings as what JSON can hold."""
        return {
            "router": self.router,
            "nat": self.nat,
            "ok": self.ok,
            "axes": [
                {"axis": found.axis, "declared": found.declared, "measured": found.measured, "ok": found.ok}
                for found in self.findings
            ],
            "notes": list(self.notes),
        }


def measure_nat(lab: Lab, router: str, *, lifetimes: bool = False) -> Measured:
    """Measure what one router translates and filters. *lifetimes*: of its NAT's mappings, too, which takes three times
    as long as they live.

    Raises NoSuchNode, UsageError for what does neither, KernelError where the lab cannot be added to.
    """
    node = lab.network[router]
    if not measurable(node):
        raise UsageError(
            f"{node.kind.value} {router!r} translates and filters nothing",
            hint="choose one of the routers with a NAT or a firewall",
        )
    (measured,) = measure_nats(lab, [router], lifetimes=lifetimes)
    return measured


def measure_nats(lab: Lab, routers: Sequence[str] | None = None, *, lifetimes: bool = False) -> list[Measured]:
    """Measure several routers, their NATs eight at a time; None: all that translate or filter."""
    if routers is None:
        routers = [node.name for node in lab.network.of(Kind.ROUTER) if measurable(node)]
    found: dict[str, Measured] = {}
    translating = [name for name in routers if lab.network[name].nat is not None]
    for first in range(0, len(translating), _AT_ONCE):
        measured = _Measurement(lab, translating[first : first + _AT_ONCE], lifetimes).run()
        found |= {each.router: each for each in measured}
    routed = measure_routed(lab, [name for name in routers if routed_versions(lab.network[name])])
    for name, (findings, notes) in routed.items():
        known = found.get(name, Measured(name, "none", ()))
        found[name] = replace(known, findings=(*known.findings, *findings), notes=(*known.notes, *notes))
    return [found[name] for name in routers]


def _pace(network: Network) -> Pace:
    """How patient to be where links may be slow and lose packets."""
    lossy = any(i.egress.average_loss_percent for node in network for i in node.interfaces if i.egress)
    return Pace(_PACE.interval_s + round_trip(network), _PACE.tries + 5 if lossy else _PACE.tries)


def measurable(node: Node) -> bool:
    """Whether it translates or filters anything."""
    return node.nat is not None or bool(routed_versions(node))


# -- the measurement -----------------------------------------------------------------------------------------

_Seen = tuple[Behaviour | None, Neighbours | None, Lifetime | None]


class _Measurement:
    """Of a few routers at once."""

    def __init__(self, lab: Lab, routers: Sequence[str], lifetimes: bool) -> None:
        self.lab = lab
        self.lifetimes = lifetimes
        self.sites = Sites(lab.network)
        self.around = [self.sites.around(lab.network[router]) for router in routers]
        self.sockets: list[socket.socket] = []
        self.own: list[Endpoint] = []
        self.servers: list[Answering] = []

    def run(self) -> list[Measured]:
        with self.lab.added(self.sites.steps), ExitStack() as stack:
            ready = [site for site in self.around if site.server and site.inside and self._room(site) >= FEW // 2]
            listening = {self._ask_router(site, stack): site for site in ready}
            strands = [self._strand(site, stack) for site in ready]
            seen = converse(strands, self.sockets, _pace(self.lab.network), self.servers)
            results: dict[str, _Seen] = {site.router.name: result for site, result in zip(ready, seen, strict=True)}
            answered = _answered(listening, round_trip(self.lab.network))
        return [
            self._judge(site, results.get(site.router.name), answered.get(site.router.name)) for site in self.around
        ]

    @staticmethod
    def _room(site: Site) -> int:
        """How many mappings may be made at a time, so that others have room beside them."""
        nat = site.nat
        room = min(nat.last_port - nat.first_port + 1, *(most for most in (nat.block, nat.limit, 65535) if most))
        if room // 3 < FEW // 2:
            site.notes.append(f"not measured: room for {room} mappings is too little")
        return min(MANY, room // 3)

    def _strand(self, site: Site, stack: ExitStack) -> Strand[_Seen]:
        assert site.server is not None
        allowed = list(site.nat.udp_ports or ())[:2]
        others = [port for port in _SERVER_PORTS if port not in allowed]
        ports = allowed + random.sample(others, 2 - len(allowed))
        bound = [self._open(place, port, stack) for place in site.server for port in ports]
        self.servers.append(Answering(bound))
        server = site.server[0].address, ports[0]
        local = self._local_ports(site.nat)
        first, *rest = site.inside
        surveyed = self._take(first, local, self._room(site), stack)
        mine, theirs = ([], []) if not rest else self._take_pairs(first, rest[0], local, stack)
        aging = self._take(first, local, LIFETIME_SOCKETS, stack) if self.lifetimes else []
        return self._survey(site.nat, server, surveyed, (mine, theirs), aging)

    def _survey(
        self,
        nat: Nat,
        server: Endpoint,
        surveyed: Sequence[int],
        pairs: tuple[Sequence[int], Sequence[int]],
        aging: Sequence[int],
    ) -> Strand[_Seen]:
        """One after the other, since ports that count up are seen only where nobody else makes mappings meanwhile."""
        behaviour = yield from survey(surveyed, self.own, server, sure=True)
        neighbours = lifetime = None
        if behaviour.outcome is Outcome.MEASURED:
            if pairs[0]:
                neighbours = yield from survey_neighbours(*pairs, self.own, server)
            if aging:
                age = nat.udp_timeout_s
                lifetime = yield from survey_lifetime(aging, server, 10.0 * age, age)
        return behaviour, neighbours, lifetime

    # -- sockets -------------------------------------------------------------------------------------------------

    @staticmethod
    def _local_ports(nat: Nat) -> Iterator[int]:
        """Ports to send from, in no order, since parity would seem to be kept where both sides count up."""
        first = max(nat.first_port, 1024)
        usable = range(first, nat.last_port + 1) if nat.last_port > first else range(1024, 65536)
        return iter(random.sample(usable, min(len(usable), 512)))

    def _open(self, place: Place, port: int, stack: ExitStack) -> socket.socket:
        opened = stack.enter_context(self._socket(place.node))
        opened.bind((place.address, port))
        return opened

    def _socket(self, node: str, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> socket.socket:
        return self.lab.socket(node, socket.AF_INET, kind, protocol)

    def _take(self, place: Place, ports: Iterator[int], count: int, stack: ExitStack) -> list[int]:
        """Sockets of one place, by number."""
        taken: list[int] = []
        for port in ports:
            if len(taken) == count:
                break
            if self._try(place, port, stack):
                taken.append(len(self.sockets) - 1)
        return taken

    def _take_pairs(
        self, one: Place, two: Place, ports: Iterator[int], stack: ExitStack
    ) -> tuple[list[int], list[int]]:
        """Pairs of sockets of two places with the same local port."""
        pairs: list[tuple[int, int]] = []
        for port in ports:
            if len(pairs) == _PAIRS:
                break
            if self._try(one, port, stack) and self._try(two, port, stack):
                pairs.append((len(self.sockets) - 2, len(self.sockets) - 1))
        return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]

    def _try(self, place: Place, port: int, stack: ExitStack) -> bool:
        """Whether there is a socket on that port now: a program of the lab's own may be on it."""
        try:
            self.sockets.append(self._open(place, port, stack))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self.own.append((place.address, port))
        return True

    # -- what the router itself answers --------------------------------------------------------------------------

    def _ask_router(self, site: Site, stack: ExitStack) -> socket.socket:
        """Send the router what nobody asked for; what it answers arrives at the socket."""
        assert site.server is not None
        place = site.server[0]
        listening = stack.enter_context(self._socket(place.node, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        listening.bind((place.address, 0))
        header = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
        echo = header[:2] + struct.pack("!H", checksum(header)) + header[4:]
        with self._socket(place.node) as sender:
            sender.bind((place.address, 0))
            for address in site.external[:1]:
                sender.sendto(b"wanlab", (address, _CLOSED))
                listening.sendto(echo, (address, 0))
        return listening

    # -- the outcome ---------------------------------------------------------------------------------------------

    def _judge(self, site: Site, seen: _Seen | None, unsolicited: Unsolicited | None) -> Measured:
        if seen is None:
            return Measured(site.router.name, site.nat.name, (), notes=tuple(site.notes))
        behaviour, neighbours, lifetime = seen
        assert behaviour is not None
        found = tuple(compared(site, behaviour, neighbours, lifetime, unsolicited))
        return Measured(site.router.name, site.nat.name, found, behaviour, neighbours, lifetime, tuple(site.notes))


def _answered(listening: MappingType[socket.socket, Site], away: float) -> dict[str, Unsolicited]:
    """How each router treated what nobody had asked for."""
    types: dict[str, set[int]] = {site.router.name: set() for site in listening.values()}
    while ready := select.select(list(listening), [], [], _ICMP_PATIENCE + away)[0]:
        for opened in ready:
            data, (source, _) = opened.recvfrom(2048)
            if source in listening[opened].external:
                types[listening[opened].router.name].add(data[(data[0] & 15) * 4])
    return {name: _treatment(seen) for name, seen in types.items()}


def _treatment(types: set[int]) -> Unsolicited:
    if _ECHO_REPLY in types:
        return Unsolicited.ACCEPT
    return Unsolicited.REJECT if _UNREACHABLE in types else Unsolicited.DROP
