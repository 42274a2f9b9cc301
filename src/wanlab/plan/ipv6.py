"""What a router's nftables rules make of IPv6 at its uplink: one prefix for another, or one address for all.

The kernel's connection tracking does both, so what an ICMPv6 error quotes is translated back as well. Prefix
translation keeps all bits after the prefix. RFC 6296 would change 16 of them, so that checksums come out the same;
the kernel corrects the checksums instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.network import Node


def ipv6_chains(router: Node) -> Iterator[tuple[str, str, str, list[str]]]:
    """The nat chains: name, hook, priority, rules; none for a router that routes."""
    if router.ipv6 is Ipv6.MASQUERADE:
        yield "postrouting6", "postrouting", "srcnat", [f'oifname "{router.uplink}" meta nfproto ipv6 masquerade']
    elif router.prefixes:
        inwards = [f"ip6 daddr {pair.outside} dnat ip6 prefix to {pair.inside}" for pair in router.prefixes]
        yield "prerouting6", "prerouting", "dstnat", inwards
        yield "output6", "output", "-100", inwards  # dstnat, which nft knows by name in prerouting only
        yield "postrouting6", "postrouting", "srcnat", list(_outwards(router))


def _outwards(router: Node) -> Iterator[str]:
    for pair in router.prefixes:
        translate = f"ip6 saddr {pair.inside} snat ip6 prefix to {pair.outside}"
        yield f'oifname "{router.uplink}" {translate}'
        # RFC 6296, section 4.3: what an inside host sends to the outside of another gets there, from its own outside.
        yield f'oifname != "{router.uplink}" ct status dnat {translate}'
