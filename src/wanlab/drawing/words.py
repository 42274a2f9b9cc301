"""What pictures say of a router, in a few words each."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.network import Node


def hidings(node: Node) -> Iterator[str]:
    """What a router does to packets besides forwarding them; a firewall only where it is not as one would expect."""
    nat = [f"NAT {node.nat.name}"] if node.nat else []
    ipv6 = [f"IPv6 {' '.join([node.ipv6.value, *sorted({str(pair.outside) for pair in node.prefixes})])}"]
    hides = [*nat, *(ipv6 if node.ipv6 is not Ipv6.ROUTE else [])]
    yield from hides
    if node.filtering:
        yield f"firewall {node.filtering.value}"
    elif node.firewall and not hides:
        yield "firewall"
    elif hides and not node.firewall:
        yield "no firewall"


def behaviour(node: Node) -> str:
    """A NAT in RFC 4787's words; empty for a router without."""
    if node.nat is None:
        return ""
    nat = node.nat
    return f"mapping {nat.mapping.value}, filtering {nat.filtering.value}, ports {nat.ports.value}"
