"""Where in a topology's document each interface is said something about: the table that its keys go into.

A person speaks of `laptop:wifi` or of `wan:alice`, the port of a switch; a document has the cable once, at the node
that is plugged in, or as a `[[link]]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wanlab.errors import UsageError, did_you_mean
from wanlab.topology.lines import Path
from wanlab.topology.network import Kind, LinkState, Network
from wanlab.topology.topology import Host, Router, Topology
from wanlab.topology.wiring import Wiring

Keys = Mapping[str, Any]

OF_A_CABLE = frozenset({"impairment", "mtu"})
"""Keys of a `[[link]]`, and of what is plugged in by other means: not of an end."""


@dataclass(frozen=True, slots=True)
class Place:
    """A table of a document."""

    path: Path
    owner: str
    """The interface that the table is about: `alice:eth0`."""
    port: bool = False
    """Whether the interface that was asked for is what that one is plugged into."""


def split(place: str) -> tuple[str, str | None]:
    """`laptop:wifi` as node and interface; without an interface, None."""
    node, _, interface = place.partition(":")
    return node, interface or None


def place_of(topology: Topology, network: Network, text: str) -> Place:
    """The place of an interface, or of a node's only one (a router's uplink). Raises NoSuchNode, UsageError."""
    name, interface = split(text)
    node = network[name]
    places = _places(topology)
    if interface is None and node.uplink is not None:
        interface = node.uplink
    if interface is None:
        # Of a switch all count, as each is a port; of others those that are plugged in by what was said of them.
        known = {i.name: places[name, i.name] for i in node.interfaces if (name, i.name) in places}
        own = [each for each, place in known.items() if node.kind is Kind.SWITCH or not place.port]
        if len(own) != 1:
            several = [f"{name}:{each}" for each in known]
            raise UsageError(
                f"{node.kind.value} {name!r} has {len(several) or 'no'} links",
                hint=f"say which one: {', '.join(several)}" if several else None,
            )
        interface = own[0]
    there = [each.name for each in node.interfaces]
    if interface not in there:
        raise UsageError(
            f"{node.kind.value} {name!r} has no interface {interface!r}", hint=did_you_mean(interface, there)
        )
    if (name, interface) not in places:
        raise UsageError(f"{name}:{interface} is no end of a cable that can be changed", hint="name what is plugged in")
    return places[name, interface]


def with_state(topology: Topology, network: Network, text: str, state: LinkState) -> dict[str, Any]:
    """The topology's document with another state of that link.

    A port that is down, of a switch or in a router's LAN, is to who is plugged in there as a cable that is out.
    """
    place = place_of(topology, network, text)
    if place.port and state is not LinkState.UP:
        state = LinkState.UNPLUGGED
    return with_keys(topology.to_document(), place, {"state": None if state is LinkState.UP else state.value})


def with_keys(document: dict[str, Any], place: Place, keys: Keys) -> dict[str, Any]:
    """*document* with other keys in a table; None takes one away."""
    *above, last = place.path
    if above and above[-1] == "ends":
        # What is the cable's own is not said of an end of it.
        own = {key: value for key, value in keys.items() if key in OF_A_CABLE}
        if own:
            document = with_keys(document, replace(place, path=tuple(above[:-1])), own)
            keys = {key: value for key, value in keys.items() if key not in own}
    table: Any = document
    for step in above:
        table = table[step]
    short = "switch" if place.path[0] == "switch" else "node"  # what a table that is a mere name stands for
    old = table[last] if isinstance(table[last], dict) else {short: table[last]}
    table[last] = {key: value for key, value in {**old, **keys}.items() if value is not None}
    return document


def _places(topology: Topology) -> dict[tuple[str, str], Place]:
    """The place of each end of a cable that has one."""
    wiring = Wiring(topology)
    wiring.lay_out()
    cables = [port for node in topology.nodes.values() for port in node.ports if port.cable]
    cables.sort(key=lambda port: port.order)
    paths: dict[int, Path] = {id(port): ("link", number) for number, port in enumerate(cables)}
    for node in topology.nodes.values():
        plugged = [port for port in node.ports if not port.cable]
        if isinstance(node, Host) and len(plugged) == 1:
            paths[id(plugged[0])] = ("host", node.name)
        elif node.kind is Kind.SWITCH:
            several = len(plugged) > 1
            paths |= {id(p): ("switch", node.name, "link", *([n] if several else [])) for n, p in enumerate(plugged)}
        else:
            paths |= {id(port): (node.kind.value, node.name, "interface", n) for n, port in enumerate(plugged)}
        if isinstance(node, Router) and node.uplink is not None:
            paths[id(node.uplink)] = ("router", node.name)
    found: dict[tuple[str, str], Place] = {}
    for cable in wiring.cables:
        path = paths[id(cable.port)]
        mine = ":".join(cable.a)
        found[cable.a] = Place((*path, "ends", 0) if cable.port.cable else path, mine)
        found[cable.b] = Place((*path, "ends", 1), ":".join(cable.b)) if cable.port.cable else Place(path, mine, True)
    return found
