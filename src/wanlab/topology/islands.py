"""Which interfaces hear one another's broadcasts: a segment falls apart where a link between its switches is away."""

from __future__ import annotations

from collections.abc import Mapping

from wanlab.topology.groups import Groups
from wanlab.topology.network import Network

_End = tuple[str, str]


def islands(network: Network) -> Mapping[_End, _End]:
    """For each interface, as node and name, one that stands for all that it is joined to by cables that work."""
    joined: Groups[_End] = Groups((each.node, each.name) for node in network for each in node.interfaces)
    for node in network:
        for interface in node.interfaces:
            if interface.master is not None and interface.carrier:
                joined.join((node.name, interface.name), (node.name, interface.master))
    for link in network.links:
        if all(network[node].interface(name).carrier for node, name in (link.a, link.b)):
            joined.join(link.a, link.b)
    return joined.names()
