"""nftables' own trace of packets: a table that asks for it, and what the kernel says (nfnetlink, NFNLGRP_NFTRACE).

The table is *owned* (NFT_TABLE_F_OWNER, Linux 5.12): it goes with the socket that made it, however its process ends, so
nothing is left in a ruleset. Numbers: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h, netfilter.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from wanlab.errors import KernelError, MachineError
from wanlab.kernel.messages import ACK, ADD_MEMBERSHIP, ERROR, REQUEST, SOL_NETLINK, attributes, messages
from wanlab.kernel.netlink import attribute

TABLE = "wl_trace"
LEAVES = "leaves"
"""In place of a verdict: no rule has anything against it any more, and it is about to be sent."""

_NFTABLES = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE, _TRACE = _NFTABLES, _NFTABLES | 3, _NFTABLES | 6, _NFTABLES | 17
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_TRACE_GROUP = 9  # NFNLGRP_NFTRACE
_CREATE, _APPEND = 0x400, 0x800
_INET = 1  # NFPROTO_INET
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}
_OWNER = 2  # NFT_TABLE_F_OWNER
_PREROUTING, _OUTPUT, _POSTROUTING = 0, 3, 4  # NF_INET_*
_BEFORE_ALL = -301  # one before raw
_AFTER_ALL = 301  # after what translates sources
_LAST = "post"
_REGISTER, _META_NFTRACE = 8, 12  # NFT_REG32_00, NFT_META_NFTRACE
_NESTED = 0x8000
_SO_MEMINFO, _DROPS = 55, 8  # SK_MEMINFO_DROPS
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 16 << 20
_MOST_TOLD = 10_000

# NFTA_TRACE_*
_A_TABLE, _A_CHAIN, _A_HANDLE, _A_TYPE, _A_VERDICT, _A_ID = 1, 2, 3, 4, 5, 6
_A_NETWORK, _A_TRANSPORT, _A_IIF, _A_OIF, _A_POLICY = 8, 9, 10, 12, 16
_POLICY, _RULE = 1, 3  # enum nft_trace_types
_DROP, _ACCEPT = 0, 1  # NF_DROP, NF_ACCEPT
_VERDICTS = {_DROP: "drop", _ACCEPT: "accept", 3: "queue"}

# Classic BPF on what a socket gets, which is what makes it bearable: of a packet's ten messages one or two are of use.
_LOAD, _LOAD_AT_X, _EQUAL, _AT_LEAST, _A_TO_X, _RET, _X_IS, _A_IS = 0x20, 0x40, 0x15, 0x35, 0x07, 0x06, 0x01, 0x00
_FIND = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR: where behind A is the attribute of kind X? 0: there is none
_FIRST = 20  # struct nlmsghdr, struct nfgenmsg
_OURS = int.from_bytes(TABLE[:4].encode(), "big")
_OUR_LAST = int.from_bytes(_LAST.encode(), "big")
_BELOW_ZERO = 0x80000000  # verdicts that decide nothing: jump, continue


def _attribute_to_x(kind: int) -> tuple[tuple[int, int, int, int], ...]:
    return (_A_IS, 0, 0, _FIRST), (_X_IS, 0, 0, kind), (_LOAD, 0, 0, _FIND), (_A_TO_X, 0, 0, 0)


_VALUE = 4  # where in an attribute its value begins; in a nested one, 8
USEFUL = (
    # our own: the last chain's rule, which tells what leaves
    *_attribute_to_x(_A_TABLE), (_LOAD_AT_X, 0, 0, _VALUE), (_EQUAL, 0, 14, _OURS),
    *_attribute_to_x(_A_CHAIN), (_LOAD_AT_X, 0, 0, _VALUE), (_EQUAL, 0, 7, _OUR_LAST),
    *_attribute_to_x(_A_TYPE), (_LOAD_AT_X, 0, 0, _VALUE), (_EQUAL, 0, 1, _RULE),
    (_RET, 0, 0, 0xFFFF), (_RET, 0, 0, 0),
    *_attribute_to_x(_A_TYPE), (_LOAD_AT_X, 0, 0, _VALUE), (_EQUAL, 17, 0, _POLICY), (_EQUAL, 0, 14, _RULE),
    # a rule, and not the end of a chain: the first of a chain tells of the packet, the last one decides
    (_A_IS, 0, 0, _FIRST), (_X_IS, 0, 0, _A_HANDLE), (_LOAD, 0, 0, _FIND), (_EQUAL, 10, 0, 0),
    (_A_IS, 0, 0, _FIRST), (_X_IS, 0, 0, _A_NETWORK), (_LOAD, 0, 0, _FIND), (_EQUAL, 0, 7, 0),
    *_attribute_to_x(_A_VERDICT), (_LOAD_AT_X, 0, 0, 8), (_AT_LEAST, 0, 1, _BELOW_ZERO),
    (_RET, 0, 0, 0), (_RET, 0, 0, 0xFFFF),
    # a policy: where it drops
    *_attribute_to_x(_A_POLICY), (_LOAD_AT_X, 0, 0, _VALUE), (_EQUAL, 0, 1, _DROP),
    (_RET, 0, 0, 0xFFFF), (_RET, 0, 0, 0),
)  # fmt: skip
"""A program for `capture/bpf.py`: verdicts of rules, what begins a chain's trace, policies that drop, what leaves."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What the kernel said of a packet at one rule, or at the end of a chain."""

    trace: int
    """Which packet: another one may have the same number later."""
    table: str
    """`inet wanlab`."""
    chain: str
    handle: int | None
    """None: the chain's policy."""
    verdict: str
    network: bytes
    """The first bytes of the packet, from its IP header on."""
    transport: bytes
    """The first 20 of what it carries."""
    came_in: int | None
    """Index of the interface; None: it was sent here."""
    goes_out: int | None = None
    """Index of the interface by which it is about to leave; told with `LEAVES`."""


