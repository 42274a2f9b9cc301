"""From a declared topology to a network: segments, interface names, subnets, addresses and routes.

Everything follows from the declaration and its order, so the same file always gives the same lab. What was given is
used as given; what was not is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from wanlab.errors import Source, TopologyError
from wanlab.topology.impairment import Impairment
from wanlab.topology.ipv6 import PrefixPair
from wanlab.topology.macs import mac_of
from wanlab.topology.network import Interface, Kind, Link, LinkState, Network, Node, Route, Segment
from wanlab.topology.numbering import number
from wanlab.topology.partitions import kept_apart
from wanlab.topology.prefixes import prefixes_of
from wanlab.topology.routing import Attachment, routes_of
from wanlab.topology.topology import Declared, Router, Topology
from wanlab.topology.wiring import Wiring

_UP = LinkState.UP


def resolve(topology: Topology) -> Network:
    """See :meth:`Topology.resolve`."""
    wiring = Wiring(topology)
    wiring.lay_out()
    _refuse_loops(wiring)
    number(wiring)
    _refuse_idle_nats(wiring)
    return _network(wiring, prefixes_of(wiring))


_Place = tuple[str, str]
"""A node and an interface of it."""


class _Cables:
    """Which ends of cables are up, by what was declared of them."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        members = (member for places in wiring.members.values() for member, _ in places)
        self.states = {(member.node.name, member.interface): member.state for member in members}
        self.states |= {c.a: c.port.state for c in wiring.cables if c.a[0] in wiring.segment_of_switch}
        self.far: dict[_Place, _Place] = {}
        for cable in wiring.cables:
            self.far[cable.a], self.far[cable.b] = cable.b, cable.a

    def up(self, place: _Place) -> bool:
        far = self.far.get(place)
        unplugged = far is not None and self.states.get(far) is LinkState.UNPLUGGED
        return self.states.get(place) is not LinkState.DOWN and not unplugged

    def carrier(self, place: _Place) -> bool:
        return self.up(place) and (place not in self.far or self.up(self.far[place]))


def _network(wiring: Wiring, prefixes: Mapping[str, tuple[PrefixPair, ...]]) -> Network:
    cables = _Cables(wiring)
    attachments = [
        Attachment(
            name,
            member.interface,
            segment.name,
            tuple(member.addresses),
            member.gateway,
            frozenset(version for version in (4, 6) if member.translates(version)),
            tuple(pair.outside for pair in prefixes.get(name, ())) if member.uplink is not None else (),
            cables.up((name, member.interface)),
            cables.carrier((name, member.interface)),
            member.metric,
        )
        for name, places in wiring.members.items()
        for member, segment in places
    ]
    subnets = {name: tuple(segment.subnets) for name, segment in wiring.segments.items()}
    routes = routes_of(attachments, subnets, {node.name for node in _of(wiring, Kind.ROUTER)})
    egress = _egress(wiring)
    partitions = wiring.topology.partitions
    ordered = (*_of(wiring, Kind.SWITCH), *_of(wiring, Kind.ROUTER), *_of(wiring, Kind.HOST))
    network = Network(
        wiring.topology.name,
        wiring.topology.title,
        {
            node.name: _node(cables, node, routes.get(node.name, ()), prefixes.get(node.name, ()), egress)
            for node in ordered
        },
        tuple(Link(cable.a, cable.b) for cable in wiring.cables),
        {s.name: Segment(s.name, tuple(s.subnets), s.mtu) for s in wiring.segments.values()},
    )
    return replace(network, apart=kept_apart(network, partitions)) if partitions else network


_Egress = Mapping[tuple[str, str], Impairment | None]


def _egress(wiring: Wiring) -> _Egress:
    """What becomes of what each end of an impaired cable sends."""
    found: dict[tuple[str, str], Impairment | None] = {}
    for cable in wiring.cables:
        if cable.impairment is not None:
            found |= {cable.a: cable.impairment.up, cable.b: cable.impairment.down}
    return found


