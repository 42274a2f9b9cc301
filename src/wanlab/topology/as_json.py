"""A network as what JSON can hold: what `wanlab inspect --json` and `wanlab graph --format json` print of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wanlab.topology.impairment_text import direction_table
from wanlab.topology.network import Interface, Network, Node

_Peers = Mapping[tuple[str, str], tuple[str, str]]


def nodes_to_json(network: Network) -> list[dict[str, Any]]:
    """All nodes, in order."""
    peers = _peers(network)
    return [_node(node, peers) for node in network]


def node_to_json(network: Network, node: Node) -> dict[str, Any]:
    """One of its nodes."""
    return _node(node, _peers(network))


def links_to_json(network: Network) -> list[dict[str, Any]]:
    """All cables."""
    return [
        {
            "a": _end(link.a),
            "b": _end(link.b),
            "segment": network[link.a[0]].interface(link.a[1]).segment,
            "a_sends": _impairment(network, link.a),
            "b_sends": _impairment(network, link.b),
        }
        for link in network.links
    ]


def segments_to_json(network: Network) -> list[dict[str, Any]]:
    """Everything that one broadcast reaches."""
    return [
        {"name": each.name, "subnets": [str(subnet) for subnet in each.subnets], "mtu": each.mtu}
        for each in network.segments.values()
    ]


def _impairment(network: Network, end: tuple[str, str]) -> dict[str, Any]:
    """What becomes of the packets that an end sends, in a lab file's words; empty: nothing."""
    return direction_table(network[end[0]].interface(end[1]).egress)


def _end(end: tuple[str, str]) -> dict[str, str]:
    return {"node": end[0], "interface": end[1]}


def _peers(network: Network) -> _Peers:
    found = {link.a: link.b for link in network.links}
    return found | {link.b: link.a for link in network.links}


def _node(node: Node, peers: _Peers) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind.value,
        "address": next((str(a.ip) for i in _by_rank(node) for a in i.addresses), None),
        "uplink": node.uplink,
        "firewall": node.firewall,
        "filtering": None if node.filtering is None else node.filtering.value,
        "ipv6": {
            "at_uplink": node.ipv6.value,
            "prefixes": [{"inside": str(pair.inside), "outside": str(pair.outside)} for pair in node.prefixes],
        }
        if node.uplink is not None
        else None,
        "nat": None
        if node.nat is None
        else {
            "name": node.nat.name,
            "mapping": node.nat.mapping.value,
            "filtering": node.nat.filtering.value,
            "ports": node.nat.ports.value,
        },
        "interfaces": [_interface(each, peers) for each in node.interfaces],
        "routes": [
            {"to": str(each.destination), "via": str(each.via), "interface": each.interface, "metric": each.metric}
            for each in node.routes
        ],
    }


def _by_rank(node: Node) -> Iterator[Interface]:
    """The interfaces, the one whose address is the node's first."""
    if node.uplink is not None:
        yield node.interface(node.uplink)
    yield from node.interfaces


def _interface(interface: Interface, peers: _Peers) -> dict[str, Any]:
    far = peers.get((interface.node, interface.name))
    return {
        "name": interface.name,
        "addresses": [str(address) for address in interface.addresses],
        "mac": interface.mac,
        "slaac": interface.slaac,
        "mtu": interface.mtu,
        "state": interface.state.value,
        "up": interface.up,
        "carrier": interface.carrier,
        "segment": interface.segment,
        "bridge": interface.bridge,
        "master": interface.master,
        "sends_with": None if interface.egress is None else direction_table(interface.egress),
        "cable_to": None if far is None else _end(far),
    }
