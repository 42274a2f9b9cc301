"""What hangs below what: a network is no tree, so each node is given one cable that it hangs by, or none: a root."""

from __future__ import annotations

from collections import deque

from wanlab.topology.network import Interface, Kind, Network

End = tuple[str, str]
"""One end of a cable: node and interface."""


def peers(network: Network) -> dict[End, End]:
    """The other end of each cable, by either end."""
    peer: dict[End, End] = {}
    for link in network.links:
        peer[link.a], peer[link.b] = link.b, link.a
    return peer


def homes(network: Network, peer: dict[End, End]) -> dict[str, End]:
    """For each node that hangs below another, the end of the cable that it hangs by (the upper one)."""
    above: dict[str, End] = {}
    insides: dict[str, list[Interface]] = {}
    for router in network.of(Kind.ROUTER):
        for interface in router.interfaces:
            if interface.name != router.uplink:
                insides.setdefault(interface.segment, []).append(interface)
    # Switches that trunks join: below their only gateway, or the first of them is a root.
    roots: dict[str, str] = {}
    for switch in network.of(Kind.SWITCH):
        segment = switch.interfaces[0].segment
        gateways = insides.get(segment, [])
        if segment not in roots and len(gateways) == 1:
            end = (gateways[0].node, gateways[0].name)
            above[peer[end][0]] = end
            roots[segment] = peer[end][0]
        roots.setdefault(segment, switch.name)
    _span(network, peer, Kind.SWITCH, list(roots.values()), above)
    for router in network.of(Kind.ROUTER):
        for interface in router.interfaces:
            far = peer.get((router.name, interface.name))
            shared = far and network[far[0]].kind is Kind.SWITCH and len(insides.get(interface.segment, ())) > 1
            if far and (interface.name == router.uplink or (router.uplink is None and shared)):
                above.setdefault(router.name, far)
    for host in network.of(Kind.HOST):
        for interface in host.interfaces:
            far = peer.get((host.name, interface.name))
            if far and network[far[0]].kind is not Kind.HOST:
                above.setdefault(host.name, far)
    hosts = [host.name for host in network.of(Kind.HOST)]
    _span(network, peer, Kind.HOST, [*(name for name in hosts if name in above), *hosts], above)
    _break_circles(network, above)
    return above


def _span(network: Network, peer: dict[End, End], kind: Kind, starts: list[str], above: dict[str, End]) -> None:
    """Hang nodes of one kind that cables join below the nearest of the first of *starts* that they are joined with."""
    known = {name for name in starts if name in above}
    for start in starts:
        known.add(start)
        queue = deque([start])
        while queue:
            name = queue.popleft()
            for interface in network[name].interfaces:
                end = (name, interface.name)
                far = peer[end][0] if end in peer else name
                if network[far].kind is kind and far not in known:
                    known.add(far)
                    above[far] = end
                    queue.append(far)


def _break_circles(network: Network, above: dict[str, End]) -> None:
    """Nobody hangs below itself: where the rules would have it so, one node of the circle becomes a root."""
    done: set[str] = set()
    for node in network:
        path: list[str] = []
        name = node.name
        while name in above and name not in done:
            done.add(name)
            path.append(name)
            if above[name][0] in path:
                del above[name]
            else:
                name = above[name][0]
