"""What routers made of packets' addresses, by what their connection tracking says: for the comments of a capture.

Connection tracking announces a connection before its first packet leaves (nf_conntrack_confirm), with both sides of its
translation, so a packet that leaves a router can be told apart by its addresses and ports alone.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from wanlab.capture.headers import Endpoint
from wanlab.kernel.messages import ACK, ADD_MEMBERSHIP, DUMP, NETFILTER, REQUEST, SOL_NETLINK, attributes, messages
from wanlab.topology.network import Kind, Network

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

CT_NEW, _CT_GET = 1 << 8, 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK: IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET
_NEW_GROUP = 1  # NFNLGRP_CONNTRACK_NEW
_ORIGINAL, _REPLY = 1, 2  # CTA_TUPLE_*
_IP, _PROTOCOL = 1, 2  # CTA_TUPLE_*
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_*
_ICMP_IDS = (4, 7)  # CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID
_FAMILY_HEADER = 4  # struct nfgenmsg
_BUFFER_BYTES = 4 << 20
_ICMP, _ICMP6 = 1, 58
_ECHOES = {_ICMP: (0, 8), _ICMP6: (128, 129)}
_MOST = 300_000  # two for each connection; then the oldest are forgotten

Tuple = tuple[int, Endpoint, Endpoint]
"""A direction of a connection: the protocol's number, from where, to where; of ICMP the ports are its identifier."""


class Translations:
    """Knows how packets look that a router has translated; does no I/O."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], str] = {}

    def learn(self, node: str, data: bytes) -> None:
        """What *node*'s connection tracking said: one or more netlink messages."""
        for kind, _, body in messages(data):
            if kind == CT_NEW:
                original, reply = connection(body)
                there, back = _reversed(reply), _reversed(original)
                self._note(node, original, there, "translated")
                self._note(node, reply, back, "translated back")
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def _note(self, node: str, before: Tuple, after: Tuple, verb: str) -> None:
        if before[0] in _ECHOES:
            changes = _echo_changes(before, after)
        else:
            pairs = zip(before[1:], after[1:], strict=True)
            changes = [f"{old} -> {new}" for old, new in pairs if old != new]
        if changes:
            self._known[node, _key_of(after)] = f"{node} {verb} {', '.join(changes)}"
        else:  # the tuple may have been another connection's before
            self._known.pop((node, _key_of(after)), None)

    def comment(self, node: str, frame: bytes) -> str | None:
        """What *node* has changed in a frame that leaves it; None: nothing that is known."""
        key = _key(frame)
        return None if key is None else self._known.get((node, key))


class Pupil(Protocol):
    """What learns of connections."""

    def learn(self, node: str, data: bytes) -> None:
        """What *node*'s connection tracking said."""


class TrackingFeed:
    """What the routers of a lab that translate say, as it comes."""

    def __init__(self, lab: Lab, nodes: Sequence[str], *pupils: Pupil) -> None:
        self._pupils = pupils
        self.nodes = [name for name in nodes if translates(lab.network, name)]
        opened = lab.sockets(self.nodes, socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self._sockets = list(zip(self.nodes, opened, strict=True))
        for _, one in self._sockets:
            one.bind((0, 0))
            one.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, _NEW_GROUP)
            with suppress(PermissionError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            header = struct.pack("=IHHII", 20, _CT_GET, REQUEST | ACK | DUMP, 1, 0)
            one.send(header + struct.pack("!BBH", socket.AF_UNSPEC, 0, 0))  # what there is already
            one.setblocking(False)

    def read(self) -> None:
        """Learn what waits."""
        for node, one in self._sockets:
            with suppress(OSError):  # EAGAIN; ENOBUFS: a comment is missing then
                while True:
                    data = one.recv(1 << 17)
                    for pupil in self._pupils:
                        pupil.learn(node, data)

    def close(self) -> None:
        """Listen no more."""
        for _, one in self._sockets:
            one.close()


def translates(network: Network, node: str) -> bool:
    """Whether a node is a router that changes addresses."""
    found = network[node]
    return found.kind is Kind.ROUTER and (found.translates(4) or found.translates(6))


def connection(body: bytes) -> tuple[Tuple, Tuple]:
    """The original direction of a connection and the other one, of a message of ctnetlink's."""
    found = attributes(body[_FAMILY_HEADER:])
    return _tuple(found[_ORIGINAL]), _tuple(found[_REPLY])


def _tuple(data: bytes) -> Tuple:
    parts = attributes(data)
    addresses, protocol = attributes(parts[_IP]), attributes(parts[_PROTOCOL])
    source, destination = (addresses[1], addresses[2]) if 1 in addresses else (addresses[3], addresses[4])
    number = protocol[_NUMBER][0]
    ports: list[int | None] = [None, None]
    if _SOURCE_PORT in protocol:
        ports = [int.from_bytes(protocol[kind], "big") for kind in (_SOURCE_PORT, _DESTINATION_PORT)]
    for kind in _ICMP_IDS:
        if kind in protocol:
            ports = [int.from_bytes(protocol[kind], "big")] * 2
    return number, Endpoint.of(source, ports[0]), Endpoint.of(destination, ports[1])


def _echo_changes(before: Tuple, after: Tuple) -> list[str]:
    """Both ends have the identifier, of which it is enough to speak once."""
    changed = [(old, new) for old, new in zip(before[1:], after[1:], strict=True) if old.address != new.address]
    words = [f"{old.address} id {old.port} -> {new.address} id {new.port}" for old, new in changed]
    if not words and before[1].port != after[1].port:
        words = [f"id {before[1].port} -> id {after[1].port}"]
    return words


def _reversed(one: Tuple) -> Tuple:
    number, source, destination = one
    return number, destination, source


def _key_of(one: Tuple) -> bytes:
    number, source, destination = one
    ports = [(end.port or 0).to_bytes(2, "big") for end in (source, destination)]
    return b"".join((bytes([number]), source.address.packed, destination.address.packed, *ports))


def _key(frame: bytes) -> bytes | None:
    """The same of a frame; None for one that has no such thing."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        number, at, addresses = frame[23:24], 14 + 4 * (frame[14] & 15), frame[26:34]
    elif kind == b"\x86\xdd":
        number, at, addresses = frame[20:21], 54, frame[22:54]
    else:
        return None
    if number in (b"\x11", b"\x06"):
        return number + addresses + frame[at : at + 4]
    if number and number[0] in _ECHOES:
        if len(frame) < at + 6 or frame[at] not in _ECHOES[number[0]]:
            return None
        return number + addresses + 2 * frame[at + 4 : at + 6]
    return number + addresses + b"\0\0\0\0"
