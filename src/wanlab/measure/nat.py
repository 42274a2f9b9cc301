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
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Any

from wanlab.errors import UsageError
from wanlab.measure.behaviour import (
    FEW,
    LIFETIME_SOCKETS,
    MANY,
    Behaviour,
    Lifetime,
    Neighbours,
    Outcome,
    survey,
    survey_lifetime,
    survey_neighbours,
)
from wanlab.measure.conversation import Pace, Strand, converse
from wanlab.measure.exchange import round_trip
from wanlab.measure.finding import Finding
from wanlab.measure.icmp import checksum
from wanlab.measure.routed import measure_routed, routed_versions
from wanlab.measure.stun import Answering, Endpoint
from wanlab.plan.steps import AddAddress, AddCable, AddNamespace, AddRoute, End, Enslave, SetSysctl, SetUp, Step
from wanlab.topology.journey import Atlas
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Nat, Pooling, Ports, Unsolicited
from wanlab.topology.network import Interface, Kind, Network, Node

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


# -- where from ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where sockets are made: a node, and the address that they are bound to."""

    node: str
    address: str


@dataclass(slots=True)
class _Site:
    """A router, and the places around it."""

    router: Node
    nat: Nat
    external: tuple[str, ...]
    server: tuple[_Place, _Place] | None = None
    inside: list[_Place] = field(default_factory=list)
    guests: bool = False
    """Whether a place inside is none of the lab's own hosts."""
    one_host: bool = False
    """Whether both places inside are one host."""
    notes: list[str] = field(default_factory=list)


class _Sites:
    """Finds places around routers, and collects the steps that make those which are not there."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps: list[Step] = []
        self._token = os.urandom(3).hex()
        self._made = 0
        self._given: set[IPv4Address] = set()
        self._servers: dict[str, Interface] = {}
        """Who was plugged in where, to be all routers' server there."""

    @cached_property
    def _atlas(self) -> Atlas:
        return Atlas(self.network)

    def around(self, router: Node) -> _Site:
        assert router.nat is not None
        wan = router.interface(router.uplink or "")
        site = _Site(router, router.nat, tuple(str(a.ip) for a in wan.addresses if a.version == 4))
        outside = self._free(wan, 2)
        if len(outside) < 2:
            site.notes.append("not measured: no two addresses are free outside of it")
            return site
        node = self._put_outside(wan, outside)
        if node is None:
            site.notes.append("not measured: nobody could be put outside of it")
            return site
        first, second = (_Place(node, str(address.ip)) for address in outside)
        site.server = first, second
        self._find_inside(site, outside[0].ip)
        if not site.inside:
            site.notes.append("not measured: no host is behind it, and none could be put there")
        return site

    def _put_outside(self, wan: Interface, addresses: Sequence[IPv4Interface]) -> str | None:
        known = self._servers.get(wan.segment)
        if known is not None:
            return self._lodge(known, addresses)
        node = self._plug_in(wan.segment, addresses)
        if node is None:
            return self._lodge(self._far_end(wan), addresses)
        self._servers[wan.segment] = Interface(node, "eth0", wan.segment)
        return node

    def _find_inside(self, site: _Site, outside: IPv4Address) -> None:
        router = site.router
        lans = [i for i in router.interfaces if i.name != router.uplink and _ipv4(i)]
        for lan in lans:
            for peer in self.network.peers(lan.segment):
                if len(site.inside) < 2 and self._leaves_by(peer, router, outside):
                    site.inside.append(_Place(peer.node, str(_ipv4(peer)[0].ip)))
        # The hosts that are there first, since they have blocks of ports and routes that were given to them.
        bridged = [lan for lan in lans if self._bridge(lan.segment) is not None]
        while len(site.inside) < 2 and bridged:
            node = self._plug_in(bridged[0].segment, address := self._free(bridged[0], 1), _ipv4(bridged[0])[0].ip)
            if node is None:
                break
            site.inside.append(_Place(node, str(address[0].ip)))
            site.guests = True
        if len(site.inside) == 1:
            lan = next(lan for lan in lans if any(p.node == site.inside[0].node for p in self._peers(lan)))
            node = self._lodge(self._far_end(lan), address := self._free(lan, 1))
            if node is not None:
                site.inside.append(_Place(node, str(address[0].ip)))
                site.one_host = True

    def _leaves_by(self, peer: Interface, router: Node, outside: IPv4Address) -> bool:
        """Whether that host sends by that router what is for outside of it."""
        if self.network[peer.node].kind is not Kind.HOST or not _ipv4(peer):
            return False
        return self._atlas.journey(peer.node, outside).path[:2] == (peer.node, router.name)

    def _peers(self, interface: Interface) -> Iterator[Interface]:
        return (p for p in self.network.peers(interface.segment) if p.node != interface.node and p.carrier)

    def _far_end(self, interface: Interface) -> Interface | None:
        return next((peer for peer in self._peers(interface) if _ipv4(peer)), None)

    def _bridge(self, segment: str) -> Interface | None:
        return next((i for node in self.network for i in node.interfaces if i.bridge and i.segment == segment), None)

    def _free(self, interface: Interface, count: int) -> list[IPv4Interface]:
        """Addresses that nobody has; fewer where there are no more."""
        subnet = _ipv4(interface)[0].network
        taken = {a.ip for peer in self.network.peers(interface.segment) for a in _ipv4(peer)} | self._given
        first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
        # By chance: who measures here at the same time hardly finds the same ones, and no NAT knows them from before.
        numbers = random.sample(range(first, last + 1), min(max(0, last - first + 1), len(taken) + 64))
        found = [IPv4Address(number) for number in numbers if IPv4Address(number) not in taken][:count]
        self._given.update(found)
        return [IPv4Interface(f"{address}/{subnet.prefixlen}") for address in found]

    def _plug_in(
        self, segment: str, addresses: Sequence[IPv4Interface], gateway: IPv4Address | None = None
    ) -> str | None:
        """Put a host on a segment; None where there is no bridge to plug it into, or no address for it."""
        bridge = self._bridge(segment)
        if bridge is None or not addresses:
            return None
        self._made += 1
        node, port = f"_{self._token}-{self._made}", f"wl{self._token}{self._made}"
        # A bridge takes the lowest of its ports' addresses for its own: this one is high, and so nothing changes.
        mac = ":".join(f"{byte:02x}" for byte in (0xFE, 0xFF, *os.urandom(4)))
        self.steps += [
            AddNamespace(node),
            SetSysctl(node, "net.ipv6.conf.default.disable_ipv6", "1"),
            AddCable(End(node, "eth0", None, bridge.mtu), End(bridge.node, port, mac, bridge.mtu)),
            Enslave(bridge.node, port, bridge.name),
            SetUp(bridge.node, port),
            *(AddAddress(node, "eth0", str(address)) for address in addresses),
            SetUp(node, "eth0"),
        ]
        if gateway is not None:
            self.steps.append(AddRoute(node, "0.0.0.0/0", str(gateway), "eth0"))
        return node

    def _lodge(self, interface: Interface | None, addresses: Sequence[IPv4Interface]) -> str | None:
        """Give the addresses to a node that is there."""
        if interface is None or not addresses:
            return None
        self.steps += [AddAddress(interface.node, interface.name, str(address)) for address in addresses]
        return interface.node


