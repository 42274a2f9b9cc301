"""A network with everything worked out: what `Topology.resolve()` returns and what all other rooms read.

Plain frozen data. Nothing here assumes one address an interface or one family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

from wanlab.errors import NoSuchNode, did_you_mean
from wanlab.topology.impairment import Impairment
from wanlab.topology.ipv6 import Ipv6, PrefixPair
from wanlab.topology.nat import Filtering, Nat

if TYPE_CHECKING:
    from wanlab.topology.partitions import Far

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

DEFAULT_MTU = 1500


class Kind(Enum):
    """What a node is."""

    HOST = "host"
    ROUTER = "router"
    SWITCH = "switch"


class LinkState(Enum):
    """What became of an interface, as its own node would tell it."""

    UP = "up"
    DOWN = "down"
    """Switched off in its node: its IPv6 addresses and its routes go, and the other end loses its carrier."""
    UNPLUGGED = "unplugged"
    """The cable is out: no carrier, but addresses and routes stay. The other end is switched off."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a cable, or a bridge, inside one node's namespace."""

    node: str
    name: str
    segment: str
    """The name of the :class:`Segment` it is on."""
    addresses: tuple[IPInterface, ...] = ()
    mac: str | None = None
    """Given to every interface that has an address, so that the same file gives the same packets; else the kernel's."""
    mtu: int = DEFAULT_MTU
    bridge: bool = False
    """True for a bridge (a switch's `br0`, the `lan` of a router with several LAN hosts); it has no cable."""
    master: str | None = None
    """The bridge of this node that it is a port of."""
    slaac: bool = False
    """Whether its IPv6 address and default route come by router advertisements."""
    advertises: bool = False
    """Whether its router sends router advertisements there."""
    egress: Impairment | None = None
    """What becomes of the packets that it sends; what becomes of those it receives is the other end's."""
    state: LinkState = LinkState.UP
    """What was declared of it."""
    up: bool = True
    """Whether it is switched on: False where it was declared down, or the other end unplugged."""
    carrier: bool = True
    """Whether its cable works: both ends are up. A bridge always does."""

    @property
    def address(self) -> IPAddress:
        """The first address, IPv4 before IPv6. Raises LookupError where there is none (a switch's port)."""
        for version in (4, 6):
            for interface in self.addresses:
                if interface.version == version:
                    return interface.ip
        raise LookupError(f"interface {self.name!r} of {self.node!r} has no address")


@dataclass(frozen=True, slots=True)
class Route:
    """To `destination` by the router at `via`, out of `interface`."""

    destination: IPNetwork
    via: IPAddress
    interface: str
    metric: int = 0

    @property
    def is_default(self) -> bool:
        """Whether it is the route for everything else."""
        return self.destination.prefixlen == 0


@dataclass(frozen=True, slots=True)
class Link:
    """A cable: two interfaces, each as (node, interface)."""

    a: tuple[str, str]
    b: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Segment:
    """Everything that one broadcast reaches: a switch and its cables, one cable, or a router's LAN."""

    name: str
    subnets: tuple[IPNetwork, ...]
    mtu: int = DEFAULT_MTU


@dataclass(frozen=True, slots=True)
class Node:
    """A host, router or switch with its interfaces and routes."""

    name: str
    kind: Kind
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...] = ()
    uplink: str | None = None
    """A router's interface towards the internet; what lies behind the others is inside. None for a core router."""
    nat: Nat | None = None
    firewall: bool = False
    """Whether the router drops what comes in by its uplink unasked."""
    filtering: Filtering | None = None
    """From whom the firewall lets in what is not translated, once a LAN host has sent; None: who was asked, as the
    kernel's connection tracking has it."""
    ipv6: Ipv6 = Ipv6.ROUTE
    """What the router does with IPv6 at its uplink."""
    prefixes: tuple[PrefixPair, ...] = ()
    """With prefix translation, what stands for each subnet inside."""

    @property
    def address(self) -> IPAddress:
        """The address that its name means to the others: of a router the uplink's, of a host the first interface's."""
        return self.primary.address

    def translates(self, version: int) -> bool:
        """Whether addresses of that family are other ones beyond the uplink: the inside's are unknown there."""
        return self.nat is not None if version == 4 else self.ipv6 is not Ipv6.ROUTE

    def outwards(self, address: IPAddress) -> IPv6Address | None:
        """What prefix translation makes of an address inside; None where it does not concern that address."""
        return next((moved for pair in self.prefixes if (moved := pair.outwards(address)) is not None), None)

    def inwards(self, address: IPAddress) -> IPv6Address | None:
        """The address inside that is meant by one of the prefixes outside; None for any other address."""
        return next((moved for pair in self.prefixes if (moved := pair.inwards(address)) is not None), None)

    @property
    def primary(self) -> Interface:
        """The interface whose address is the node's."""
        if self.uplink is not None:
            return self.interface(self.uplink)
        for interface in self.interfaces:
            if interface.addresses:
                return interface
        raise LookupError(f"{self.kind.value} {self.name!r} has no address")

    def interface(self, name: str) -> Interface:
        """The interface called *name*. Raises LookupError where there is none."""
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        raise LookupError(f"{self.kind.value} {self.name!r} has no interface {name!r}")


@dataclass(frozen=True, slots=True)
class Network:
    """A whole network, in the order in which it was declared (switches, routers, hosts)."""

    name: str
    title: str
    nodes: Mapping[str, Node]
    links: tuple[Link, ...]
    segments: Mapping[str, Segment]
    apart: Mapping[str, Far] = field(default_factory=dict)
    """For each node that a partition keeps from others, from whom."""

    def __getitem__(self, name: str) -> Node:
        try:
            return self.nodes[name]
        except KeyError:
            raise NoSuchNode(f"no node {name!r} in lab {self.name!r}", hint=did_you_mean(name, self.nodes)) from None

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def of(self, *kinds: Kind) -> tuple[Node, ...]:
        """The nodes of these kinds."""
        return tuple(node for node in self if node.kind in kinds)

    def peers(self, segment: str) -> tuple[Interface, ...]:
        """The interfaces with an address on *segment*."""
        return tuple(i for node in self for i in node.interfaces if i.segment == segment and i.addresses)