def _node(
    cables: _Cables,
    node: Declared,
    routes: tuple[Route, ...],
    prefixes: tuple[PrefixPair, ...],
    egress: _Egress,
) -> Node:
    interfaces = tuple(
        replace(interface, up=cables.up(place), carrier=cables.carrier(place), state=cables.states.get(place, _UP))
        for interface in _interfaces(cables.wiring, node, egress)
        for place in [(interface.node, interface.name)]
    )
    if not isinstance(node, Router):
        return Node(node.name, node.kind, interfaces, routes)
    return Node(
        node.name,
        node.kind,
        interfaces,
        routes,
        "wan" if node.uplink else None,
        node.nat,
        node.firewall,
        node.filtering,
        node.ipv6,
        prefixes,
    )


def _interfaces(wiring: Wiring, node: Declared, egress: _Egress) -> Iterator[Interface]:
    bridge, segment = wiring.bridges.get(node.name, (None, None))
    if bridge is not None and segment is not None:
        if node.kind is Kind.SWITCH:
            yield Interface(node.name, bridge, segment.name, mtu=segment.mtu, bridge=True)
        for _, port in wiring.ports[node.name]:
            way = egress.get((node.name, port))
            yield Interface(node.name, port, segment.name, mtu=segment.mtu, master=bridge, egress=way)
    for member, segment in wiring.members[node.name]:
        yield Interface(
            node.name,
            member.interface,
            segment.name,
            tuple(member.addresses),
            mac_of(node.name, member.interface),
            min(member.mtu or segment.mtu, segment.mtu),
            bridge=member.interface == bridge,
            slaac=member.slaac,
            advertises=member.advertises,
            egress=egress.get((node.name, member.interface)),
        )


def _of(wiring: Wiring, kind: Kind) -> list[Declared]:
    return [node for node in wiring.topology.nodes.values() if node.kind is kind]


def _refuse_loops(wiring: Wiring) -> None:
    """A chain of uplinks must end."""
    above: dict[str, list[str]] = {}
    for name, places in wiring.members.items():
        for member, segment in places:
            if member.uplink is not None:
                above[name] = [m.node.name for m in segment.members if m.gateway]
    state: dict[str, int] = {}
    for start, first in above.items():
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(first))]
        if state.setdefault(start, 1) == 2:
            continue
        while stack:
            name, ups = stack[-1]
            up = next(ups, None)
            if up is None:
                state[name] = 2
                stack.pop()
            elif state.get(up) == 1:
                loop = [entry for entry, _ in stack]
                loop = [*loop[loop.index(up) :], up]
                raise TopologyError(
                    f"a loop of uplinks: {' -> '.join(loop)}",
                    where=_uplink_source(wiring, name),
                    hint="give one of them another uplink",
                )
            elif state.get(up) is None:
                state[up] = 1
                stack.append((up, iter(above.get(up, ()))))


def _refuse_idle_nats(wiring: Wiring) -> None:
    """Who asks for a NAT has IPv4 to translate to; the one for who says nothing may have none."""
    for name, places in wiring.members.items():
        router = wiring.topology.nodes[name]
        if not isinstance(router, Router) or router.nat is None or not router.nat_named:
            continue
        uplink = next(member for member, _ in places if member.uplink is router)
        if not any(address.version == 4 for address in uplink.addresses):
            raise TopologyError(
                f"router {name!r}: nat {router.nat.name!r}, and it has no IPv4 at its uplink",
                where=_uplink_source(wiring, name),
                hint='give what it is plugged into an IPv4 subnet, or say nat = "none"',
            )


def _uplink_source(wiring: Wiring, name: str) -> Source | None:
    node = wiring.topology.nodes[name]
    return (isinstance(node, Router) and node.uplink and node.uplink.source) or node.source