def _ipv4(interface: Interface) -> list[IPv4Interface]:
    return [address for address in interface.addresses if isinstance(address, IPv4Interface)]


# -- the measurement -----------------------------------------------------------------------------------------

_Seen = tuple[Behaviour | None, Neighbours | None, Lifetime | None]


class _Measurement:
    """Of a few routers at once."""

    def __init__(self, lab: Lab, routers: Sequence[str], lifetimes: bool) -> None:
        self.lab = lab
        self.lifetimes = lifetimes
        self.sites = _Sites(lab.network)
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
    def _room(site: _Site) -> int:
        """How many mappings may be made at a time, so that others have room beside them."""
        nat = site.nat
        room = min(nat.last_port - nat.first_port + 1, *(most for most in (nat.block, nat.limit, 65535) if most))
        if room // 3 < FEW // 2:
            site.notes.append(f"not measured: room for {room} mappings is too little")
        return min(MANY, room // 3)

    def _strand(self, site: _Site, stack: ExitStack) -> Strand[_Seen]:
        assert site.server is not None
        allowed = list(site.nat.udp_ports or ())[:2]
        ports = allowed + random.sample(_SERVER_PORTS, 2 - len(allowed))
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

    def _open(self, place: _Place, port: int, stack: ExitStack) -> socket.socket:
        opened = stack.enter_context(self._socket(place.node))
        opened.bind((place.address, port))
        return opened

    def _socket(self, node: str, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> socket.socket:
        return self.lab.socket(node, socket.AF_INET, kind, protocol)

    def _take(self, place: _Place, ports: Iterator[int], count: int, stack: ExitStack) -> list[int]:
        """Sockets of one place, by number."""
        taken: list[int] = []
        for port in ports:
            if len(taken) == count:
                break
            if self._try(place, port, stack):
                taken.append(len(self.sockets) - 1)
        return taken

    def _take_pairs(
        self, one: _Place, two: _Place, ports: Iterator[int], stack: ExitStack
    ) -> tuple[list[int], list[int]]:
        """Pairs of sockets of two places with the same local port."""
        pairs: list[tuple[int, int]] = []
        for port in ports:
            if len(pairs) == _PAIRS:
                break
            if self._try(one, port, stack) and self._try(two, port, stack):
                pairs.append((len(self.sockets) - 2, len(self.sockets) - 1))
        return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]

    def _try(self, place: _Place, port: int, stack: ExitStack) -> bool:
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

    def _ask_router(self, site: _Site, stack: ExitStack) -> socket.socket:
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

    def _judge(self, site: _Site, seen: _Seen | None, unsolicited: Unsolicited | None) -> Measured:
        if seen is None:
            return Measured(site.router.name, site.nat.name, (), notes=tuple(site.notes))
        behaviour, neighbours, lifetime = seen
        assert behaviour is not None
        findings = tuple(_findings(site, behaviour, neighbours, lifetime, unsolicited))
        return Measured(site.router.name, site.nat.name, findings, behaviour, neighbours, lifetime, tuple(site.notes))


def _answered(listening: MappingType[socket.socket, _Site], away: float) -> dict[str, Unsolicited]:
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


# -- declared beside measured --------------------------------------------------------------------------------


def _findings(
    site: _Site,
    behaviour: Behaviour,
    neighbours: Neighbours | None,
    lifetime: Lifetime | None,
    unsolicited: Unsolicited | None,
) -> Iterator[Finding]:
    nat = site.nat
    # Where nothing gets through, it may be the host's own fault.
    udp = f"udp from {site.inside[0].node}"
    if nat.udp_ports == ():
        blocked = behaviour.outcome is Outcome.BLOCKED
        yield Finding(udp, "blocked", "blocked" if blocked else "let out", blocked)
        return
    if behaviour.outcome is not Outcome.MEASURED:
        yield Finding(udp, "let out", behaviour.outcome.value, False)
        return
    yield _finding("mapping", nat.mapping, behaviour.mapping)
    yield _finding("filtering", nat.filtering, behaviour.filtering)
    yield _finding("ports", nat.ports, behaviour.ports)
    yield from _port_findings(site, behaviour)
    if neighbours is not None:
        yield _yes_or_no("overloading", nat.overloading, neighbours.overloading)
    yield _hairpin(site, neighbours)
    if site.router.firewall and unsolicited is not None:
        yield _finding("unsolicited", nat.unsolicited, unsolicited)
    if lifetime is not None:
        most = "?" if lifetime.at_most_s is None else f"{lifetime.at_most_s:.3g}"
        fits = lifetime.at_least_s <= nat.udp_timeout_s <= (lifetime.at_most_s or 0)
        yield Finding("udp lifetime", f"{nat.udp_timeout_s} s", f"{lifetime.at_least_s:.3g} to {most} s", fits)
        yield _yes_or_no("outbound refresh", True, lifetime.outbound_refresh)
        yield _yes_or_no("inbound refresh", nat.inbound_refresh, lifetime.inbound_refresh)


def _port_findings(site: _Site, behaviour: Behaviour) -> Iterator[Finding]:
    nat = site.nat
    seen = [external for _, external in behaviour.seen]
    ports = sorted(port for _, port in seen)
    if behaviour.ports is not Ports.PRESERVE and nat.ports is not Ports.PRESERVE:
        yield _yes_or_no("parity", nat.parity, behaviour.parity)
    span = f"{ports[0]}-{ports[-1]}"
    yield Finding(
        "port range",
        f"{nat.first_port}-{nat.last_port}",
        span,
        nat.first_port <= ports[0] <= ports[-1] <= nat.last_port,
    )
    if nat.block is not None and not site.guests:
        begin = (ports[0] - nat.first_port) // nat.block
        whole = begin == (ports[-1] - nat.first_port) // nat.block
        yield Finding("port block", f"{nat.block} ports for each host", span, whole)
    addresses = {address for address, _ in seen}
    strange = addresses - set(site.external)
    yield Finding("external address", ", ".join(site.external), ", ".join(sorted(addresses)), not strange)
    if nat.addresses > 1:
        yield _finding("pooling", nat.pooling, Pooling.PAIRED if len(addresses) == 1 else Pooling.ARBITRARY)


def _hairpin(site: _Site, neighbours: Neighbours | None) -> Finding:
    declared = site.nat.hairpin
    seen = None if neighbours is None else neighbours.hairpin
    if seen is None or (site.one_host and seen is Hairpin.OFF and declared is not Hairpin.EXTERNAL):
        # Linux takes no packet from outside that bears an address of its own.
        return Finding("hairpin", declared.value, "not measured: one host", None)
    return _finding("hairpin", declared, seen)


def _finding(
    axis: str,
    declared: Mapping | Filtering | Ports | Hairpin | Unsolicited | Pooling,
    seen: Mapping | Filtering | Ports | Hairpin | Unsolicited | Pooling | None,
) -> Finding:
    if seen is None:
        return Finding(axis, declared.value, "not to be told from here", None)
    return Finding(axis, declared.value, seen.value, seen is declared)


def _yes_or_no(axis: str, declared: bool, seen: bool | None) -> Finding:
    words = {True: "yes", False: "no", None: "not to be told from here"}
    return Finding(axis, words[declared], words[seen], None if seen is None else seen == declared)
