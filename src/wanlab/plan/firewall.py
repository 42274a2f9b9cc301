"""What a router's rules let in, let through and refuse, whatever it translates."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.filtering import let_in, open_sets, opening
from wanlab.plan.mappings import maps_ports, takes_tuples
from wanlab.plan.nft_text import MAPPED_FORWARD, PROTOCOLS, block, hook
from wanlab.topology.nat import Filtering, Nat, Unsolicited
from wanlab.topology.network import Node


def input_chain(wan: str, nat: Nat | None) -> str:
    """What the WAN may tell the router itself."""
    # A WAN packet that the router itself accepted, or answered, would leave a conntrack entry that takes the tuple, and
    # a hole punch from the LAN a moment later would leave from another port. So the default is silence.
    unasked = nat.unsolicited if nat is not None else Unsolicited.DROP
    taken = []
    if nat is not None and takes_tuples(nat):
        taken = [
            f'iifname "{wan}" meta nfproto ipv4 meta l4proto udp update @wl_udp_answered {{ ip saddr . udp sport }}'
        ]
    return hook(
        "input",
        "filter",
        "input",
        "filter",
        [
            f'iifname "{wan}" ct state established,related accept',
            f'iifname "{wan}" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept',
            *taken,
            f'iifname "{wan}" {unasked.value}',
        ],
    )


def forward_chain(router: Node, wan: str, nat: Nat | None) -> str:
    """What passes through the router."""
    lines = ["ct state established,related accept"]
    # What connection tracking cannot place is not translated either: it would leave with its private address.
    lines += (f"meta nfproto ipv{version} ct state invalid drop" for version in (4, 6) if router.translates(version))
    for protocol in PROTOCOLS:
        ports = getattr(nat, f"{protocol}_ports", None)
        if ports is not None:
            others = f"{protocol} dport != {{ {', '.join(str(port) for port in ports)} }}" if ports else ""
            lines.append(f'oifname "{wan}" {others or f"meta l4proto {protocol}"} drop')
    lines.append(f'iifname != "{wan}" accept')
    if nat is not None and nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT:
        lines.append("meta nfproto ipv4 ct status dnat accept")
    if nat is not None and maps_ports(nat):
        lines.append(f"jump {MAPPED_FORWARD}")
    lines += let_in(router)
    memory = "".join(block(f"set {name}", shape) for name, shape in open_sets(router))
    return memory + hook("forward", "filter", "forward", "filter", lines, policy="drop")


def opening_chain(router: Node) -> Iterator[str]:
    """Behind the chain that forwards, so that only what does leave opens anything."""
    rules = list(opening(router))
    if rules:
        yield hook("opening", "filter", "forward", "filter + 1", rules)
