"""From a declared topology to a network: segments, interface names, subnets and addresses.

Everything follows from the declaration and its order, so the same file always gives the same lab. What was given is
used as given; what was not comes from the pools below.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network

from wanlab.errors import Source, TopologyError
from wanlab.topology.names import fits_interface
from wanlab.topology.network import (
    DEFAULT_MTU,
    Interface,
    IPAddress,
    IPInterface,
    IPNetwork,
    Kind,
    Link,
    Network,
    Node,
    Route,
    Segment,
)
from wanlab.topology.pools import SubnetPool, first_overlap
from wanlab.topology.realms import Place, views
from wanlab.topology.routing import Attachment, routes_of
from wanlab.topology.topology import Address, Declared, Port, Router, Switch, Topology

MAX_BRIDGE_PORTS = 1023  # the kernel's BR_MAX_PORTS (1 << 10) less port number 0
MIN_MTU_IPV6 = 1280  # RFC 8200, section 5; below it Linux takes IPv6 off an interface
_NOWHERE = Source("")


@dataclass(slots=True, eq=False)
class _Member:
    """A place on a segment: an interface that will have addresses."""

    node: Declared
    interface: str
    wanted: tuple[Address, ...]
    source: Source | None
    gateway: bool = False
    """The inside of a router: what the others on the segment send through."""
    mtu: int | None = None
    addresses: list[IPInterface] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Segment:
    name: str
    label: str
    """How an error speaks of it: `switch 'wan'`, `the lan of 'home-a'`."""
    subnets: list[IPNetwork]
    declared_mtu: int | None
    source: Source | None
    public: bool
    members: list[_Member] = field(default_factory=list)

    @property
    def mtu(self) -> int:
        return self.declared_mtu or DEFAULT_MTU


@dataclass(slots=True)
class _Cable:
    """A cable whose ends have been named; a bridge port has no member."""

    a: tuple[str, str]
    b: tuple[str, str]


class _Resolver:
    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.segments: dict[str, _Segment] = {}
        self.cables: list[_Cable] = []
        self.names: dict[str, set[str]] = {name: {"lo"} for name in topology.nodes}
        self.ports: dict[str, list[tuple[str, str]]] = {}
        """For each node with a bridge: (bridge, port) in order."""
        self.bridges: dict[str, tuple[str, _Segment]] = {}
        self.members: dict[str, list[tuple[_Member, _Segment]]] = {name: [] for name in topology.nodes}
        self.segment_of_switch: dict[str, _Segment] = {}
        self.lans: dict[str, _Segment] = {}

    # -- segments and interfaces ---------------------------------------------------------------------------------

    def lay_out(self) -> None:
        """Switches, then what is plugged into them and into routers, then cables: each in the order declared."""
        nodes = self.topology.nodes.values()
        routers = [node for node in nodes if isinstance(node, Router)]
        self._switches([node for node in nodes if isinstance(node, Switch)])
        self._lans(routers)
        for node in nodes:
            self._reserve_names(node)
        for node in (*routers, *(node for node in nodes if node.kind is Kind.HOST)):
            self._plug(node)
        cables = [(node, port) for node in nodes for port in node.ports if port.cable]
        for node, port in sorted(cables, key=lambda cable: cable[1].order):
            self._cable(node, port)
        for node in nodes:
            if len(self.ports.get(node.name, ())) > MAX_BRIDGE_PORTS:
                raise TopologyError(
                    f"{node.kind.value} {node.name!r} has {len(self.ports[node.name])} ports",
                    where=node.source,
                    hint=f"a Linux bridge has {MAX_BRIDGE_PORTS} at most: spread them over several switches",
                )

    def _switches(self, switches: list[Switch]) -> None:
        """One segment for all switches that are linked with one another."""
        for switch in switches:
            segment = _Segment(
                switch.name,
                f"switch {switch.name!r}",
                list(switch.subnets),
                switch.mtu,
                switch.source,
                public=True,
            )
            self.segment_of_switch[switch.name] = segment
            self.segments[segment.name] = segment
            self.bridges[switch.name] = ("br0", segment)
            self.names[switch.name].add("br0")
            self.ports[switch.name] = []
        for switch in switches:
            for port in switch.ports:
                a, b = self.segment_of_switch[switch.name], self.segment_of_switch[port.to]
                if a is b:
                    raise TopologyError(
                        f"switches {switch.name!r} and {port.to!r} are linked already: broadcasts would never end",
                        where=port.source,
                        hint="remove one of the links",
                    )
                self._merge(into=b, gone=a)
                self.cables.append(
                    _Cable(
                        self._bridge_port(switch.name, port.to, "br0"), self._bridge_port(port.to, switch.name, "br0")
                    )
                )

    def _merge(self, into: _Segment, gone: _Segment) -> None:
        for subnet in gone.subnets:
            if any(subnet.version == other.version and subnet != other for other in into.subnets):
                raise TopologyError(
                    f"{gone.label} and {into.label} are linked and have different subnets",
                    where=gone.source,
                    hint="they are one network: give the subnet to one of them",
                )
            if subnet not in into.subnets:
                into.subnets.append(subnet)
        if gone.declared_mtu is not None:
            into.declared_mtu = min(into.declared_mtu or gone.declared_mtu, gone.declared_mtu)
        for name, segment in self.segment_of_switch.items():
            if segment is gone:
                self.segment_of_switch[name] = into
                self.bridges[name] = ("br0", into)
        del self.segments[gone.name]

    def _lans(self, routers: list[Router]) -> None:
        """A router's own LAN: one cable to its only host, as in the article; a bridge where there are more."""
        plugged = {router.name: 0 for router in routers}
        for node in self.topology.nodes.values():
            uplink = [node.uplink] if isinstance(node, Router) and node.uplink else []
            for port in (*uplink, *node.ports):
                if not port.cable and port.to in plugged:
                    plugged[port.to] += 1
        for router in routers:
            if not plugged[router.name] and not router.lan_subnets:
                continue
            segment = _Segment(
                self._fresh(f"{router.name}-lan", self.segments),
                f"the lan of {router.name!r}",
                list(router.lan_subnets),
                None,
                router.source,
                public=False,
            )
            self.segments[segment.name] = segment
            self.lans[router.name] = segment
            if plugged[router.name] != 1:
                self.bridges[router.name] = ("lan", segment)
                self.ports[router.name] = []

    def _plug(self, node: Declared) -> None:
        if isinstance(node, Router):
            if node.uplink is not None:
                self._plug_into(node, node.uplink, gateway=False)
            if node.name in self.lans:
                lan = Port(node.name, "lan", node.lan_addresses, source=node.source)
                self._member(node, lan, self.lans[node.name], gateway=True)
        for port in node.ports:
            if not port.cable and node.kind is not Kind.SWITCH:
                self._plug_into(node, port, gateway=isinstance(node, Router))

    def _plug_into(self, node: Declared, port: Port, *, gateway: bool) -> None:
        segment = self.lans[port.to] if port.to in self.lans else self.segment_of_switch[port.to]
        member = self._member(node, port, segment, gateway=gateway)
        if port.to in self.bridges:
            far = self._bridge_port(port.to, node.name, self.bridges[port.to][0], member.interface)
        else:
            far = (port.to, "lan")
        self.cables.append(_Cable((node.name, member.interface), far))
        if gateway and isinstance(node, Router) and node.uplink is not None:
            segment.public = False

    def _cable(self, node: Declared, port: Port) -> None:
        other = self.topology.nodes[port.to]
        name = self._fresh(f"{node.name}--{other.name}", self.segments)
        both_routers = node.kind is Kind.ROUTER and other.kind is Kind.ROUTER
        segment = _Segment(
            name,
            f"the cable between {node.name!r} and {other.name!r}",
            list(port.subnets),
            port.mtu,
            port.source,
            public=both_routers,
        )
        self.segments[name] = segment
        near = self._member(node, port, segment, gateway=node.kind is Kind.ROUTER)
        far_port = Port(node.name, port.peer_name, port.peer_addresses, mtu=port.mtu, source=port.source)
        far = self._member(other, far_port, segment, gateway=other.kind is Kind.ROUTER)
        self.cables.append(_Cable((node.name, near.interface), (other.name, far.interface)))

    def _reserve_names(self, node: Declared) -> None:
        """Names that were given, before any is chosen."""
        chosen = [(port.name, port) for port in node.ports if port.name is not None]
        if isinstance(node, Router):
            chosen += [("wan", node.uplink)] if node.uplink else []
            chosen += [("lan", Port(node.name, source=node.source))] if node.name in self.lans else []
        for name, port in chosen:
            self._reserve(node, name, port)
        for port in node.ports:
            if port.peer_name is not None:
                self._reserve(self.topology.nodes[port.to], port.peer_name, port)

    def _reserve(self, node: Declared, name: str, port: Port) -> None:
        if name in self.names[node.name]:
            raise TopologyError(
                f"{node.kind.value} {node.name!r} has two interfaces named {name!r}",
                where=port.source,
                hint="give one another name",
            )
        self.names[node.name].add(name)

    def _member(self, node: Declared, port: Port, segment: _Segment, *, gateway: bool) -> _Member:
        taken = self.names[node.name]
        name = port.name or next(f"eth{n}" for n in range(len(taken) + 1) if f"eth{n}" not in taken)
        taken.add(name)
        if port.mtu is not None and port.mtu > segment.mtu:
            raise TopologyError(
                f"{node.kind.value} {node.name!r}: mtu {port.mtu} is more than the {segment.mtu} of {segment.label}",
                where=port.source,
                hint="give a switch or a cable that mtu",
            )
        member = _Member(node, name, port.addresses, port.source or node.source, gateway, port.mtu)
        segment.members.append(member)
        self.members[node.name].append((member, segment))
        return member

    def _bridge_port(self, node: str, peer: str, bridge: str, interface: str = "eth0") -> tuple[str, str]:
        """Name a bridge's port after what is plugged in where that fits into an interface name, else `port<n>`."""
        taken = self.names[node]
        for name in (peer, f"{peer}.{interface}", f"port{len(self.ports[node]) + 1}"):
            if name not in taken and fits_interface(name):
                break
        else:
            name = next(f"port{n}" for n in range(1, 10_000) if f"port{n}" not in taken)
        taken.add(name)
        self.ports[node].append((bridge, name))
        return node, name

    @staticmethod
    def _fresh(name: str, taken: dict[str, _Segment]) -> str:
        return (
            name if name not in taken else next(f"{name}-{n}" for n in range(2, 10_000) if f"{name}-{n}" not in taken)
        )

    # -- subnets and addresses -----------------------------------------------------------------------------------

    def number(self) -> None:
        for segment in self.segments.values():
            self._adopt_prefixes(segment)
            self._refuse_lone_addresses(segment)
            self._refuse_small_mtus(segment)
        self._keep_subnets()
        self._refuse_overlaps()
        pool = SubnetPool(subnet for segment in self.segments.values() for subnet in segment.subnets)
        for segment in self.segments.values():
            if not segment.subnets:
                try:
                    segment.subnets.append(pool.take(segment.public, len(segment.members)))
                except TopologyError as error:
                    raise TopologyError(
                        f"{segment.label}: {error.what}", where=segment.source, hint=error.hint
                    ) from None
            segment.subnets.sort(key=lambda subnet: subnet.version)
            for subnet in segment.subnets:
                self._give_addresses(segment, subnet)

    def _keep_subnets(self) -> None:
        given = [subnet for segment in self.segments.values() for subnet in segment.subnets]
        for segment in self.segments.values():
            kept = self.topology.kept.subnets.get(segment.name, ())
            if not segment.subnets and not any(mine.overlaps(other) for mine in kept for other in given):
                segment.subnets += kept

    @staticmethod
    def _adopt_prefixes(segment: _Segment) -> None:
        """A segment without a subnet takes that of the addresses which were given with a prefix length."""
        for member in segment.members:
            for address in member.wanted:
                subnet = getattr(address, "network", None)
                if subnet is not None and all(subnet.version != known.version for known in segment.subnets):
                    segment.subnets.append(subnet)

    @staticmethod
    def _refuse_lone_addresses(segment: _Segment) -> None:
        """An address without a prefix length needs a subnet of its family, and no chosen one is likely to hold it."""
        for member in segment.members:
            for address in member.wanted:
                if all(address.version != subnet.version for subnet in segment.subnets):
                    raise TopologyError(
                        f"{member.node.kind.value} {member.node.name!r}: {segment.label} has no "
                        f"IPv{address.version} subnet that {address} could be in",
                        where=member.source,
                        hint=f"say which one, or write {address}/{24 if address.version == 4 else 64}",
                    )

    @staticmethod
    def _refuse_small_mtus(segment: _Segment) -> None:
        if all(subnet.version == 4 for subnet in segment.subnets):
            return
        for member in segment.members:
            if min(member.mtu or segment.mtu, segment.mtu) < MIN_MTU_IPV6:
                raise TopologyError(
                    f"{member.node.kind.value} {member.node.name!r}: IPv6 needs an mtu of {MIN_MTU_IPV6} or more",
                    where=member.source,
                    hint=f"give {segment.label} a larger mtu, or no IPv6 subnet",
                )

    def _refuse_overlaps(self) -> None:
        """Two segments never share addresses, but for homes behind NATs where the topology says that they may."""
        apart = list(
            views(
                [Place(segment.name, isinstance(member.node, Router), _has_nat(member)) for member, segment in places]
                for places in self.members.values()
            )
        )
        for view in apart if self.topology.overlapping_lans else [frozenset(self.segments)]:
            segments = [segment for segment in self.segments.values() if segment.name in view]
            clash = first_overlap([(subnet, segment) for segment in segments for subnet in segment.subnets])
            if clash is not None:
                raise self._overlap(*clash, apart)

    @staticmethod
    def _overlap(
        one: tuple[IPNetwork, _Segment], two: tuple[IPNetwork, _Segment], apart: list[frozenset[str]]
    ) -> TopologyError:
        """The later of two is told that it overlaps the earlier."""
        (_, other), (mine, segment) = sorted((one, two), key=lambda entry: (entry[1].source or _NOWHERE).line or 0)
        at = f" ({other.source})" if other.source else ""
        hint = "give one of them another subnet"
        if not any({segment.name, other.name} <= view for view in apart):
            hint += ", or say overlapping_lans = true"
        return TopologyError(f"{segment.label}: {mine} overlaps {other.label}{at}", where=segment.source, hint=hint)

    def _give_addresses(self, segment: _Segment, subnet: IPNetwork) -> None:
        """Given addresses first; the rest from the subnet's start: routers' insides, then uplinks, then hosts."""
        owner: dict[IPAddress, _Member] = {}
        waiting: list[_Member] = []
        for member in segment.members:
            wanted = [address for address in member.wanted if address.version == subnet.version]
            # A NAT with several external addresses has a place for each of them.
            waiting += [member] * (_addresses_wanted(member, subnet.version) - len(wanted))
            for address in wanted:
                interface = self._check(member, address, subnet, segment, owner)
                owner[interface.ip] = member
                member.addresses.append(interface)
        for member in list(waiting):
            kept = self.topology.kept.addresses.get((member.node.name, member.interface), ())
            again = next((address for address in kept if address.network == subnet and address.ip not in owner), None)
            if again is not None:
                waiting.remove(member)
                owner[again.ip] = member
                member.addresses.append(again)
        free = (ip for ip in _usable(subnet) if ip not in owner)
        waiting.sort(key=lambda member: (not member.gateway, member.node.kind is not Kind.ROUTER))
        for member in waiting:
            ip = next(free, None)
            if ip is None:
                raise TopologyError(
                    f"{segment.label}: {subnet} has no address left for {member.node.name!r}",
                    where=segment.source or member.source,
                    hint="give it a larger subnet",
                )
            member.addresses.append(ip_interface(f"{ip}/{subnet.prefixlen}"))

    @staticmethod
    def _check(
        member: _Member, address: Address, subnet: IPNetwork, segment: _Segment, owner: dict[IPAddress, _Member]
    ) -> IPInterface:
        interface = ip_interface(f"{address}/{subnet.prefixlen}" if not hasattr(address, "network") else str(address))
        who = f"{member.node.kind.value} {member.node.name!r}"
        if interface.ip not in subnet or interface.network.prefixlen != subnet.prefixlen:
            raise TopologyError(
                f"{who}: address {address} is not in {subnet}, the subnet of {segment.label}",
                where=member.source,
                hint="give an address of that subnet, or none to have one chosen",
            )
        meaning = _reserved(interface.ip, subnet)
        if meaning is not None:
            raise TopologyError(
                f"{who}: {interface.ip} is the {meaning} address of {subnet}",
                where=member.source,
                hint="give it another address",
            )
        if interface.ip in owner:
            other = owner[interface.ip]
            at = f" ({other.source})" if other.source else ""
            raise TopologyError(
                f"{who}: address {interface.ip} is that of {other.node.kind.value} {other.node.name!r} already{at}",
                where=member.source,
                hint="give one of them another address",
            )
        return interface

    # -- routers above routers -----------------------------------------------------------------------------------

    def refuse_loops(self) -> None:
        """A chain of uplinks must end."""
        above: dict[str, list[str]] = {}
        for name, places in self.members.items():
            for member, segment in places:
                if _is_uplink(member):
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
                        where=self._uplink_source(name),
                        hint="give one of them another uplink",
                    )
                elif state.get(up) is None:
                    state[up] = 1
                    stack.append((up, iter(above.get(up, ()))))

    def _uplink_source(self, name: str) -> Source | None:
        node = self.topology.nodes[name]
        return (isinstance(node, Router) and node.uplink and node.uplink.source) or node.source

    # -- the result ----------------------------------------------------------------------------------------------

    def network(self) -> Network:
        attachments = [
            Attachment(name, member.interface, segment.name, tuple(member.addresses), member.gateway, _has_nat(member))
            for name, places in self.members.items()
            for member, segment in places
        ]
        subnets = {name: tuple(segment.subnets) for name, segment in self.segments.items()}
        routes = routes_of(attachments, subnets, {n.name for n in self._of(Kind.ROUTER)})
        ordered = (*self._of(Kind.SWITCH), *self._of(Kind.ROUTER), *self._of(Kind.HOST))
        return Network(
            self.topology.name,
            self.topology.title,
            {node.name: self._node(node, routes.get(node.name, ())) for node in ordered},
            tuple(Link(cable.a, cable.b) for cable in self.cables),
            {s.name: Segment(s.name, tuple(s.subnets), s.mtu) for s in self.segments.values()},
        )

    def _node(self, node: Declared, routes: tuple[Route, ...]) -> Node:
        interfaces: list[Interface] = []
        bridge, segment = self.bridges.get(node.name, (None, None))
        if bridge is not None and segment is not None:
            if node.kind is Kind.SWITCH:
                interfaces.append(Interface(node.name, bridge, segment.name, mtu=segment.mtu, bridge=True))
            for _, port in self.ports[node.name]:
                interfaces.append(Interface(node.name, port, segment.name, mtu=segment.mtu, master=bridge))
        for member, segment in self.members[node.name]:
            interfaces.append(
                Interface(
                    node.name,
                    member.interface,
                    segment.name,
                    tuple(member.addresses),
                    mac_of(node.name, member.interface),
                    min(member.mtu or segment.mtu, segment.mtu),
                    bridge=member.interface == bridge,
                )
            )
        router = node if isinstance(node, Router) else None
        return Node(
            node.name,
            node.kind,
            tuple(interfaces),
            routes,
            "wan" if router and router.uplink else None,
            router.nat if router else None,
            router.firewall if router else False,
        )

    def _of(self, kind: Kind) -> list[Declared]:
        return [node for node in self.topology.nodes.values() if node.kind is kind]