def listen(one: socket.socket) -> None:
    """Have a netfilter socket of a node hear its traces; `USEFUL` is to be attached first. Raises OSError."""
    one.bind((0, 0))  # the kernel's own messages reach no socket without an address
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            one.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            break
        except PermissionError:
            continue
    one.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, _TRACE_GROUP)
    one.setblocking(False)


def lost(one: socket.socket) -> int:
    """How many messages such a socket had no room for."""
    data = one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
    return int(struct.unpack_from("=9I", data)[_DROPS]) if len(data) >= 36 else 0


def begin(one: socket.socket, node: str, *, leaving: bool = False) -> None:
    """Have the kernel trace every packet of the node that a netfilter socket lives in, until that is closed.

    *leaving*: have it also tell of each packet that it is about to leave. Raises KernelError, MachineError where the
    kernel has no owned tables.
    """
    one.bind((0, 0))
    parts = [
        _message(_NEW_TABLE, _CREATE, 1, _text(1, TABLE) + attribute(2, struct.pack("!I", _OWNER))),
    ]
    chains = [("pre", _PREROUTING, _BEFORE_ALL), ("out", _OUTPUT, _BEFORE_ALL)]
    chains += [(_LAST, _POSTROUTING, _AFTER_ALL)] if leaving else []
    for number, (chain, hook, priority) in enumerate(chains):
        at = attribute(1, struct.pack("!I", hook)) + attribute(2, struct.pack("!i", priority))
        body = _text(1, TABLE) + _text(3, chain) + attribute(4 | _NESTED, at) + _text(7, "filter")
        parts.append(_message(_NEW_CHAIN, _CREATE, 2 + 2 * number, body))
        rule = _text(1, TABLE) + _text(2, chain) + attribute(4 | _NESTED, _set_nftrace())
        parts.append(_message(_NEW_RULE, _CREATE | _APPEND, 3 + 2 * number, rule))
    begin, end = (
        struct.pack("=IHHII", 20, kind, REQUEST, 0, 0) + struct.pack("!BBH", 0, 0, 10)
        for kind in (_BATCH_BEGIN, _BATCH_END)
    )
    one.settimeout(5)
    one.send(begin + b"".join(parts) + end)
    left = len(parts)
    while left:
        for kind, _, body in messages(one.recv(1 << 16)):
            if kind == ERROR:
                left -= 1
                number = -struct.unpack_from("=i", body)[0]
                if number == errno.EOPNOTSUPP:
                    raise MachineError("this kernel has no owned tables", hint="tracing needs Linux 5.12 or newer")
                if number == errno.EPERM:  # the table is there, and another socket's
                    raise KernelError(
                        f"node {node!r} is being traced already", errno=number, hint="end the other trace first"
                    )
                if number:
                    raise KernelError(f"tracing in node {node!r}: {os.strerror(number)}", errno=number)


class Reader:
    """Makes sense of the messages of one node: what a packet is, is told once for each chain that it goes through."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[bytes, bytes, int | None]] = {}
        """By trace: what was told last."""

    def read(self, data: bytes) -> Traced | None:
        """The verdict that a message tells; None where it tells none."""
        kind, family = struct.unpack_from("=4xH10xB", data)
        if kind != _TRACE:
            return None
        parts = attributes(data[_FIRST:])
        trace = int.from_bytes(parts[_A_ID], "big")
        if _A_NETWORK in parts:
            came_in = int.from_bytes(parts[_A_IIF], "big") if _A_IIF in parts else None
            if len(self._told) > _MOST_TOLD:
                self._told.clear()
            self._told[trace] = parts[_A_NETWORK], parts.get(_A_TRANSPORT, b""), came_in
        told = self._told.get(trace)
        if told is None:
            return None
        if parts[_A_TYPE][3] == _POLICY:
            verdict = int.from_bytes(parts[_A_POLICY], "big")
        else:
            (verdict,) = struct.unpack_from("!i", parts[_A_VERDICT], 4)
        handle = int.from_bytes(parts[_A_HANDLE], "big") if _A_HANDLE in parts else None
        table = f"{_FAMILIES.get(family, '?')} {_name(parts[_A_TABLE])}"
        if _name(parts[_A_TABLE]) == TABLE:
            goes_out = int.from_bytes(parts[_A_OIF], "big") if _A_OIF in parts else None
            return Traced(trace, table, _name(parts[_A_CHAIN]), handle, LEAVES, *told, goes_out)
        if verdict < 0:
            return None
        word = _VERDICTS.get(verdict & 0xFF, str(verdict))
        return Traced(trace, table, _name(parts[_A_CHAIN]), handle, word, *told)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    header = struct.pack("=IHHII", 20 + len(body), kind, REQUEST | ACK | flags, sequence, 0)
    return header + struct.pack("!BBH", _INET, 0, 0) + body


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _set_nftrace() -> bytes:
    """`meta nftrace set 1`: load a register, write it."""
    one = attribute(1, struct.pack("!I", _REGISTER)) + attribute(2 | _NESTED, attribute(1, b"\x01"))
    load = _text(1, "immediate") + attribute(2 | _NESTED, one)
    write = _text(1, "meta") + attribute(
        2 | _NESTED, attribute(2, struct.pack("!I", _META_NFTRACE)) + attribute(3, struct.pack("!I", _REGISTER))
    )
    return attribute(1 | _NESTED, load) + attribute(1 | _NESTED, write)
