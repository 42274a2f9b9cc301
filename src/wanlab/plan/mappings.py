"""What several chains of a NAT have to know of its mappings: who uses them again, and how long they live."""

from __future__ import annotations

from wanlab.topology.nat import Mapping, Nat, PortMapping, Unsolicited

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


def update_timers(nat: Nat, protocol: str) -> list[tuple[str, int]]:
    """Which packets of a protocol start a mapping's timer anew, and for how many seconds."""
    if protocol == "udp":
        return [("", nat.udp_timeout_s)]
    # RFC 5382 REQ-5: a connection that stands is kept far longer than one that opens or closes. An update gives an
    # element that is there already its new timeout.
    return [
        ("tcp flags & (fin | syn | rst) == 0", nat.tcp_established_s),
        ("tcp flags & (fin | syn | rst) != 0", nat.tcp_transitory_s),
    ]