def resolve(topology: Topology) -> Network:
    """See :meth:`Topology.resolve`."""
    resolver = _Resolver(topology)
    resolver.lay_out()
    resolver.refuse_loops()
    resolver.number()
    return resolver.network()


def mac_of(node: str, interface: str) -> str:
    """A locally administered address that follows from the names alone: adding a node changes no other's."""
    digest = hashlib.blake2s(f"{node}/{interface}".encode(), digest_size=5).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest))


def _is_uplink(member: _Member) -> bool:
    return isinstance(member.node, Router) and member.node.uplink is not None and member.interface == "wan"


def _addresses_wanted(member: _Member, version: int) -> int:
    if version == 4 and _has_nat(member):
        assert isinstance(member.node, Router)
        assert member.node.nat is not None
        return member.node.nat.addresses
    return 1


def _has_nat(member: _Member) -> bool:
    return _is_uplink(member) and isinstance(member.node, Router) and member.node.nat is not None


def _reserved(ip: IPAddress, subnet: IPNetwork) -> str | None:
    """What an address means to a subnet, where that is not a host."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:  # RFC 3021 and RFC 6164: a cable needs no reserved ones
        return None
    if ip == subnet.network_address:
        return "network" if subnet.version == 4 else "subnet-router anycast"
    return "broadcast" if subnet.version == 4 and ip == subnet.broadcast_address else None


def _usable(subnet: IPNetwork) -> Iterable[IPAddress]:
    # ipaddress leaves out IPv4's network and broadcast addresses and IPv6's subnet-router anycast address.
    return ip_network(subnet).hosts()
