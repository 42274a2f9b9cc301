"""Where a packet goes, as the topology says: followed hop by hop through routes, firewalls and NATs, without a kernel.

This is the expectation that `wanlab verify` holds against what packets really do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.islands import islands
from wanlab.topology.nat import Ports, Unsolicited
from wanlab.topology.network import Interface, IPAddress, Kind, Network, Node

INITIAL_TTL = 64

_NO_LIMIT = 65535  # what never leaves a node meets no MTU but that of `lo`


class End(Enum):
    """How a journey ends."""

    DELIVERED = "delivered"
    NO_ROUTE = "no route"
    NO_NEIGHBOUR = "nobody has the address"
    UNASKED = "dropped by the firewall: nobody inside asked for it"
    PORT_CLOSED = "dropped by the NAT: it lets out to a few ports only"
    APART = "lost: a partition keeps them apart"
    NOT_FORWARDED = "dropped: a host does not forward"


@dataclass(frozen=True, slots=True)
class Translation:
    """What a router on the way has put in place of a packet's source address."""

    router: str
    ports: Ports
    """How it chose the port that the packet now comes from."""
    before: IPAddress
    after: IPAddress


@dataclass(frozen=True, slots=True)
class Journey:
    """What becomes of the first packet of a flow."""

    path: tuple[str, ...]
    """The nodes it met, sender first; the last is where it ended."""
    end: End
    source: IPAddress | None
    """The source address that the last node saw; None where the packet never left."""
    ttl: int
    mtu: int
    """The smallest on the way: what a packet may have without being fragmented."""
    first_mtu: int
    """That of the interface by which it left: one byte more, and the sender itself refuses."""
    translations: tuple[Translation, ...] = ()
    pool: tuple[IPAddress, ...] = ()
    """The addresses of the last NAT on the way: any of them may stand for `source`. Empty where there was none."""

    @property
    def sources(self) -> tuple[IPAddress, ...]:
        """The source addresses of which the last node saw one."""
        return self.pool or (() if self.source is None else (self.source,))

    @property
    def delivered(self) -> bool:
        """Whether it arrived."""
        return self.end is End.DELIVERED

    @property
    def last(self) -> str:
        """Where it ended."""
        return self.path[-1]


