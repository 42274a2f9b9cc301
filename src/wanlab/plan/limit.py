"""How many mappings an inside host may have at a time."""

from __future__ import annotations

from collections.abc import Sequence

from wanlab.plan.mappings import fresh, update_timers
from wanlab.plan.nft_text import PROTOCOLS, block, hook
from wanlab.topology.nat import Mapping, Nat
from wanlab.topology.network import IPAddress, Network, Node


def subscribers(router: Node, network: Network) -> list[IPAddress]:
    """The IPv4 addresses that are plugged in right behind the router."""
    behind = [i for i in router.interfaces if i.name != router.uplink and i.addresses]
    peers = [peer for interface in behind for peer in network.peers(interface.segment) if peer.node != router.name]
    return sorted({address.ip for peer in peers for address in peer.addresses if address.version == 4})


def limit_chains(wan: str, nat: Nat, subscribers: Sequence[IPAddress]) -> list[str]:
    """Chains that refuse a subscriber's mappings beyond the limit (RFC 6888 REQ-4).

    nftables counts connections, of which one mapping has many. So each subscriber has a set of what tells its mappings
    apart, with their timers, and with room for so many: what finds none is refused, and what is there already passes.
    Whoever is not plugged in right behind the router shares one more set with the others like that.
    """
    key, type_ = "meta l4proto . th sport", "inet_proto . inet_service"
    if nat.mapping is not Mapping.ENDPOINT_INDEPENDENT:
        key, type_ = f"{key} . ip daddr", f"{type_} . ipv4_addr"
    if nat.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT:
        key, type_ = f"{key} . th dport", f"{type_} . inet_service"
    names = [f"wl_held{number}" for number in range(len(subscribers))]
    parts = []
    for name in [*names, "wl_held"]:
        parts.append(block(f"set {name}", [f"type {type_}", "flags dynamic,timeout", f"size {nat.limit}"]))
        lines = [
            f"meta l4proto {protocol} {condition} update @{name} {{ {key} timeout {timeout} }} return"
            for protocol in PROTOCOLS
            for condition, timeout in update_timers(nat, protocol)
        ]
        # RFC 6888 REQ-11: the sender is told. What is neither UDP nor TCP is not counted.
        lines.append(f"meta l4proto {{ {', '.join(PROTOCOLS)} }} reject with icmp type host-unreachable")
        parts.append(block(f"chain {name}", lines))
    owners = ", ".join(f"{who} : goto {name}" for who, name in zip(subscribers, names, strict=True))
    lines = [
        *(f"{which} return" for which in fresh(nat)),
        f'iifname "{wan}" return',
        f'oifname != "{wan}" ct status & dnat != dnat return',
        *([f"ip saddr vmap {{ {owners} }}"] if owners else []),
        "meta nfproto ipv4 goto wl_held",
    ]
    return [*parts, hook("limit", "filter", "forward", "filter - 1", lines)]
