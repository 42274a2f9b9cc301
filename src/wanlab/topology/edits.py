"""Topologies that differ from another by one thing that a person says: other keys, a link that is down, another place.

Each returns a topology of its own, checked as a file would be, and leaves the one that it begins from as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wanlab.errors import UsageError
from wanlab.topology.document import from_document, rebuild
from wanlab.topology.lines import Lines
from wanlab.topology.network import LinkState, Network
from wanlab.topology.places import place_of, split, with_keys, with_state
from wanlab.topology.topology import Topology


def changed(
    topology: Topology,
    network: Network,
    place: str,
    keys: Mapping[str, Any],
    *,
    file: str = "lab",
    lines: Lines | None = None,
) -> Topology:
    """*topology* with other keys of a node (`home-a`) or an interface (`laptop:wifi`); None takes one away.

    *network* is what it resolves to; *file* and *lines* are what errors speak of. Raises NoSuchNode, UsageError,
    TopologyError.
    """
    node, interface = split(place)
    kind = network[node].kind.value
    document = topology.to_document()
    if interface is not None:
        with_keys(document, place_of(topology, network, place), keys)
    else:
        table = {**document[kind][node], **keys}
        document[kind][node] = {key: value for key, value in table.items() if value is not None}
    return from_document(document, lines, file)


def linked(topology: Topology, network: Network, place: str, state: LinkState) -> Topology:
    """*topology* with another state of that link. Raises NoSuchNode, UsageError."""
    return rebuild(with_state(topology, network, place, state))


def plugged(
    topology: Topology,
    network: Network,
    place: str,
    into: str | None,
    address: str | Sequence[str] | None,
    *,
    file: str = "lab",
) -> Topology:
    """*topology* with an interface plugged *into* another switch or router (None: where it was), and up.

    Elsewhere it has another *address*, chosen where it is not given. Raises NoSuchNode, UsageError, TopologyError.
    """
    at = place_of(topology, network, place)
    document = topology.to_document()
    table: Any = document
    for step in at.path:
        table = table[step]
    key = "uplink" if at.path[0] == "router" and len(at.path) == 2 else "link"
    keys: dict[str, Any] = {"state": None}
    if at.path[0] == "link" and into is not None:
        raise UsageError(f"{at.owner} has a cable of its own: its other end stays where it is")
    if into is not None and into != table[key]:
        keys |= {key: into, "address": None}
    if address is not None:
        keys["address"] = address if isinstance(address, str) else list(address)
    return from_document(with_keys(document, at, keys), file=file)
