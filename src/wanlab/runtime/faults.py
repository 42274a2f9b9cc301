"""What is wrong with the impairment of a lab's links: what was declared, held against what the holder found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wanlab.topology.network import Network


def faults(network: Network, found: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The interfaces that are to be impaired and are not as they should be, each with what it does in place of that.

    *found* is what a holder answers who is asked what is impaired.
    """
    in_place = {(node, name) for node, name in found["in_place"]}
    told = {}
    for node in network:
        for interface in node.interfaces:
            place = (node.name, interface.name)
            if interface.egress is None:
                continue
            if place not in in_place:
                gone = "its rules are gone" if found["means"] == "wire" else "its queue is gone"
                told[place] = f"sends unimpaired: {gone}"
            elif found["trouble"]:
                told[place] = f"sends nothing: the wire's process {found['trouble']}"
    return told


CURE = "`wanlab reboot {node}` puts back what impairs its links"
