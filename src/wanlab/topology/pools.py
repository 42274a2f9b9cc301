"""Subnets for segments that were given none, and the search for subnets that overlap."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, ip_network
from typing import TypeVar

from wanlab.errors import TopologyError
from wanlab.topology.network import IPNetwork

# Real software (miniupnpd, WebRTC stacks) treats TEST-NET and private addresses as "not the internet", so a WAN that
# is to pass for the internet has addresses that `ipaddress` calls global.
_PUBLIC = (5, range(5, 255))
_PRIVATE = (10, range(1, 255))  # RFC 1918's 10/8, from 10.1.0.0/24 on as in the article

T = TypeVar("T")


class SubnetPool:
    """Hands out subnets that overlap neither each other nor those in use."""

    def __init__(self, used: Iterable[IPNetwork]) -> None:
        self._ranges: list[tuple[int, int]] = []
        """What is in use, in order and apart from one another."""
        for first, last in sorted(_span(subnet) for subnet in used if subnet.version == 4):
            if self._ranges and first <= self._ranges[-1][1]:
                self._ranges[-1] = self._ranges[-1][0], max(last, self._ranges[-1][1])
            else:
                self._ranges.append((first, last))
        self._candidates: dict[tuple[bool, int], Iterator[IPv4Network]] = {}

    def take(self, public: bool, interfaces: int) -> IPv4Network:
        """The next free subnet with room for so many interfaces: a /24 unless that is too small."""
        prefix = min(24, 32 - (interfaces + 1).bit_length())  # two addresses are the network's and everybody's
        if prefix < 16:
            raise TopologyError(f"{interfaces} interfaces on one segment", hint="split it by routers")
        candidates = self._candidates.setdefault((public, prefix), _candidates(public, prefix))
        for subnet in candidates:
            if self._free(*_span(subnet)):
                bisect.insort(self._ranges, _span(subnet))
                return subnet
        raise TopologyError("no subnets are left to choose from", hint="give the segments subnets of your own")

    def _free(self, first: int, last: int) -> bool:
        place = bisect.bisect_right(self._ranges, (last, 1 << 32))
        return all(end < first for _, end in self._ranges[max(0, place - 1) : place])


def first_overlap(placed: Sequence[tuple[IPNetwork, T]]) -> tuple[tuple[IPNetwork, T], tuple[IPNetwork, T]] | None:
    """Two entries whose subnets overlap, or None."""
    for version in (4, 6):
        widest: tuple[IPNetwork, T] | None = None
        entries = [entry for entry in placed if entry[0].version == version]
        for entry in sorted(entries, key=lambda entry: _span(entry[0])):
            if widest is not None and _span(entry[0])[0] <= _span(widest[0])[1]:
                return entry, widest
            widest = entry
    return None


def _candidates(public: bool, prefix: int) -> Iterator[IPv4Network]:
    first, seconds = _PUBLIC if public else _PRIVATE
    blocks = max(1, 1 << (24 - prefix))  # how many /24s one takes
    for third in range(0, 256, blocks):
        for second in seconds:
            yield IPv4Network(f"{first}.{second}.{third}.0/{prefix}")


def _span(subnet: IPNetwork) -> tuple[int, int]:
    subnet = ip_network(subnet)
    return int(subnet.network_address), int(subnet.broadcast_address)
