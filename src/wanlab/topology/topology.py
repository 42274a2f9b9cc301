"""`Topology`: what a lab is, as a person declares it, in Python or in a file.

Nothing is worked out here: addresses, gateways and routes that were not given are found by :meth:`Topology.resolve`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wanlab.errors import Source, TopologyError, did_you_mean
from wanlab.topology.impairment import LinkImpairment
from wanlab.topology.impairment_text import Said, parse_impairment
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.kept import NOTHING
from wanlab.topology.names import check_interface_name, check_node_name
from wanlab.topology.nat import Filtering, Nat
from wanlab.topology.network import IPInterface, IPNetwork, Kind, LinkState
from wanlab.topology.parse import (
    Address,
    Texts,
    check_metric,
    check_mtu,
    parse_addresses,
    parse_firewall,
    parse_ipv6,
    parse_ipv6_prefix,
    parse_lan,
    parse_nat,
    parse_state,
    parse_subnets,
)
from wanlab.topology.partitions import Partition, check_partition

if TYPE_CHECKING:
    from wanlab.topology.network import Network
    from wanlab.topology.scenario import Event


@dataclass(slots=True)
class Port:
    """A declared interface: what it is plugged into, and what was said about it."""

    to: str
    """The name of a switch, of a router (whose LAN is meant) or of a host (a cable to it)."""
    name: str | None = None
    addresses: tuple[Address, ...] = ()
    peer_addresses: tuple[Address, ...] = ()
    """For a cable: the addresses of its far end."""
    peer_name: str | None = None
    subnets: tuple[IPNetwork, ...] = ()
    """For a cable: its subnets."""
    mtu: int | None = None
    source: Source | None = None
    cable: bool = False
    """True for a cable of its own to another host or router; False for a place on a switch or on a router's LAN."""
    order: int = 0
    """The how-manieth of the topology's links it is: cables are laid in this order."""
    impairment: LinkImpairment | None = None
    """What its link does to packets, as this end sees it."""
    state: LinkState = LinkState.UP
    peer_state: LinkState = LinkState.UP
    """For a cable: the state of its far end."""
    metric: int | None = None
    """That of its default route, where it was given."""


@dataclass(slots=True, eq=False)
class Declared:
    """A declared node. Made by `Topology.host`, `.router` and `.switch`; give it to others as what to plug into."""

    topology: Topology = field(repr=False)
    name: str
    source: Source | None
    ports: list[Port] = field(default_factory=list)

    kind = Kind.HOST

    def connect(
        self,
        to: Declared | str,
        *,
        name: str | None = None,
        address: Texts = None,
        peer_name: str | None = None,
        peer_address: Texts = None,
        subnet: Texts = None,
        mtu: int | None = None,
        impairment: Said = None,
        state: str | LinkState | None = None,
        peer_state: str | LinkState | None = None,
        metric: int | None = None,
        source: Source | None = None,
    ) -> None:
        """Give this node one more interface, plugged into *to*.

        *to* is a switch, a router (its LAN is meant, unless this is a router too: then a cable between the two), or a
        host (a cable between the two). *name* is the interface's, else `eth0`, `eth1`, ...: first for what is plugged
        into switches and routers, then for cables, each in the order of these calls. *subnet*, *peer_name*,
        *peer_address* and *peer_state* are for cables. *state* is "up", "down" or "unplugged". *metric* is that
        of the default route there: of several the lowest is used. *impairment* is what the
        link does to packets: the name of a profile, a dictionary as a file's table is, or objects; `up` is what this
        node sends. Raises TopologyError.
        """
        source = source or _caller()
        other = self.topology.node(to, source)
        cable = self.kind is not Kind.SWITCH and (
            other.kind is Kind.HOST or (other.kind is Kind.ROUTER and self.kind is Kind.ROUTER)
        )
        if other is self:
            raise TopologyError(f"{self.kind.value} {self.name!r} cannot be linked to itself", where=source)
        if not cable and (peer_name or peer_address or peer_state or subnet):
            raise TopologyError(
                f"link of {self.name!r} to {other.kind.value} {other.name!r}: "
                "'subnet', 'peer_name', 'peer_address' and 'peer_state' are for cables",
                where=source,
                hint=f"give the subnet to {other.name!r}",
            )
        if self.kind is Kind.SWITCH and other.kind is not Kind.SWITCH:
            raise TopologyError(
                f"switch {self.name!r} cannot be plugged into {other.kind.value} {other.name!r}",
                where=source,
                hint=f"link {other.name!r} to the switch instead",
            )
        if self.kind is Kind.SWITCH and (name or address or mtu or metric):
            raise TopologyError(
                f"link of switch {self.name!r} to {other.name!r}: a switch's ports have no name, address or mtu",
                where=source,
                hint="give the mtu to the switch, and addresses to hosts",
            )
        for chosen in (name, peer_name):
            if chosen is not None:
                check_interface_name(chosen, source)
        self.ports.append(
            Port(
                other.name,
                name,
                parse_addresses(address, source),
                parse_addresses(peer_address, source),
                peer_name,
                parse_subnets(subnet, source),
                check_mtu(mtu, source),
                source,
                cable,
                self.topology._count_link(),
                parse_impairment(impairment, lambda *keys: source, f"{self.kind.value} {self.name!r}"),
                parse_state(state, source),
                parse_state(peer_state, source),
                check_metric(metric, source),
            )
        )


