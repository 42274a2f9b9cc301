"""Whether this machine's netfilter does what routers need, and libnftables knows the words for it."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress

from wanlab.doctor.cures import CONTAINER, install, module
from wanlab.doctor.kernel_calls import write_and_read
from wanlab.doctor.probe import Cure, Probe
from wanlab.errors import KernelError, MachineError
from wanlab.kernel import nftables

_NFTABLES = install("libnftables1", "nftables")


def _libnftables() -> str:
    try:
        nftables.require()
    except MachineError:
        raise OSError(errno.ENOENT, "libnftables.so.1 cannot be loaded") from None
    return "loaded"


def _nf_tables() -> str:
    _rules("")()
    # The library tells its version only at the head of what it prints as JSON.
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_output_set_flags(context, 1 << 4)  # NFT_CTX_OUTPUT_JSON
        library.nft_ctx_buffer_output(context)
        library.nft_run_cmd_from_buffer(context, b"list tables")
        printed = library.nft_ctx_get_output_buffer(context) or b""
    finally:
        library.nft_ctx_free(context)
    version = re.search(rb'"version": *"([^"]+)"', printed)
    return f"loaded by libnftables {version[1].decode() if version else '(built without JSON)'}"


def _load(content: str, family: str = "inet") -> None:
    """Load a table named `probe`; on one line, since nft repeats the line that it complains about."""
    try:
        nftables.load(f"table {family} probe {{ {content} }}\n")
    except KernelError as error:
        words = error.what.partition(f" table {family} ")[0].removeprefix("Error: ")
        known = (errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL)
        raise OSError(next((number for number in known if os.strerror(number) in words), 0), words) from None


def _rules(content: str) -> Callable[[], str]:
    def attempt() -> str:
        _load(content)
        nftables.load("delete table inet probe\n")
        return "loaded"

    return attempt


_NEW, _TRACE = 1, 9  # include/uapi/linux/netfilter/nfnetlink.h: NFNLGRP_CONNTRACK_NEW, NFNLGRP_NFTRACE


def _event(group: int, rules: str) -> Callable[[], str]:
    """Whether netfilter tells the multicast *group* of a packet that meets *rules*."""

    def attempt() -> str:
        netfilter = 12  # NETLINK_NETFILTER
        _load(rules)
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netfilter) as listener:
                listener.bind((0, 1 << (group - 1)))
                listener.settimeout(0.1)
                for _ in range(3):  # the first may only have made the kernel load the module that tells
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        sender.sendto(b"", ("127.0.0.1", 9))
                    with suppress(TimeoutError):
                        listener.recv(4096)
                        return "heard"
            raise OSError(errno.ENOMSG, "packets passed, and nothing was told of them")
        finally:
            nftables.load("delete table inet probe\n")

    return attempt


_TRACKED = "chain c { type filter hook output priority filter; ct state new accept; };"


def _timers() -> str:
    timers = ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established", "tcp_timeout_fin_wait", "icmp_timeout")
    _load(_TRACKED)  # the sysctls come with the first rule that asks for a connection's state
    try:
        for timer in timers:
            write_and_read(f"net/netfilter/nf_conntrack_{timer}", "3600")
    finally:
        nftables.load("delete table inet probe\n")
    return f"{len(timers)} written and read back"


def _timers_cure(number: int) -> str | None:
    # Old kernels hide them from user namespaces (ENOENT), and no command changes that.
    return CONTAINER if number in (errno.EROFS, errno.EACCES) else None


def nft_cure(name: str) -> Cure:
    """For rules that the kernel has by the module *name*."""
    kernel = module(name)
    # An errno comes from the kernel; without one it is the library that does not know the words.
    return lambda number: (kernel if number else _NFTABLES)(number)


def _nft(name: str, use: str, module: str, content: str, *, needed: bool = False) -> Probe:
    return Probe(name, use, _rules(content), nft_cure(module), needed, "nf_tables")


def _forward(rule: str) -> str:
    return f"chain c {{ type filter hook forward priority filter; {rule}; }};"


def _source(rule: str) -> str:
    return f"chain c {{ type nat hook postrouting priority srcnat; meta l4proto {{ tcp, udp }} {rule}; }};"


def _map(kind: str) -> str:
    return f"map m {{ type {kind}; flags dynamic,timeout; timeout 5m; size 65536; }}; "


_SET = "set s { type ipv4_addr; flags dynamic; size 65536; }; "
_LEARN = (
    "chain c { type filter hook postrouting priority srcnat + 1; ct direction original meta l4proto udp "
    "update @m { ct original ip saddr . ct original proto-src : ct reply proto-dst }; };"
)
_DESTINATION = (
    "chain c { type nat hook prerouting priority dstnat; meta l4proto { tcp, udp } dnat ip to th dport map @m; };"
)
_TRACED = "chain c { type filter hook output priority filter; meta nftrace set 1; };"


def egress() -> str:
    """Whether rules can lead to a device what would leave by another."""
    _load('chain c { type filter hook egress device "lo" priority 0; fwd to "lo"; };', "netdev")
    nftables.load("delete table netdev probe\n")
    return "loaded"


NFTABLES = (
    Probe("libnftables", "loading a router's rules", _libnftables, _NFTABLES, True, None),
    Probe("nf_tables", "a router's rules", _nf_tables, nft_cure("nf_tables"), True, "libnftables"),
    _nft("ct state", "stateful firewalls", "nft_ct", _forward("ct state established,related"), needed=True),
    _nft("masquerade", "Linux's NAT", "nft_masq", _source("masquerade"), needed=True),
    _nft("masquerade random", "the article's NAT", "nft_masq", _source("masquerade random,persistent"), needed=True),
    _nft("reject", "firewalls that answer", "nft_reject_inet", _forward("reject")),
    _nft(
        "maps that learn",
        "NAT mappings that are refreshed and time out",
        "nft_ct",
        _map("ipv4_addr . inet_service : inet_service") + _LEARN,
    ),
    _nft(
        "snat through a map",
        "endpoint-independent and address-dependent mapping",
        "nft_nat",
        _map("ipv4_addr . inet_service . ipv4_addr : inet_service")
        + _source("snat ip to 5.5.5.5 : ip saddr . th sport . ip daddr map @m"),
    ),
    _nft(
        "dnat through a map",
        "endpoint-independent filtering, hairpinning",
        "nft_nat",
        _map("inet_service : ipv4_addr . inet_service") + _DESTINATION,
    ),
    _nft(
        "prefix translation",
        "IPv6 prefix translation (NPTv6)",
        "nft_nat",
        _source("snat ip6 prefix to ip6 saddr map { fd00:1::/64 : fd00:2::/64 }"),
    ),
    _nft(
        "numgen",
        "predictable ports",
        "nft_numgen",
        _source("snat ip to 5.5.5.5 : numgen inc mod 2 map { 0 : 5000, 1 : 5001 }"),
    ),
    _nft("fib", "what is meant for the router itself", "nft_fib_inet", _forward("fib daddr type local")),
    _nft("quota", "data allowances", "nft_quota", _forward("quota over 1 mbytes")),
    _nft("limit", "rates of new mappings", "nft_limit", _forward("limit rate 9/second")),
    _nft("ct count", "mappings per subscriber", "nft_connlimit", _SET + _forward("add @s { ip saddr ct count 9 }")),
    _nft("meter", "rates per subscriber", "nft_limit", _SET + _forward("update @s { ip saddr limit rate 9/second }")),
    _nft("queue", "packets judged by a program", "nft_queue", _forward("queue num 0")),
    Probe(
        "tracing",
        "a packet's path through the rules",
        _event(_TRACE, _TRACED),
        nft_cure("nf_tables"),
        False,
        "nf_tables",
    ),
)


CONNECTION_TRACKING = (
    Probe("timers", "lifetimes of NAT mappings", _timers, _timers_cure, after="ct state"),
    Probe(
        "events",
        "mappings as they come and go",
        _event(_NEW, _TRACKED),
        module("nf_conntrack_netlink", "NF_CT_NETLINK"),
        after="ct state",
    ),
)
