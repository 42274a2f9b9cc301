"""A network as JSON, for programs that draw or judge it: docs/reference/graph-json.md has its form."""

from __future__ import annotations

import json
from typing import Any

from wanlab.drawing.scene import AS_DECLARED, Condition
from wanlab.topology.as_json import links_to_json, nodes_to_json, segments_to_json
from wanlab.topology.network import Network

FORMAT = 1
"""Changes when a reader must."""


def draw_json(network: Network, condition: Condition = AS_DECLARED) -> str:
    """The document, ending in a newline."""
    return json.dumps(graph_document(network, condition), indent=2) + "\n"


def graph_document(network: Network, condition: Condition = AS_DECLARED) -> dict[str, Any]:
    """What JSON can hold of a network and its condition."""
    nodes = nodes_to_json(network)
    for node in nodes:
        for interface in node["interfaces"]:
            found = condition.addresses.get((node["name"], interface["name"]))
            interface["found_addresses"] = None if found is None else [str(address) for address in found]
    links = links_to_json(network)
    for link, described in zip(network.links, links, strict=True):
        ends = [network[node].interface(name) for node, name in (link.a, link.b)]
        described["down"] = condition.is_down(link) or not all(end.up for end in ends)
    return {
        "format": FORMAT,
        "name": network.name,
        "title": network.title,
        "nodes": nodes,
        "segments": segments_to_json(network),
        "links": links,
    }
