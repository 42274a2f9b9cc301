"""Prefix translation (RFC 6296): which prefix stands for each subnet inside a router, outside of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Network

from wanlab.errors import TopologyError
from wanlab.topology.ipv6 import Ipv6, PrefixPair
from wanlab.topology.nat import Filtering
from wanlab.topology.network import IPNetwork
from wanlab.topology.numbering import places_of, pool_of
from wanlab.topology.realms import realms
from wanlab.topology.topology import Router
from wanlab.topology.wiring import DraftSegment, Wiring


def prefixes_of(wiring: Wiring) -> dict[str, tuple[PrefixPair, ...]]:
    """For each router that translates prefixes what it puts for what.

    Raises TopologyError for a router with nothing to translate, or nothing to guard as it is told to.
    """
    choice = _Choice(wiring)
    choice.refuse_overlaps()
    for router in choice.routers.values():
        choice.check(router)
    return {name: choice.pairs(router) for name, router in choice.routers.items() if _translates(router)}


def _translates(router: Router) -> bool:
    return router.ipv6 is Ipv6.PREFIX_TRANSLATION


class _Choice:
    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.routers = {n.name: n for n in wiring.topology.nodes.values() if isinstance(n, Router)}
        self.realm_of = realms(places_of(wiring, 6))
        self.pool = pool_of(wiring)
        self.known: dict[str, tuple[PrefixPair, ...]] = {}
        self.kept = dict(self._kept())

    def _kept(self) -> Iterator[tuple[tuple[str, IPv6Network], IPv6Network]]:
        """What was chosen before for a router's subnets inside, where nobody was given it meanwhile."""
        for name, pairs in self.wiring.topology.kept.prefixes.items():
            router = self.routers.get(name)
            if router is not None and _translates(router) and router.ipv6_prefix is None:
                for pair in pairs:
                    if self.pool.take_this(pair.outside):
                        yield (name, pair.inside), pair.outside

    def refuse_overlaps(self) -> None:
        """A given prefix is known outside: it must be nobody else's."""
        placed = [(net, f"{s.label} ({net})") for s in self.wiring.segments.values() for net in s.subnets]
        for router in self.routers.values():
            if router.ipv6_prefix is not None:
                clash = next((label for net, label in placed if _overlap(net, router.ipv6_prefix)), None)
                if clash is not None:
                    raise TopologyError(
                        f"router {router.name!r}: ipv6_prefix {router.ipv6_prefix} overlaps {clash}",
                        where=router.source,
                        hint="give it another one, or none to have one chosen",
                    )
                placed.append((router.ipv6_prefix, f"that of router {router.name!r}"))

    def check(self, router: Router) -> None:
        uplink = self._uplink(router)
        outside, inside = uplink is not None and _speaks(uplink), any(map(_speaks, self._inside(router)))
        if router.ipv6 is not Ipv6.ROUTE and not (outside and inside):
            lacking = "inside" if outside else "at its uplink"
            raise TopologyError(
                f"router {router.name!r}: ipv6 {router.ipv6.value!r}, and it has no IPv6 {lacking}",
                where=router.source,
                hint="give its lan an IPv6 subnet" if outside and uplink else "give what it is plugged into one",
            )
        routed = router.nat is None or (outside and inside and router.ipv6 is not Ipv6.MASQUERADE)
        if isinstance(router.filtering, Filtering) and not routed:
            raise TopologyError(
                f"router {router.name!r}: firewall {router.filtering.value!r} is about what is not hidden by a NAT, "
                "and all is",
                where=router.source,
                hint='say filtering in its nat, or say nat = "none"',
            )

    def pairs(self, router: Router) -> tuple[PrefixPair, ...]:
        known = self.known.get(router.name)
        if known is None:
            inside = list(self._subnets_inside(router))
            outside = _carve(router, inside) if router.ipv6_prefix else [self._take(router, net) for net in inside]
            known = tuple(map(PrefixPair, inside, outside))
            self.known[router.name] = known
        return known

    def _subnets_inside(self, router: Router) -> Iterator[IPv6Network]:
        """What comes to the router from inside has sources of these."""
        uplink = self._uplink(router)
        assert uplink is not None
        realm = self.realm_of[self._inside(router)[0].name]
        if self.realm_of[uplink.name] == realm:
            raise TopologyError(
                f"router {router.name!r}: its inside and its uplink are joined by another router, without translation",
                where=router.source,
                hint="let the other translate as well, or take its link away",
            )
        for segment in self.wiring.segments.values():
            if self.realm_of.get(segment.name) == realm:
                yield from (subnet for subnet in segment.subnets if isinstance(subnet, IPv6Network))
        for inner in self.routers.values():
            place = self._uplink(inner)
            if _translates(inner) and place is not None and self.realm_of[place.name] == realm:
                yield from (pair.outside for pair in self.pairs(inner))

    def _take(self, router: Router, inside: IPv6Network) -> IPv6Network:
        kept = self.kept.get((router.name, inside))
        if kept is not None:
            return kept
        try:
            return self.pool.take_prefix(inside.prefixlen)
        except TopologyError as error:
            raise TopologyError(f"router {router.name!r}: {error.what}", where=router.source, hint=error.hint) from None

    def _uplink(self, router: Router) -> DraftSegment | None:
        return next((s for member, s in self.wiring.members[router.name] if member.uplink is not None), None)

    def _inside(self, router: Router) -> list[DraftSegment]:
        return [s for member, s in self.wiring.members[router.name] if member.uplink is None]


def _carve(router: Router, inside: Sequence[IPv6Network]) -> list[IPv6Network]:
    """The parts of the given prefix that stand for the subnets inside, one after the other."""
    whole = router.ipv6_prefix
    assert whole is not None
    parts, end = [], int(whole.network_address)
    for subnet in inside:
        begin = -(-end // subnet.num_addresses) * subnet.num_addresses
        end = begin + subnet.num_addresses
        parts.append(IPv6Network((begin, subnet.prefixlen)))
    if end > int(whole.broadcast_address) + 1:
        raise TopologyError(
            f"router {router.name!r}: ipv6_prefix {whole} has no room for {', '.join(map(str, inside))}",
            where=router.source,
            hint="give it a shorter one",
        )
    return parts


def _overlap(one: IPNetwork, other: IPv6Network) -> bool:
    return isinstance(one, IPv6Network) and one.overlaps(other)


def _speaks(segment: DraftSegment) -> bool:
    return any(subnet.version == 6 for subnet in segment.subnets)