@dataclass(slots=True, eq=False)
class Switch(Declared):
    """A declared switch: one broadcast domain."""

    subnets: tuple[IPNetwork, ...] = ()
    mtu: int | None = None
    kind = Kind.SWITCH


@dataclass(slots=True, eq=False)
class Host(Declared):
    """A declared host."""

    kind = Kind.HOST


@dataclass(slots=True, eq=False)
class Router(Declared):
    """A declared router: an uplink (or none, for a core router), a LAN, a NAT and a firewall between them."""

    uplink: Port | None = None
    lan_addresses: tuple[IPInterface, ...] = ()
    """The router's own addresses on its LAN, where they were given."""
    lan_subnets: tuple[IPNetwork, ...] = ()
    """The LAN's subnets, where only these were given."""
    slaac: bool = False
    """Whether hosts inside have their IPv6 addresses by router advertisements."""
    nat: Nat | None = None
    nat_named: bool = False
    """Whether somebody asked for that NAT; else it is the one for who says nothing."""
    firewall: bool = False
    filtering: Filtering | None = None
    """From whom the firewall lets in what is not translated, where that was said."""
    ipv6: Ipv6 = Ipv6.ROUTE
    ipv6_prefix: IPv6Network | None = None
    """The prefix that stands for the inside, where it was given."""
    kind = Kind.ROUTER

    def plug_in(
        self,
        uplink: Declared | str,
        *,
        address: Texts = None,
        nat: str | Mapping[str, Any] | Nat | None = None,
        firewall: bool | str | Filtering | None = None,
        ipv6: str | Ipv6 | None = None,
        ipv6_prefix: str | None = None,
        mtu: int | None = None,
        impairment: Said = None,
        state: str | LinkState | None = None,
        source: Source | None = None,
    ) -> None:
        """Give a router that was declared without one its uplink: the arguments are those of `Topology.router`.

        For a router that is declared before what it is plugged into. Raises TopologyError.
        """
        source = source or _caller()
        if self.uplink is not None:
            raise TopologyError(f"router {self.name!r} has an uplink already: {self.uplink.to!r}", where=source)
        other = self.topology.node(uplink, source)
        if other is self:
            raise TopologyError(f"router {self.name!r} is its own uplink", where=source, hint="name another node")
        if other.kind is Kind.HOST:
            raise TopologyError(
                f"router {self.name!r}: its uplink {other.name!r} is a host",
                where=source,
                hint="an uplink is a switch or another router",
            )
        self.nat = parse_nat(self.name, nat, source)
        self.nat_named = nat is not None
        self.firewall, self.filtering = parse_firewall(self.name, firewall, source)
        self.ipv6 = parse_ipv6(self.name, ipv6, source)
        self.ipv6_prefix = parse_ipv6_prefix(self.name, ipv6_prefix, self.ipv6, source)
        self.uplink = Port(
            other.name,
            "wan",
            parse_addresses(address, source),
            mtu=check_mtu(mtu, source),
            source=source,
            impairment=parse_impairment(impairment, lambda *keys: source, f"router {self.name!r}"),
            state=parse_state(state, source),
        )


