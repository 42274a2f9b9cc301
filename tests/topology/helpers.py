"""What the tests of topologies share: reading text, and a network that forwards packets by its routes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from wanlab.errors import TopologyError
from wanlab.topology.files import read
from wanlab.topology.network import Interface, IPAddress, Kind, Network, Node
from wanlab.topology.topology import Topology


def toml(text: str, file: str = "lab.toml") -> Topology:
    """The topology of a TOML text."""
    return read(textwrap.dedent(text).lstrip("\n"), file, "toml")


def yaml(text: str, file: str = "lab.yaml") -> Topology:
    """The topology of a YAML text."""
    return read(textwrap.dedent(text).lstrip("\n"), file, "yaml")


def refusal(text: str, file: str = "lab.toml") -> str:
    """The error that reading and resolving a text ends in; always one line."""
    with pytest.raises(TopologyError) as caught:
        read(textwrap.dedent(text).lstrip("\n"), file, file.rpartition(".")[2]).resolve()
    message = str(caught.value)
    assert "\n" not in message
    return message


def address(network: Network, node: str, interface: str = "eth0", version: int = 4) -> str:
    """The address of an interface with its prefix length."""
    return next(str(a) for a in network[node].interface(interface).addresses if a.version == version)


@dataclass(frozen=True)
class Arrival:
    """Where a packet ended, and how many routers forwarded it."""

    node: str
    routers: int


def forward(network: Network, start: str, to: IPAddress | str, segment: str | None = None) -> Arrival | None:
    """Send a packet and let every node do what Linux does with its routes; None where it is lost.

    *segment* tells which of several equal addresses is meant, where LANs overlap: the packet must end there.
    """
    to = ip_address(to) if isinstance(to, str) else to
    node = network[start]
    for routers in range(200):
        if any(a.ip == to and segment in (None, i.segment) for i in node.interfaces for a in i.addresses):
            return Arrival(node.name, routers - 1 if routers else 0)
        if routers and node.kind is not Kind.ROUTER:
            return None
        step = _next_hop(node, to)
        if step is None:
            return None
        interface, via = step
        neighbour = _neighbour(network, interface, via)
        if neighbour is None:
            return None
        node = network[neighbour.node]
    raise AssertionError(f"a packet from {start} to {to} goes round in circles")


def _next_hop(node: Node, to: IPAddress) -> tuple[Interface, IPAddress] | None:
    choices: list[tuple[int, int, int, Interface, IPAddress]] = []
    for order, interface in enumerate(node.interfaces):
        for a in interface.addresses:
            if to in a.network:
                choices.append((-a.network.prefixlen, 0, order, interface, to))
    for order, route in enumerate(node.routes):
        if route.destination.version == to.version and to in route.destination:
            metric = route.metric or (1024 if to.version == 6 else 0)  # IP6_RT_PRIO_USER
            choices.append((-route.destination.prefixlen, metric, order, node.interface(route.interface), route.via))
    if not choices:
        return None
    best = min(choices, key=lambda choice: choice[:3])
    return best[3], best[4]


def _neighbour(network: Network, out: Interface, ip: IPAddress) -> Interface | None:
    for peer in network.peers(out.segment):
        if peer is not out and any(a.ip == ip for a in peer.addresses):
            return peer
    return None


def distances(network: Network, version: int) -> dict[tuple[str, str], int]:
    """By how few routers each node reaches each segment, worked out from who is attached to what: no routes.

    A router takes what comes in from anywhere but an uplink that it translates on. Relaxed until nothing changes
    (Bellman and Ford), unlike the breadth-first search that makes the routes.
    """
    speaking = {s.name for s in network.segments.values() if any(n.version == version for n in s.subnets)}
    attached = {n.name: [i for i in n.interfaces if i.addresses and i.segment in speaking] for n in network}
    best = {(node, i.segment): 0 for node, mine in attached.items() for i in mine}
    changed = True
    while changed:
        changed = False
        for node, mine in attached.items():
            for i in mine:
                for router in network.of(Kind.ROUTER):
                    enters = any(
                        j.segment == i.segment and not (router.translates(version) and j.name == router.uplink)
                        for j in attached[router.name]
                    )
                    if not enters or router.name == node:
                        continue
                    for segment in speaking:
                        beyond = best.get((router.name, segment))
                        if beyond is not None and beyond + 1 < best.get((node, segment), 1000):
                            best[node, segment] = beyond + 1
                            changed = True
    return best


def check_forwarding(network: Network) -> None:
    """Every address arrives wherever the wiring lets it, by as few routers as can be; what cannot arrive is lost."""
    for version in (4, 6):
        best = distances(network, version)
        for node in network:
            for target in network:
                for interface in target.interfaces:
                    for a in interface.addresses:
                        if a.version != version:
                            continue
                        arrival = forward(network, node.name, a.ip, interface.segment)
                        expected = best.get((node.name, interface.segment))
                        told = f"{node.name} -> {target.name} {interface.name} {a}"
                        if expected is None:
                            assert arrival is None or arrival.node == target.name, told
                        else:
                            assert arrival is not None, f"{told}: lost"
                            assert arrival.node == target.name, told
                            assert arrival.routers <= expected, f"{told}: {arrival.routers} > {expected}"
