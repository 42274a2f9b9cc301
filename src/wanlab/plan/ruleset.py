"""A router's nftables rules: its firewall and its NAT as text that `nft -f` reads.

What connection tracking does by itself is left to it: `masquerade` keeps a source port where it can, and lets in what
answers. Everything else a NAT may do is *learned*: a chain behind source translation sees which external endpoint the
kernel chose, and writes it into maps whose elements time out. Later rules read the maps: a mapping that stands is used
again, and a packet from outside finds whose it is.

One table holds all, so one load replaces all.
"""

from __future__ import annotations

from wanlab.plan.firewall import forward_chain, input_chain, opening_chain
from wanlab.plan.ipv6 import ipv6_chains
from wanlab.plan.learned import Learned
from wanlab.plan.limit import limit_chains, subscribers
from wanlab.plan.mappings import fresh_marks, maps_ports
from wanlab.plan.nft_text import MAPPED_CHAINS, MAPPED_OUT, block, hook, into_mapped
from wanlab.topology.nat import Nat, Ports
from wanlab.topology.network import Network, Node

TABLE = "wanlab"


def ruleset(router: Node, network: Network) -> str | None:
    """The rules of *router* as nft text, or None for one that only forwards."""
    if router.uplink is None or not (router.firewall or router.translates(4) or router.translates(6)):
        return None
    nat = router.nat
    parts: list[str] = []
    if nat is not None and nat.learns:
        translation = Learned(router, nat, network)
        parts += translation.memory()
        parts += translation.chains()
    elif nat is not None:
        parts.append(_plain(router.uplink, nat))
    parts += (hook(name, "nat", where, priority, rules) for name, where, priority, rules in ipv6_chains(router))
    if nat is not None and nat.limit is not None:
        parts[:0] = limit_chains(router.uplink, nat, subscribers(router, network))
    if nat is not None:
        parts[:0] = fresh_marks(nat)
    if router.firewall:
        parts[:0] = [input_chain(router.uplink, nat), forward_chain(router, router.uplink, nat), *opening_chain(router)]
    if nat is not None and maps_ports(nat):
        # These are filled by the port mapping server.
        parts[:0] = [block(f"chain {chain}", []) for chain in MAPPED_CHAINS]
    return f"table inet {TABLE} {{\n" + "\n".join(parts) + "}\n"


def _plain(wan: str, nat: Nat) -> str:
    flags = "" if nat.ports is Ports.PRESERVE else " random,persistent"
    lines = [f'oifname "{wan}" meta nfproto ipv4 masquerade{flags}']
    if (nat.first_port, nat.last_port) != (1, 65535):
        # Left to itself the kernel gives a port below 1024 for one below 1024, and one above for one above.
        ports = f"to :{nat.first_port}-{nat.last_port}"
        lines.insert(0, f'oifname "{wan}" meta nfproto ipv4 meta l4proto {{ tcp, udp }} masquerade {ports}{flags}')
    if not maps_ports(nat):
        return hook("postrouting", "nat", "postrouting", "srcnat", lines)
    mapped = hook("prerouting", "nat", "prerouting", "dstnat", [into_mapped(wan)])
    return mapped + hook("postrouting", "nat", "postrouting", "srcnat", [f"jump {MAPPED_OUT}", *lines])
