"""What a lab that changes keeps: addresses and subnets that were chosen for it and not given.

Without this, one host more or a NAT with another number of addresses would renumber whoever comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from typing import Any

from wanlab.topology.network import IPInterface, IPNetwork, Network


@dataclass(frozen=True, slots=True)
class Kept:
    """The addresses of interfaces, by node and interface, and the subnets of segments."""

    addresses: Mapping[tuple[str, str], tuple[IPInterface, ...]] = field(default_factory=dict)
    subnets: Mapping[str, tuple[IPNetwork, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> Kept:
        """All that *network* has."""
        interfaces = [interface for node in network for interface in node.interfaces if interface.addresses]
        return cls(
            {(interface.node, interface.name): interface.addresses for interface in interfaces},
            {segment.name: segment.subnets for segment in network.segments.values()},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "addresses": [[*place, *map(str, addresses)] for place, addresses in self.addresses.items()],
            "subnets": {segment: [str(subnet) for subnet in subnets] for segment, subnets in self.subnets.items()},
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Kept:
        """The inverse of :meth:`to_json`."""
        return cls(
            {(node, name): tuple(map(ip_interface, addresses)) for node, name, *addresses in kept["addresses"]},
            {segment: tuple(map(ip_network, subnets)) for segment, subnets in kept["subnets"].items()},
        )


NOTHING = Kept()
