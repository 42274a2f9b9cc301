"""What a picture shows, whatever it is drawn as: boxes with words in them, and wires between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from wanlab.drawing.forest import End, homes, peers
from wanlab.drawing.words import behaviour, hidings, quality
from wanlab.topology.impairment import LinkImpairment
from wanlab.topology.network import DEFAULT_MTU, Interface, IPInterface, Kind, Link, LinkState, Network, Node


class Shape(Enum):
    """What a box stands for."""

    HOST = "host"
    ROUTER = "router"
    SWITCH = "switch"
    LAN = "lan"  # the bridge of a router with several hosts behind it, a part of that router


@dataclass(frozen=True, slots=True)
class Condition:
    """How the links and addresses of a lab that is up are, as its kernels say."""

    down: frozenset[End] = frozenset()
    """Ends of cables that are down, or that are not there any more."""
    addresses: Mapping[End, tuple[IPInterface, ...]] = field(default_factory=dict)
    """Of the interfaces that have other addresses than the topology says."""

    def is_down(self, link: Link) -> bool:
        """Whether a link carries nothing."""
        return link.a in self.down or link.b in self.down


AS_DECLARED = Condition()
"""Nothing is other than the topology says."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of text in a box."""

    text: str
    changed: bool = False
    """Whether this is other than the topology says."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node, or the LAN of a router with several hosts on it."""

    key: str
    """The node's name; that of a LAN has a space in it, so that no node has the same."""
    shape: Shape
    name: str
    rows: tuple[Row, ...]
    tip: str = ""
    """What is told where one asks (an SVG's tooltip)."""

    @property
    def is_bar(self) -> bool:
        """Whether it is a place to plug into, drawn as a long bar that others hang from."""
        return self.shape in (Shape.SWITCH, Shape.LAN)


@dataclass(frozen=True, slots=True)
class Wire:
    """A line between two boxes; the upper one first, where one hangs below the other."""

    a: str
    b: str
    link: Link | None
    """The cable; None: what joins a router with its own LAN is none."""
    down: bool = False
    label: str = ""
    """What stands beside it: what it does to packets, or that it is down."""
    tip: str = ""
    """Which cable it is, and all that is known of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A network as boxes and wires."""

    name: str
    title: str
    boxes: Mapping[str, Box]
    wires: tuple[Wire, ...]
    above: Mapping[str, Wire]
    """By which wire a box hangs below another. No box hangs below itself, however far."""

    @property
    def roots(self) -> list[str]:
        """The boxes that hang below none."""
        return [key for key in self.boxes if key not in self.above]

    def below(self, key: str) -> list[Wire]:
        """What hangs below a box."""
        return self._below.get(key, [])

    @property
    def loose(self) -> list[Wire]:
        """The wires that nothing hangs by."""
        hanging = {id(wire) for wire in self.above.values()}
        return [wire for wire in self.wires if id(wire) not in hanging]

    _below: Mapping[str, list[Wire]] = field(default_factory=dict, repr=False)


def scene(network: Network, condition: Condition = AS_DECLARED) -> Scene:
    """What a picture of *network* shows."""
    boxes = {box.key: box for node in network for box in _boxes(network, node, condition)}
    wires = []
    for node in network.of(Kind.ROUTER):
        wires += [
            Wire(node.name, _lan(node.name, interface.name), None) for interface in node.interfaces if interface.bridge
        ]
    above = {wire.b: wire for wire in wires}
    uppers = set(homes(network, peers(network)).values())
    for link in network.links:
        a, b = (link.b, link.a) if link.b in uppers else (link.a, link.b)
        wire = _wire(network, link, a, b, condition)
        wires.append(wire)
        if a in uppers:
            above.setdefault(wire.b, wire)
    below: dict[str, list[Wire]] = {}
    order = {key: number for number, key in enumerate(boxes)}
    for wire in sorted(above.values(), key=lambda wire: order[wire.b]):
        below.setdefault(wire.a, []).append(wire)
    return Scene(network.name, network.title, boxes, tuple(wires), above, below)


def _lan(router: str, bridge: str) -> str:
    return f"{router} {bridge}"


def _wire(network: Network, link: Link, a: End, b: End, condition: Condition) -> Wire:
    upper, lower = (network[node].interface(name) for node, name in (a, b))
    short, whole = quality(LinkImpairment(lower.egress, upper.egress))
    unplugged = LinkState.UNPLUGGED in (upper.state, lower.state)
    down = unplugged or not (upper.up and lower.up) or condition.is_down(link)
    state = "unplugged" if unplugged else "down" if down else ""
    about = state or whole
    tip = f"{' '.join(link.a)} - {' '.join(link.b)}" + (f": {about}" if about else "")
    return Wire(_plugged(network, a), _plugged(network, b), link, down, state or short, tip)


def _plugged(network: Network, end: End) -> str:
    """The box that an end of a cable is plugged into."""
    node = network[end[0]]
    master = node.interface(end[1]).master
    return _lan(node.name, master) if master is not None and node.kind is Kind.ROUTER else node.name


def _boxes(network: Network, node: Node, condition: Condition) -> Iterator[Box]:
    if node.kind is Kind.SWITCH:
        segment = network.segments[node.interfaces[0].segment]
        mtu = [f"mtu {segment.mtu}"] if segment.mtu != DEFAULT_MTU else []
        rows = [Row(text) for text in (*map(str, segment.subnets), *mtu)]
        yield Box(node.name, Shape.SWITCH, node.name, tuple(rows), f"switch {node.name}")
        return
    rows = [Row(text) for text in hidings(node)]
    several = node.kind is Kind.ROUTER or len(node.interfaces) > 1
    for interface in node.interfaces:
        if interface.master is None and not interface.bridge:
            whole = node.kind is Kind.ROUTER and interface.name != node.uplink
            rows += _addresses(interface, condition, named=several, whole=whole)
            if interface.mtu != network.segments[interface.segment].mtu:
                rows.append(Row(f"mtu {interface.mtu}"))
    about = ", ".join(filter(None, [behaviour(node)]))
    kind = Shape(node.kind.value)
    yield Box(node.name, kind, node.name, tuple(rows), f"{kind.value} {node.name}" + (f": {about}" if about else ""))
    for interface in node.interfaces:
        if interface.bridge:
            rows = list(_addresses(interface, condition, named=False, whole=True))
            key = _lan(node.name, interface.name)
            yield Box(key, Shape.LAN, interface.name, tuple(rows), f"{interface.name} of {node.name}")


def _addresses(interface: Interface, condition: Condition, *, named: bool, whole: bool) -> Iterator[Row]:
    """*named*: with the interface's name. *whole*: with the prefix length, where nothing else says the subnet."""
    end = (interface.node, interface.name)
    found = condition.addresses.get(end, interface.addresses)
    known = {address.ip for address in interface.addresses}
    name = f"{interface.name} " if named else ""
    for address in found:
        text = str(address if whole else address.ip)
        yield Row(f"{name}{text}") if address.ip in known else Row(f"{name}{text} (changed)", changed=True)
    if known and not found:
        yield Row(f"{name}no address (changed)", changed=True)
