"""What pictures say of routers and links, in a few words each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wanlab.topology.impairment import LinkImpairment
from wanlab.topology.impairment_text import impairment_table
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.network import Node

_LONGEST = 44  # letters of what stands beside a wire


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


def quality(link: LinkImpairment) -> tuple[str, str]:
    """What a link does to packets: short enough to stand beside it, and in full. Empty where it does nothing.

    `up` is what the lower end of the picture's wire sends.
    """
    table = impairment_table(link.or_none)
    if table is None:
        return "", ""
    if isinstance(table, str):
        return table, table
    common = {key: value for key, value in table.items() if key not in ("up", "down")}
    ways = [
        (mark, table[way])
        for mark, way in (("\N{UPWARDS ARROW}", "up"), ("\N{DOWNWARDS ARROW}", "down"))
        if way in table
    ]
    parts = [_said(common), *(f"{mark} {_said(own)}" for mark, own in ways)]
    whole = "  ".join(filter(None, parts))
    return whole if len(whole) <= _LONGEST else "impaired", whole


def _said(table: Mapping[str, Any]) -> str:
    return ", ".join(_pair(key, value) for key, value in table.items())


def _pair(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{key} {' '.join(f'{name} {each}' for name, each in value.items())}"
    return str(value) if key in ("delay", "rate") else f"{key} {value}"
