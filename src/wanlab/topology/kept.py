"""What a lab that changes keeps: addresses, subnets and prefixes that were chosen for it and not given.

Without this, one host more or a NAT with another number of addresses would renumber whoever comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network, ip_interface, ip_network
from typing import Any

from wanlab.topology.ipv6 import PrefixPair
from wanlab.topology.network import IPInterface, IPNetwork, Network


@dataclass(frozen=True, slots=True)
class Kept:
    """The addresses of interfaces, by node and interface; the subnets of segments; prefixes of routers."""

    addresses: Mapping[tuple[str, str], tuple[IPInterface, ...]] = field(default_factory=dict)
    subnets: Mapping[str, tuple[IPNetwork, ...]] = field(default_factory=dict)
    prefixes: Mapping[str, tuple[PrefixPair, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> Kept:
        """All that *network* has."""
        interfaces = [interface for node in network for interface in node.interfaces if interface.addresses]
        return cls(
            {(interface.node, interface.name): interface.addresses for interface in interfaces},
            {segment.name: segment.subnets for segment in network.segments.values()},
            {node.name: node.prefixes for node in network if node.prefixes},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "addresses": [[*place, *map(str, addresses)] for place, addresses in self.addresses.items()],
            "subnets": {segment: [str(subnet) for subnet in subnets] for segment, subnets in self.subnets.items()},
            "prefixes": {
                router: [[str(pair.inside), str(pair.outside)] for pair in pairs]
                for router, pairs in self.prefixes.items()
            },
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Kept:
        """The inverse of :meth:`to_json`."""
        return cls(
            {(node, name): tuple(map(ip_interface, addresses)) for node, name, *addresses in kept["addresses"]},
            {segment: tuple(map(ip_network, subnets)) for segment, subnets in kept["subnets"].items()},
            {
                router: tuple(PrefixPair(IPv6Network(inside), IPv6Network(outside)) for inside, outside in pairs)
                for router, pairs in kept.get("prefixes", {}).items()  # a recording of earlier times has none
            },
        )


NOTHING = Kept()
