"""A router's nftables rules: its firewall and its NAT as text that `nft -f` reads.

Chains bear a prefix, since nft reserves words (`fwd`, ...). One table holds all, so one load replaces all.
"""

from __future__ import annotations

from wanlab.topology.nat import Nat, Ports
from wanlab.topology.network import Node

TABLE = "wanlab"

# A WAN packet that the router itself accepted, or answered, would leave a conntrack entry that takes the tuple, and a
# hole punch from the LAN a moment later would leave from another port. So: silence.
_INPUT = """\
\tchain wl_input {{
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname "{wan}" ct state established,related accept
\t\tiifname "{wan}" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
\t\tiifname "{wan}" drop
\t}}
"""

_FORWARD = """\
\tchain wl_forward {{
\t\ttype filter hook forward priority filter; policy drop;
\t\tct state established,related accept
\t\tiifname != "{wan}" accept
\t}}
"""

_POSTROUTING = """\
\tchain wl_postrouting {{
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname "{wan}" meta nfproto ipv4 {statement}
\t}}
"""

_MASQUERADE = {Ports.PRESERVE: "masquerade", Ports.RANDOM: "masquerade random,persistent"}


def ruleset(router: Node) -> str | None:
    """The rules of *router* as nft text, or None for one that only forwards."""
    if router.uplink is None or not (router.firewall or router.nat):
        return None
    chains = []
    if router.firewall:
        chains += [_INPUT.format(wan=router.uplink), _FORWARD.format(wan=router.uplink)]
    if router.nat:
        chains.append(_POSTROUTING.format(wan=router.uplink, statement=_translation(router.nat)))
    return f"table inet {TABLE} {{\n" + "\n".join(chains) + "}\n"


def _translation(nat: Nat) -> str:
    return _MASQUERADE[nat.ports]
