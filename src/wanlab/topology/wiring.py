"""What is plugged into what: segments, interfaces and their names, cables. The first half of resolving a topology."""

from __future__ import annotations

from dataclasses import dataclass, field

from wanlab.errors import Source, TopologyError
from wanlab.topology.impairment import LinkImpairment
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.names import fits_interface
from wanlab.topology.network import DEFAULT_MTU, IPInterface, IPNetwork, Kind, LinkState
from wanlab.topology.parse import Address
from wanlab.topology.topology import Declared, Port, Router, Switch, Topology

MAX_BRIDGE_PORTS = 1023  # the kernel's BR_MAX_PORTS (1 << 10) less port number 0


@dataclass(slots=True, eq=False)
class Member:
    """A place on a segment: an interface that will have addresses."""

    node: Declared
    interface: str
    wanted: tuple[Address, ...]
    source: Source | None
    gateway: bool = False
    """The inside of a router: what the others on the segment send through."""
    mtu: int | None = None
    slaac: bool = False
    """Whether its IPv6 address comes by router advertisements."""
    advertises: bool = False
    addresses: list[IPInterface] = field(default_factory=list)
    state: LinkState = LinkState.UP
    metric: int | None = None

    @property
    def uplink(self) -> Router | None:
        """The router whose uplink this is."""
        router = self.node if isinstance(self.node, Router) else None
        return router if router and router.uplink is not None and self.interface == "wan" else None

    def translates(self, version: int) -> bool:
        """Whether addresses of that family are other ones beyond here."""
        router = self.uplink
        if router is None:
            return False
        return router.nat is not None if version == 4 else router.ipv6 is not Ipv6.ROUTE


@dataclass(slots=True, eq=False)
class DraftSegment:
    """A segment that may have no subnet yet."""

    name: str
    label: str
    """How an error speaks of it: `switch 'wan'`, `the lan of 'home-a'`."""
    subnets: list[IPNetwork]
    declared_mtu: int | None
    source: Source | None
    public: bool
    members: list[Member] = field(default_factory=list)

    @property
    def mtu(self) -> int:
        return self.declared_mtu or DEFAULT_MTU


@dataclass(slots=True)
class Cable:
    """A cable whose ends have been named; a bridge port has no member."""

    a: tuple[str, str]
    b: tuple[str, str]
    impairment: LinkImpairment | None
    """As the end *a* sees it."""
    port: Port
    """How its first end was declared."""


class Wiring:
    """A topology's segments, with their members in the order in which they were declared."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.segments: dict[str, DraftSegment] = {}
        self.cables: list[Cable] = []
        self.names: dict[str, set[str]] = {name: {"lo"} for name in topology.nodes}
        self.ports: dict[str, list[tuple[str, str]]] = {}
        """For each node with a bridge: (bridge, port) in order."""
        self.bridges: dict[str, tuple[str, DraftSegment]] = {}
        self.members: dict[str, list[tuple[Member, DraftSegment]]] = {name: [] for name in topology.nodes}
        self.segment_of_switch: dict[str, DraftSegment] = {}
        self.lans: dict[str, DraftSegment] = {}

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
            segment = DraftSegment(
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
                    Cable(
                        self._bridge_port(switch.name, port.to, "br0"),
                        self._bridge_port(port.to, switch.name, "br0"),
                        port.impairment,
                        port,
                    )
                )

    def _merge(self, into: DraftSegment, gone: DraftSegment) -> None:
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
            segment = DraftSegment(
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
        self.cables.append(Cable((node.name, member.interface), far, port.impairment, port))
        if gateway and isinstance(node, Router) and node.uplink is not None:
            segment.public = False

    def _cable(self, node: Declared, port: Port) -> None:
        other = self.topology.nodes[port.to]
        name = self._fresh(f"{node.name}--{other.name}", self.segments)
        both_routers = node.kind is Kind.ROUTER and other.kind is Kind.ROUTER
        segment = DraftSegment(
            name,
            f"the cable between {node.name!r} and {other.name!r}",
            list(port.subnets),
            port.mtu,
            port.source,
            public=both_routers,
        )
        self.segments[name] = segment
        near = self._member(node, port, segment, gateway=node.kind is Kind.ROUTER)
        far_port = Port(
            node.name, port.peer_name, port.peer_addresses, mtu=port.mtu, source=port.source, state=port.peer_state
        )
        far = self._member(other, far_port, segment, gateway=other.kind is Kind.ROUTER)
        ends = (node.name, near.interface), (other.name, far.interface)
        self.cables.append(Cable(*ends, port.impairment, port))

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

    def _member(self, node: Declared, port: Port, segment: DraftSegment, *, gateway: bool) -> Member:
        taken = self.names[node.name]
        name = port.name or next(f"eth{n}" for n in range(len(taken) + 1) if f"eth{n}" not in taken)
        taken.add(name)
        if port.mtu is not None and port.mtu > segment.mtu:
            raise TopologyError(
                f"{node.kind.value} {node.name!r}: mtu {port.mtu} is more than the {segment.mtu} of {segment.label}",
                where=port.source,
                hint="give a switch or a cable that mtu",
            )
        where = port.source or node.source
        member = Member(node, name, port.addresses, where, gateway, port.mtu, state=port.state, metric=port.metric)
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
    def _fresh(name: str, taken: dict[str, DraftSegment]) -> str:
        return (
            name if name not in taken else next(f"{name}-{n}" for n in range(2, 10_000) if f"{name}-{n}" not in taken)
        )
