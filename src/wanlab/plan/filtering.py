"""A stateful firewall whose filtering was named (RFC 6092): sets of what hosts inside have opened by sending.

Connection tracking alone lets in who was sent to. Here every packet that leaves notes its source, and its destination
where that matters, for as long as RFC 6092 has a state record live; what comes in is looked up. Only what no NAT
translates to its own ports: that has mappings, and they say who gets in.
"""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.nat import Filtering
from wanlab.topology.network import Node

UDP_S = 300
"""RFC 6092 REC-14: at least 2 minutes, 5 unless told otherwise."""
TCP_ESTABLISHED_S = 7440
"""RFC 6092 REC-35: at least 2 hours and 4 minutes ..."""
TCP_TRANSITORY_S = 240
"""... and 4 minutes while it opens or closes."""

_MOST = 262_144  # elements of a set
_PROTOCOLS = ("udp", "tcp")
_OPENING_OR_CLOSING = "tcp flags & (fin | syn | rst)"
_ADDRESS = {4: ("ipv4_addr", "ip"), 6: ("ipv6_addr", "ip6")}


def filtered_versions(router: Node) -> tuple[int, ...]:
    """The families whose filtering was named: those that go through the router without mappings."""
    if not router.firewall or router.filtering is None:
        return ()
    routed = [4] if router.nat is None else []
    return (*routed, *([] if router.ipv6 is Ipv6.MASQUERADE else [6]))


def open_sets(router: Node) -> Iterator[tuple[str, list[str]]]:
    """The sets: name and description."""
    for version in filtered_versions(router):
        for protocol in _PROTOCOLS:
            longest = UDP_S if protocol == "udp" else TCP_ESTABLISHED_S
            shape = ["flags dynamic,timeout", f"size {_MOST}", f"timeout {longest}s"]
            yield _set(protocol, version), [f"type {_join(router, *_types(version))}", *shape]


def opening(router: Node) -> Iterator[str]:
    """Rules for a chain behind the one that forwards: what has left opens the way back."""
    for version in filtered_versions(router):
        ip = _ADDRESS[version][1]
        for protocol in _PROTOCOLS:
            key = _join(router, f"{ip} saddr", f"{protocol} sport", f"{ip} daddr", f"{protocol} dport")
            leaves = f'iifname != "{router.uplink}" oifname "{router.uplink}" meta nfproto ipv{version}'
            for condition, seconds in _timers(protocol):
                update = f"update @{_set(protocol, version)} {{ {key} timeout {seconds}s }}"
                yield " ".join(filter(None, (leaves, f"meta l4proto {protocol}", condition, update)))


def let_in(router: Node) -> Iterator[str]:
    """Rules for the chain that forwards."""
    for version in filtered_versions(router):
        ip = _ADDRESS[version][1]
        for protocol in _PROTOCOLS:
            key = _join(router, f"{ip} daddr", f"{protocol} dport", f"{ip} saddr", f"{protocol} sport")
            yield f'iifname "{router.uplink}" meta nfproto ipv{version} {key} @{_set(protocol, version)} accept'


def _set(protocol: str, version: int) -> str:
    return f"wl_{protocol}{version}_open"


def _types(version: int) -> tuple[str, str, str, str]:
    address = _ADDRESS[version][0]
    return address, "inet_service", address, "inet_service"


def _join(router: Node, address: str, port: str, peer: str, peer_port: str) -> str:
    """As much of a flow's four endpoints' parts as the filtering looks at."""
    parts = {
        Filtering.ENDPOINT_INDEPENDENT: (address, port),
        Filtering.ADDRESS_DEPENDENT: (address, port, peer),
        Filtering.ADDRESS_AND_PORT_DEPENDENT: (address, port, peer, peer_port),
    }
    assert router.filtering is not None
    return " . ".join(parts[router.filtering])


def _timers(protocol: str) -> list[tuple[str, int]]:
    if protocol == "udp":
        return [("", UDP_S)]
    return [(f"{_OPENING_OR_CLOSING} == 0", TCP_ESTABLISHED_S), (f"{_OPENING_OR_CLOSING} != 0", TCP_TRANSITORY_S)]
