"""Partitions: which nodes are kept from which others, and by which addresses each of them knows the others.

Nothing that a node of one group sends reaches, or passes through, a node of another. Nodes on one segment know each
other by MAC address; others by IP address: their own, or that of the NAT that hides them, where nobody else hides
behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from wanlab.errors import Source, TopologyError, did_you_mean
from wanlab.topology.network import IPAddress, IPNetwork, Kind, Network, Node
from wanlab.topology.realms import Place, realms

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """Groups of nodes that are kept from one another. One group alone: from everybody else."""

    groups: Groups
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Far:
    """What a node is kept from."""

    nodes: frozenset[str]
    """Those that share a segment with it."""
    addresses: tuple[IPNetwork, ...]

    def has(self, address: IPAddress) -> bool:
        """Whether that address is one of theirs."""
        return any(address in network for network in self.addresses)


def check_partition(groups: Sequence[Sequence[str]], nodes: Mapping[str, Kind], where: Source | None) -> Groups:
    """Refuse groups that name nobody, a switch, or somebody twice. Raises TopologyError."""
    seen: set[str] = set()
    if not groups or not all(groups):
        what = "a group of nobody" if groups else "no groups"
        raise TopologyError(f"a partition with {what}", where=where, hint="name nodes, in two groups or more")
    for name in (name for group in groups for name in group):
        if name not in nodes:
            raise TopologyError(f"a partition: no node {name!r}", where=where, hint=did_you_mean(name, nodes))
        if nodes[name] is Kind.SWITCH:
            raise TopologyError(
                f"a partition: {name!r} is a switch", where=where, hint="name the hosts and routers that are plugged in"
            )
        if name in seen:
            raise TopologyError(
                f"a partition: {name!r} is named twice", where=where, hint="a node is in one of the groups"
            )
        seen.add(name)
    return tuple(tuple(group) for group in groups)


def kept_apart(network: Network, partitions: Iterable[Partition]) -> dict[str, Far]:
    """For each node that is kept from others, from whom. Raises TopologyError where that cannot be told apart."""
    nodes: dict[str, set[str]] = {}
    addresses: dict[str, set[IPNetwork]] = {}
    faces = _Faces(network)
    for partition in partitions:
        for mine, others in permutations(_groups(network, partition), 2):
            for name in mine:
                for other in others:
                    if faces.share_a_segment(name, other):
                        nodes.setdefault(name, set()).add(other)
                    for found in faces.seen(name, mine, other, others, partition.source):
                        addresses.setdefault(name, set()).add(found)
    return {
        name: Far(frozenset(nodes.get(name, ())), tuple(sorted(addresses.get(name, ()), key=_order)))
        for name in sorted({*nodes, *addresses})
    }


def _groups(network: Network, partition: Partition) -> Iterator[tuple[str, ...]]:
    yield from partition.groups
    if len(partition.groups) == 1:
        (alone,) = partition.groups
        yield tuple(node.name for node in network.of(Kind.ROUTER, Kind.HOST) if node.name not in alone)


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


@dataclass(frozen=True, slots=True)
class _Face:
    """Addresses by which somebody knows a node, and the router that they are of where it hides behind one."""

    addresses: tuple[IPNetwork, ...]
    router: str | None = None


class _Faces:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.realm_of = {version: realms(self._places(version)) for version in (4, 6)}

    def _places(self, version: int) -> list[list[Place]]:
        return [
            [
                Place(i.segment, node.kind is Kind.ROUTER, i.name == node.uplink and node.translates(version))
                for i in node.interfaces
                if i.master is None and (i.addresses or node.kind is Kind.SWITCH)
            ]
            for node in self.network
        ]

    def share_a_segment(self, one: str, other: str) -> bool:
        segments = [{i.segment for i in self.network[name].interfaces if i.addresses} for name in (one, other)]
        return bool(segments[0] & segments[1])

    def seen(
        self, name: str, mine: Sequence[str], other: str, others: Sequence[str], where: Source | None
    ) -> Iterator[IPNetwork]:
        """The addresses by which *name* knows *other*, where those are of nobody else."""
        for version in (4, 6):
            face = self._face(other, name, version)
            if face is None:
                continue
            stranger = self._stranger(face, others)
            if stranger is None:
                yield from face.addresses
                continue
            # The other one knows this one by something of its own: then it alone sees to it.
            back = self._face(name, other, version)
            companion = None if back is None else self._stranger(back, mine)
            if companion is not None:
                raise TopologyError(
                    f"a partition: {name!r} cannot tell {other!r} from {stranger!r}, both behind {face.router!r}, "
                    f"nor {other!r} {name!r} from {companion!r}",
                    where=where,
                    hint=f"put {stranger!r} or {companion!r} in the group too",
                )

    def _stranger(self, face: _Face, group: Sequence[str]) -> str | None:
        """Somebody who hides behind the same addresses, and is not in the group, nor behind one that is."""
        if face.router is None:
            return None
        covered = {*group, *(inner for name in group for inner in self._inside(name))}
        return next((inner for inner in self._inside(face.router) if inner not in covered), None)

    def _inside(self, router: str) -> Iterator[str]:
        """The hosts behind a router that has an uplink, also behind further ones."""
        node = self.network[router]
        if node.uplink is None:
            return
        seen = {router}
        segments = [i.segment for i in node.interfaces if i.addresses and i.name != node.uplink]
        while segments:
            segment = segments.pop()
            for peer in self.network.peers(segment):
                below = self.network[peer.node]
                if below.name in seen:
                    continue
                seen.add(below.name)
                if below.kind is Kind.HOST:
                    yield below.name
                elif peer.name == below.uplink:
                    segments += [i.segment for i in below.interfaces if i.addresses and i.name != below.uplink]

    def _face(self, other: str, to: str, version: int) -> _Face | None:
        """How *other* is known to *to*: from its own realm outwards, in the first that *to* sees."""
        visible = self._visible(self.network[to], version)
        node = self.network[other]
        router: str | None = None
        realm_of = self.realm_of[version]
        for _ in range(len(self.network.nodes)):
            at = [i for i in node.interfaces if i.addresses and realm_of.get(i.segment) in visible]
            if router is not None:
                at = [i for i in at if i.name == node.uplink]
            own = [a.ip for i in at for a in i.addresses if a.version == version]
            if own:
                found = [_single(ip) for ip in own]
                if router is not None:
                    found += [p.outside for p in node.prefixes if version == 6]
                elif not any(peer == to for peer in self._behind(node)):
                    found += self._routed(node, version)
                return _Face(tuple(found), router)
            above = self._translator(node, version)
            if above is None:
                return None
            node, router = above, above.name
        return None

    def _behind(self, node: Node) -> set[str]:
        return set(self._inside(node.name))

    def _routed(self, node: Node, version: int) -> Iterator[IPNetwork]:
        """What stands behind a router that does not translate: those are known by their own addresses."""
        if node.uplink is None or node.translates(version):
            return iter(pair.outside for pair in node.prefixes if version == 6)
        inside = (i.segment for i in node.interfaces if i.addresses and i.name != node.uplink)
        return (n for segment in inside for n in self.network.segments[segment].subnets if n.version == version)

    def _visible(self, node: Node, version: int) -> set[str]:
        """The realms of which it can send to addresses: its own, and those that its NATs lead to."""
        realm_of = self.realm_of[version]
        found = {realm_of[i.segment] for i in node.interfaces if i.addresses and i.segment in realm_of}
        grows = True
        while grows:
            grows = False
            for router in self.network.of(Kind.ROUTER):
                if router.uplink is None or not router.translates(version):
                    continue
                outside = realm_of[router.interface(router.uplink).segment]
                inside = {realm_of[i.segment] for i in router.interfaces if i.addresses and i.name != router.uplink}
                if inside & found and outside not in found:
                    found.add(outside)
                    grows = True
        return found

    def _translator(self, node: Node, version: int) -> Node | None:
        """The router that hides it: one that translates, with an inside in a realm of the node's."""
        realm_of = self.realm_of[version]
        mine = {realm_of[i.segment] for i in node.interfaces if i.addresses and i.segment in realm_of}
        if node.uplink is not None and node.translates(version):
            mine = {realm_of[node.interface(node.uplink).segment]}
        for router in self.network.of(Kind.ROUTER):
            if router.name != node.name and router.uplink is not None and router.translates(version):
                inside = {realm_of[i.segment] for i in router.interfaces if i.addresses and i.name != router.uplink}
                if inside & mine:
                    return router
        return None


def _single(ip: IPAddress) -> IPNetwork:
    from ipaddress import ip_network

    return ip_network(ip)