class Topology:
    """A lab as pure data: hosts, switches, routers and the links between them.

    >>> t = Topology("mine")
    >>> wan = t.switch("wan", "5.5.5.0/24")
    >>> server = t.host("server", wan)
    >>> home = t.router("home", wan, lan="192.168.1.0/24", nat="linux")
    >>> laptop = t.host("laptop", home)

    Every method that adds something raises :class:`~wanlab.errors.TopologyError` for what cannot be; what concerns
    several parts at once (subnets that overlap, a loop of uplinks) is found by :meth:`resolve`.
    """

    def __init__(self, name: str = "lab", *, title: str = "", overlapping_lans: bool = False) -> None:
        check_node_name(name, None)
        self.name = name
        self.title = title
        self.overlapping_lans = overlapping_lans
        """Whether LANs behind different NATs may use one subnet, as homes in the world do."""
        self.nodes: dict[str, Switch | Host | Router] = {}
        self.events: tuple[Event, ...] = ()
        """What happens to the lab when its timeline is played."""
        self.partitions: tuple[Partition, ...] = ()
        self.kept = NOTHING
        """Where nothing was given, what was chosen for it before."""
        self._names: dict[str, str] = {}
        """The nodes' names by their lower case, since hostnames know no case."""
        self._links = 0

    @classmethod
    def load(cls, lab: str | Path) -> Topology:
        """The lab of a catalogue name (`two-lans`, `star:100`) or of a TOML or YAML file.

        Raises TopologyError naming file and line.
        """
        from wanlab.topology.files import load

        return load(lab)

    def switch(
        self, name: str, subnet: Texts = None, *, mtu: int | None = None, source: Source | None = None
    ) -> Switch:
        """Add a switch. *subnet*: one for each address family, else one is chosen. *mtu*: of all that is plugged in."""
        source = source or _caller()
        switch = Switch(self, name, source, subnets=parse_subnets(subnet, source), mtu=check_mtu(mtu, source))
        self._add(switch)
        return switch

    def host(
        self,
        name: str,
        link: Declared | str | None = None,
        *,
        address: Texts = None,
        interface: str | None = None,
        mtu: int | None = None,
        impairment: Said = None,
        state: str | LinkState | None = None,
        source: Source | None = None,
    ) -> Host:
        """Add a host, plugged into *link* (see :meth:`Declared.connect`) if one is given."""
        source = source or _caller()
        host = Host(self, name, source)
        self._add(host)
        if link is not None:
            host.connect(
                link, name=interface, address=address, mtu=mtu, state=state, impairment=impairment, source=source
            )
        elif address or interface or mtu or state or impairment:
            raise TopologyError(
                f"host {name!r} has an interface and no link", where=source, hint="say what it is linked to"
            )
        return host

    def router(
        self,
        name: str,
        uplink: Declared | str | None = None,
        *,
        address: Texts = None,
        lan: Texts = None,
        slaac: bool = False,
        nat: str | Mapping[str, Any] | Nat | None = None,
        firewall: bool | str | Filtering | None = None,
        ipv6: str | Ipv6 | None = None,
        ipv6_prefix: str | None = None,
        mtu: int | None = None,
        impairment: Said = None,
        state: str | LinkState | None = None,
        source: Source | None = None,
    ) -> Router:
        """Add a router.

        *uplink* is the switch, or the router, whose LAN it gets its `wan` interface on, with *address*. *lan* is the
        router's address in its own LAN (`10.1.0.254/24`) or just the LAN's subnet (`10.1.0.0/24`; the router then takes
        its first address); left out, a LAN is made when the first host is plugged into the router. *slaac*: hosts in
        there that were given no IPv6 address get it, and their default route, by router advertisements. *nat* is one of
        :data:`wanlab.topology.nat.NATS`, a :class:`~wanlab.topology.nat.Nat`, or a dictionary as a file's table is:
        "linux" where there is an uplink and nothing is said. One that is named needs IPv4 at the uplink. *firewall*:
        drop what comes in by the uplink unasked; True where there is an uplink and nothing is said.
        "endpoint-independent", "address-dependent" or "address-and-port-dependent" say whom it lets in to a host's port
        that has sent, where no NAT decides that (RFC 6092). *ipv6* is what becomes of IPv6 at the uplink: "route",
        "prefix-translation" (RFC 6296) to *ipv6_prefix*, which is chosen where it is not given, or "masquerade". *mtu*,
        *state* and *impairment* (see :meth:`Declared.connect`) are the uplink's.
        """
        source = source or _caller()
        translates = nat not in (None, "none") or ipv6 not in (None, "route", Ipv6.ROUTE) or ipv6_prefix
        if uplink is None and (translates or firewall or address or mtu or state or impairment):
            raise TopologyError(
                f"router {name!r} has no uplink, so it has nothing to translate or to guard",
                where=source,
                hint="give it an uplink, or leave out what an uplink alone has",
            )
        lan_addresses, lan_subnets = parse_lan(name, lan, source)
        router = Router(self, name, source, lan_addresses=lan_addresses, lan_subnets=lan_subnets, slaac=slaac)
        self._add(router)
        if uplink is not None:
            router.plug_in(
                uplink,
                address=address,
                nat=nat,
                firewall=firewall,
                ipv6=ipv6,
                ipv6_prefix=ipv6_prefix,
                mtu=mtu,
                impairment=impairment,
                state=state,
                source=source,
            )
        return router

    def partition(self, *groups: Sequence[str], source: Source | None = None) -> None:
        """Keep groups of hosts and routers from one another; one group alone: from everybody else.

        Nothing that a node sends reaches, or passes through, one of another group, and nobody is told: ARP included,
        connections that stand included. A router that has an uplink stands for all behind it. Raises TopologyError.
        """
        source = source or _caller()
        kinds = {name: node.kind for name, node in self.nodes.items()}
        self.partitions += (Partition(check_partition(groups, kinds, source), source),)

    def node(self, node: Declared | str, where: Source | None = None) -> Switch | Host | Router:
        """The declared node of that name. Raises TopologyError where there is none."""
        name = node if isinstance(node, str) else node.name
        found = self.nodes.get(name)
        if found is None or (isinstance(node, Declared) and node is not found):
            raise TopologyError(f"no node {name!r}", where=where, hint=did_you_mean(name, self.nodes))
        return found

    def resolve(self) -> Network:
        """Work out every address, gateway and route: the same topology always gives the same network.

        Raises TopologyError for what cannot be (overlapping subnets, doubled addresses, a loop of uplinks, ...).
        """
        from wanlab.topology.resolve import resolve

        return resolve(self)

    def to_document(self) -> dict[str, Any]:
        """The topology as the plain dictionary that a file would hold."""
        from wanlab.topology.document import to_document

        return to_document(self)

    def _add(self, node: Switch | Host | Router) -> None:
        check_node_name(node.name, node.source)
        name = self._names.setdefault(node.name.lower(), node.name)
        known = self.nodes.get(name)
        if known is not None:
            at = f" ({known.source})" if known.source else ""
            raise TopologyError(
                f"{node.kind.value} {node.name!r}: there is a {known.kind.value} {known.name!r} already{at}",
                where=node.source,
                hint="every node needs a name of its own",
            )
        self.nodes[node.name] = node

    def _count_link(self) -> int:
        self._links += 1
        return self._links


def _caller() -> Source | None:
    """The first line outside this file that led here: where a user's program declared a node."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    name = frame.f_code.co_filename
    return None if name.startswith("<") else Source(Path(name).name, frame.f_lineno)
