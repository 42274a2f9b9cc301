"""Subnets for segments that were given none, and the search for subnets that overlap."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from wanlab.errors import TopologyError
from wanlab.topology.network import IPNetwork

# Real software (miniupnpd, WebRTC stacks) treats TEST-NET and private addresses as "not the internet", so a WAN that
# is to pass for the internet has addresses that `ipaddress` calls global.
_PUBLIC = (5, range(5, 255))
_PRIVATE = (10, range(1, 255))  # RFC 1918's 10/8, from 10.1.0.0/24 on as in the article

_PREFIXES = IPv6Network("2a00:5::/32")  # each of its /48s: global addresses, which software counts as the internet's

T = TypeVar("T")


class SubnetPool:
    """Hands out subnets that overlap neither each other nor those in use."""

    def __init__(self, used: Iterable[IPNetwork]) -> None:
        used = list(used)
        self._ranges = {version: _joined(subnet for subnet in used if subnet.version == version) for version in (4, 6)}
        """What is in use, in order and apart from one another."""
        self._candidates: dict[tuple[bool, int], Iterator[IPv4Network]] = {}

    def take(self, public: bool, interfaces: int) -> IPv4Network:
        """The next free subnet with room for so many interfaces: a /24 unless that is too small."""
        prefix = min(24, 32 - (interfaces + 1).bit_length())  # two addresses are the network's and everybody's
        if prefix < 16:
            raise TopologyError(f"{interfaces} interfaces on one segment", hint="split it by routers")
        candidates = self._candidates.setdefault((public, prefix), _candidates(public, prefix))
        for subnet in candidates:
            if self.take_this(subnet):
                return subnet
        raise TopologyError("no subnets are left to choose from", hint="give the segments subnets of your own")

    def take_prefix(self, length: int) -> IPv6Network:
        """The next free IPv6 prefix of that length to be known by outside."""
        if length < _PREFIXES.prefixlen + 16:
            raise TopologyError(f"no prefix as short as /{length} is there to choose", hint="give it an ipv6_prefix")
        for number in range(1, 1 << 16):
            first = int(_PREFIXES.network_address) | number << (128 - _PREFIXES.prefixlen - 16)
            prefix = IPv6Network((first, length))
            if self.take_this(prefix):
                return prefix
        raise TopologyError("no IPv6 prefixes are left to choose from", hint="give it an ipv6_prefix")

    def take_this(self, subnet: IPNetwork) -> bool:
        """Whether this one was free; now it is not."""
        first, last = _span(subnet)
        ranges = self._ranges[subnet.version]
        place = bisect.bisect_right(ranges, (last, 1 << 128))
        if any(end >= first for _, end in ranges[max(0, place - 1) : place]):
            return False
        bisect.insort(ranges, (first, last))
        return True


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


def _joined(subnets: Iterable[IPNetwork]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for first, last in sorted(map(_span, subnets)):
        if ranges and first <= ranges[-1][1]:
            ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
        else:
            ranges.append((first, last))
    return ranges


def _candidates(public: bool, prefix: int) -> Iterator[IPv4Network]:
    first, seconds = _PUBLIC if public else _PRIVATE
    blocks = max(1, 1 << (24 - prefix))  # how many /24s one takes
    for third in range(0, 256, blocks):
        for second in seconds:
            yield IPv4Network(f"{first}.{second}.{third}.0/{prefix}")


def _span(subnet: IPNetwork) -> tuple[int, int]:
    subnet = ip_network(subnet)
    return int(subnet.network_address), int(subnet.broadcast_address)
