"""Which interfaces hear one another's broadcasts: a segment falls apart where a link between its switches is away."""

from __future__ import annotations

from collections.abc import Mapping

from wanlab.topology.network import Network

_End = tuple[str, str]


def islands(network: Network) -> Mapping[_End, _End]:
    """For each interface, as node and name, one that stands for all that it is joined to by cables that work."""
    above: dict[_End, _End] = {(i.node, i.name): (i.node, i.name) for node in network for i in node.interfaces}

    def top(end: _End) -> _End:
        while above[end] != end:
            above[end] = above[above[end]]
            end = above[end]
        return end

    for node in network:
        for interface in node.interfaces:
            if interface.master is not None and interface.carrier:
                above[top((node.name, interface.name))] = top((node.name, interface.master))
    for link in network.links:
        if all(network[node].interface(name).carrier for node, name in (link.a, link.b)):
            above[top(link.a)] = top(link.b)
    return {end: top(end) for end in above}
