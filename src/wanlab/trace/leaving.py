"""Packets that are about to leave their senders, by the kernel's trace: those that are not seen to leave are missed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from wanlab.capture.decode import Ip
from wanlab.topology.network import Network
from wanlab.trace.events import Key, verdict_key


@dataclass(frozen=True, slots=True, eq=False)
class Leaver:
    """A packet that no rule has anything against."""

    node: str
    interface: str
    time_ns: int
    frame: bytes
    """As far as the kernel tells of it."""
    ip: Ip


class Leaving:
    """All that are about to leave; does no I/O."""

    def __init__(self, network: Network) -> None:
        self._mtus = {(each.node, each.name): each.mtu for node in network for each in node.interfaces}
        self._broadcasts = {
            address.network.broadcast_address
            for node in network
            for each in node.interfaces
            for address in each.addresses
            if address.version == 4 and address.network.prefixlen < 31
        } | {IPv4Address("255.255.255.255")}
        self._waiting: dict[tuple[str, bytes, Key], deque[Leaver]] = {}

    def note(self, leaver: Leaver) -> None:
        """One more. Not waited for are fragments, what leaves by an interface that is not of the topology, and
        broadcasts, of which the kernel tells twice: it gives itself a copy (ip_mc_output in net/ipv4/ip_output.c)."""
        mtu = self._mtus.get((leaver.node, leaver.interface))
        destination = ip_address(leaver.ip.destination)
        shared = destination.is_multicast or destination in self._broadcasts
        if mtu is not None and leaver.ip.length <= mtu and not shared:
            self._waiting.setdefault((leaver.node, *verdict_key(leaver.frame, leaver.ip)), deque()).append(leaver)

    def seen(self, node: str, frame: bytes, ip: Ip) -> None:
        """That one is seen to leave."""
        key = node, *verdict_key(frame, ip)
        queue = self._waiting.get(key)
        if queue:
            queue.popleft()
            if not queue:
                del self._waiting[key]

    def missed(self, old_ns: int | None) -> Iterator[Leaver]:
        """Those that should have been seen by *old_ns*; with None all that are left. They are forgotten."""
        for key, queue in list(self._waiting.items()):
            while queue and (old_ns is None or queue[0].time_ns <= old_ns):
                yield queue.popleft()
            if not queue:
                del self._waiting[key]
            else:
                return  # those behind it are newer, about
