"""What several chains of a NAT have to know of its mappings: who uses them again, and how long they live."""

from __future__ import annotations

from wanlab.plan.nft_text import block, duration
from wanlab.topology.nat import Hairpin, Mapping, Nat, PortMapping, Unsolicited

NO_CHECKSUM = "0x6e6f6e65"
"""The mark of a packet that is to leave without one; no mark leaves its router."""


def takes_tuples(nat: Nat) -> bool:
    """Whether a flow of the router's own can stand where a mapping would have to be used again.

    Connection tracking then finds no other port, since the map leaves it no choice, and drops what the inside sends.
    """
    return nat.learns and reuses(nat) and nat.unsolicited is Unsolicited.ACCEPT


def maps_ports(nat: Nat) -> bool:
    """Whether a port mapping server runs in the router."""
    return nat.port_mapping is not PortMapping.OFF


def reuses(nat: Nat) -> bool:
    """Whether a mapping that stands says where the next flow leaves from.

    Not where two hosts may have one port: towards one destination the second needs another, and a map gives no choice.
    """
    return nat.mapping is not Mapping.ADDRESS_AND_PORT_DEPENDENT and not nat.overloading


def update_timers(nat: Nat, protocol: str) -> list[tuple[str, str]]:
    """Which packets of a protocol start a mapping's timer anew, and from which value, as nft has it."""
    if protocol == "udp":
        return [("", _timeout(nat, nat.udp_timeout_s))]
    # RFC 5382 REQ-5: a connection that stands is kept far longer than one that opens or closes. An update gives an
    # element that is there already its new timeout.
    return [
        (f"{_OPENS_OR_CLOSES} == 0", _timeout(nat, nat.tcp_established_s)),
        (f"{_OPENS_OR_CLOSES} != 0", duration(1000 * nat.tcp_transitory_s)),
    ]


# -- fresh flows ---------------------------------------------------------------------------------------------------

# To start a mapping's timers costs more than all else that the rules do with a packet. So the flow whose packet has
# started them is marked, and as long as its mark is fresh they are let be. The mark is the second of the day; hashed,
# since nft takes no time for a mark. A set knows which marks are fresh, and forgets them in no time.

_OPENS_OR_CLOSES = "tcp flags & (fin | syn | rst)"
_FRESH_MS = 100
_STALE_MS = 1000 + _FRESH_MS  # a second gives one mark, and at its end the set may just have been told of it
_LONG_S = 30  # what is shorter is kept exactly: there it would be noticed that a mapping dies a second late


def fresh(nat: Nat) -> list[str]:
    """What matches packets that have nothing to start anew. Those that open or close a TCP connection always have."""
    udp = ["meta l4proto udp"] if _may_be_late(nat, nat.udp_timeout_s) else []
    tcp = [f"{_OPENS_OR_CLOSES} == 0"] if _may_be_late(nat, nat.tcp_established_s) else []
    return [f"{which} ct mark @wl_fresh" for which in (*udp, *tcp)]


def fresh_marks(nat: Nat) -> list[str]:
    """The set of marks that are fresh."""
    shape = ["type mark", "flags dynamic,timeout", "size 48", f"timeout {_FRESH_MS}ms"]
    return [block("set wl_fresh", shape)] if fresh(nat) else []


def marking(nat: Nat) -> list[str]:
    """The chain that marks the flow of a packet which has started timers.

    Not with its first packet: many a flow has no other.
    """
    if not fresh(nat):
        return []
    lines = ["ct status & confirmed == 0 return"]
    if nat.hairpin is Hairpin.EXTERNAL:
        lines.append("ct status & (snat | dnat) == snat | dnat return")  # within: each packet is to be filtered
    lines += [
        f"{_OPENS_OR_CLOSES} != 0 ct mark set 0 return",
        "ct mark set jhash meta hour mod 4294967295 offset 1",
        f"add @wl_fresh {{ ct mark timeout {_FRESH_MS}ms }}",
    ]
    return [block("chain wl_started", lines)]


def _may_be_late(nat: Nat, timer_s: int) -> bool:
    return nat.learns and timer_s >= _LONG_S


def _timeout(nat: Nat, timer_s: int) -> str:
    """An element's, if a mapping is to live so long behind its last packet."""
    return duration(1000 * timer_s + (_STALE_MS if _may_be_late(nat, timer_s) else 0))