class Atlas:
    """Answers for one network where packets go."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @cached_property
    def _neighbours(self) -> dict[tuple[str, IPAddress], Interface]:
        return {
            (interface.segment, address.ip): interface
            for node in self.network
            for interface in node.interfaces
            if interface.carrier
            for address in interface.addresses
        }

    @cached_property
    def _own(self) -> dict[str, frozenset[IPAddress]]:
        return {
            node.name: frozenset(
                address.ip
                for interface in node.interfaces
                for address in interface.addresses
                if interface.up or address.version == 4  # the kernel takes IPv6 addresses away with the interface
            )
            for node in self.network
        }

    @cached_property
    def _islands(self) -> Mapping[tuple[str, str], tuple[str, str]]:
        return islands(self.network)

    def joined(self, one: Interface, other: Interface) -> bool:
        """Whether a broadcast of one reaches the other."""
        return self._islands[one.node, one.name] == self._islands[other.node, other.name]

    def _neighbour(self, out: Interface, hop: IPAddress) -> Interface | None:
        found = self._neighbours.get((out.segment, hop)) if out.carrier else None
        return found if found is not None and self.joined(out, found) else None

    def journey(self, sender: str, destination: IPAddress) -> Journey:
        """The way of the first packet of a flow from *sender* to *destination*: of UDP, to no well-known port."""
        node = self.network[sender]
        path = [sender]
        translations: list[Translation] = []
        ttl, mtu, first_mtu = INITIAL_TTL, _NO_LIMIT, _NO_LIMIT
        source: IPAddress | None = None
        pool: tuple[IPAddress, ...] = ()
        came_in: Interface | None = None
        while True:
            meant = node.inwards(destination)
            destination = meant or destination
            if destination in self._own[node.name]:
                guarded = came_in is not None and node.firewall and came_in.name == node.uplink and not _answers(node)
                end = End.UNASKED if guarded else End.DELIVERED
                return Journey(tuple(path), end, source or destination, ttl, mtu, first_mtu, tuple(translations), pool)
            if came_in is not None:
                refused = self._refusal(node, came_in)
                if refused is not None:
                    return Journey(tuple(path), refused, source, ttl, mtu, first_mtu, tuple(translations), pool)
                ttl -= 1
            out, hop = self.next_hop(node, destination)
            if out is None:
                return Journey(tuple(path), End.NO_ROUTE, source, ttl, mtu, first_mtu, tuple(translations), pool)
            if came_in is not None and out.name == node.uplink and destination.version == 4 and _lets_few_out(node):
                return Journey(tuple(path), End.PORT_CLOSED, source, ttl, mtu, first_mtu, tuple(translations), pool)
            mine = next(address.ip for address in out.addresses if address.version == destination.version)
            if source is None:
                source = mine
            else:
                translation = _translation(node, out, source, mine, turned=meant is not None)
                if translation is not None:
                    translations.append(translation)
                    source = translation.after
            if node.nat is not None and out.name == node.uplink and destination.version == 4:
                pool = tuple(address.ip for address in out.addresses if address.version == 4)
            if came_in is None:
                first_mtu = out.mtu
            mtu = min(mtu, out.mtu)
            came_in = self._neighbour(out, hop)
            if came_in is None or ttl == 0:
                return Journey(tuple(path), End.NO_NEIGHBOUR, source, ttl, mtu, first_mtu, tuple(translations), pool)
            if self._apart(node, self.network[came_in.node], source, destination):
                return Journey(tuple(path), End.APART, source, ttl, mtu, first_mtu, tuple(translations), pool)
            node = self.network[came_in.node]
            path.append(node.name)

    def answered(self, there: Journey) -> bool:
        """Whether an answer to a delivered first packet finds its way back, by the state that it left behind."""
        if not there.delivered or there.source is None:
            return False
        node, destination = self.network[there.last], there.source
        known = set(there.path)
        undo = list(there.translations)
        came_in: Interface | None = None
        for _ in range(INITIAL_TTL):
            if undo and node.name == undo[-1].router and destination == undo[-1].after:
                destination = undo.pop().before
            if destination in self._own[node.name]:
                return node.name == there.path[0] and not undo
            if came_in is not None:
                refused = self._refusal(node, came_in)
                if refused is not None and not (refused is End.UNASKED and node.name in known):
                    return False
            out, hop = self.next_hop(node, destination)
            if out is None:
                return False
            came_in = self._neighbour(out, hop)
            if came_in is None:
                return False
            node = self.network[came_in.node]
        return False

    def outside(self, name: str) -> Iterator[tuple[IPAddress, IPAddress, Node]]:
        """Of a node behind a router that translates prefixes: the address outside, what it stands for, that router."""
        own: list[IPAddress] = list(self._own[name])
        for address in own:
            for router in self.network.of(Kind.ROUTER):
                moved = router.outwards(address)
                if moved is not None and moved not in own and self.journey(router.name, address).last == name:
                    own.append(moved)
                    yield moved, address, router

    def _apart(self, sender: Node, receiver: Node, source: IPAddress, destination: IPAddress) -> bool:
        """Whether a partition loses what one node sends to its neighbour."""
        leaving, arriving = self.network.apart.get(sender.name), self.network.apart.get(receiver.name)
        if leaving is not None and (receiver.name in leaving.nodes or leaving.has(destination)):
            return True
        if arriving is None:
            return False
        passes = receiver.kind is Kind.ROUTER and arriving.has(destination)
        return sender.name in arriving.nodes or arriving.has(source) or passes

    @staticmethod
    def _refusal(node: Node, came_in: Interface) -> End | None:
        """Why *node* would not forward a flow's first packet that came in there."""
        if node.kind is not Kind.ROUTER:
            return End.NOT_FORWARDED
        return End.UNASKED if node.firewall and came_in.name == node.uplink else None

    def next_hop(self, node: Node, destination: IPAddress) -> tuple[Interface | None, IPAddress]:
        """The interface to leave by and the neighbour to hand it to: the longest prefix, then the lowest metric."""
        best: tuple[int, int] = (-1, 0)
        found: tuple[Interface | None, IPAddress] = (None, destination)
        for length, metric, interface, hop in self._choices(node, destination):
            if (length, -metric) > best:
                best, found = (length, -metric), (interface, hop)
        return found

    @staticmethod
    def _choices(node: Node, destination: IPAddress) -> Iterator[tuple[int, int, Interface, IPAddress]]:
        for interface in node.interfaces:
            for address in interface.addresses if interface.up else ():
                if destination in address.network:
                    yield address.network.prefixlen, 0, interface, destination
        for route in node.routes:
            if destination in route.destination:
                yield route.destination.prefixlen, route.metric, node.interface(route.interface), route.via


def _translation(node: Node, out: Interface, source: IPAddress, mine: IPAddress, *, turned: bool) -> Translation | None:
    """What *node* makes of the source of what it forwards out there; *turned*: sent from inside to its outside."""
    if out.name != node.uplink:
        after = node.outwards(source) if turned else None
        return None if after is None else Translation(node.name, Ports.PRESERVE, source, after)
    if source.version == 4:
        return None if node.nat is None else Translation(node.name, node.nat.ports, source, mine)
    if node.ipv6 is Ipv6.MASQUERADE:
        return Translation(node.name, Ports.PRESERVE, source, mine)
    after = node.outwards(source)
    return None if after is None else Translation(node.name, Ports.PRESERVE, source, after)


def _answers(router: Node) -> bool:
    return router.nat is not None and router.nat.unsolicited is Unsolicited.ACCEPT


def _lets_few_out(router: Node) -> bool:
    return router.nat is not None and router.nat.udp_ports is not None
