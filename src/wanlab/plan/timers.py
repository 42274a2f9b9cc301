"""A router's timers as sysctls of connection tracking: whose entries must not die before what they carry.

And what else connection tracking must be told to carry a NAT's flows.
"""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.filtering import TCP_TRANSITORY_S, UDP_S, filtered_versions
from wanlab.topology.nat import LINUX, Nat
from wanlab.topology.network import Node

_PREFIX = "net.netfilter.nf_conntrack_"

# RFC 5382 calls everything but an established connection transitory.
_TRANSITORY = ("syn_sent", "syn_recv", "fin_wait", "close_wait", "last_ack", "time_wait", "close")


def timers(router: Node) -> Iterator[tuple[str, int]]:
    """Which sysctls to set, timers in seconds; those that the kernel has already are left out.

    They are the same for IPv4 and IPv6: a NAT's, where there is one, else those of a firewall of RFC 6092.
    """
    if router.nat is not None:
        yield from _of_nat(router.nat)
    elif filtered_versions(router):
        yield from _udp(UDP_S)
        yield from _transitory(TCP_TRANSITORY_S)


def _of_nat(nat: Nat) -> Iterator[tuple[str, int]]:
    # RFC 5382 REQ-2 wants all valid sequences let through. One is a connection tried again from the same port after it
    # was refused: its SYN has another sequence number, which the kernel's own window check calls invalid half the time.
    yield f"{_PREFIX}tcp_be_liberal", 1
    if nat.udp_timeout_s != LINUX.udp_timeout_s:
        yield from _udp(nat.udp_timeout_s)
    if nat.tcp_established_s != LINUX.tcp_established_s:
        yield f"{_PREFIX}tcp_timeout_established", nat.tcp_established_s
    if nat.tcp_transitory_s != LINUX.tcp_transitory_s:
        yield from _transitory(nat.tcp_transitory_s)
    if nat.icmp_timeout_s != LINUX.icmp_timeout_s:
        yield f"{_PREFIX}icmp_timeout", nat.icmp_timeout_s


def _udp(seconds: int) -> Iterator[tuple[str, int]]:
    yield f"{_PREFIX}udp_timeout", seconds
    yield f"{_PREFIX}udp_timeout_stream", seconds


def _transitory(seconds: int) -> Iterator[tuple[str, int]]:
    yield from ((f"{_PREFIX}tcp_timeout_{state}", seconds) for state in _TRANSITORY)


# net/netfilter/nf_conntrack_proto_{udp,tcp,icmp}.c; timers in seconds.
KERNEL_DEFAULTS = {
    _PREFIX + key: value
    for key, value in {
        "tcp_be_liberal": "0",
        "udp_timeout": "30",
        "udp_timeout_stream": "120",
        "tcp_timeout_established": "432000",
        "tcp_timeout_syn_sent": "120",
        "tcp_timeout_syn_recv": "60",
        "tcp_timeout_fin_wait": "120",
        "tcp_timeout_close_wait": "60",
        "tcp_timeout_last_ack": "30",
        "tcp_timeout_time_wait": "120",
        "tcp_timeout_close": "10",
        "icmp_timeout": "30",
    }.items()
}
"""Every sysctl that :func:`timers` may set, and what the kernel has for it."""
