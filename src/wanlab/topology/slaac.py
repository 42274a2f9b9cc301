"""Which hosts make their IPv6 addresses by router advertisements (RFC 4861, RFC 4862)."""

from __future__ import annotations

from wanlab.errors import TopologyError
from wanlab.topology.macs import EUI64_PREFIX
from wanlab.topology.network import Kind
from wanlab.topology.topology import Router
from wanlab.topology.wiring import DraftSegment, Member, Wiring


def advertisers(wiring: Wiring) -> dict[str, Member]:
    """For each segment with router advertisements the interface that sends them. Raises TopologyError."""
    found: dict[str, Member] = {}
    for router in wiring.topology.nodes.values():
        if not isinstance(router, Router) or not router.slaac:
            continue
        inside = [(m, s) for m, s in wiring.members[router.name] if m.gateway and _speaks(s)]
        if not inside:
            raise TopologyError(
                f"router {router.name!r}: slaac, and it has no IPv6 inside",
                where=router.source,
                hint="give its lan an IPv6 subnet",
            )
        for member, segment in inside:
            _check(router, segment, found.get(segment.name))
            found[segment.name] = member
    return found


def makes_its_own(member: Member) -> bool:
    """Whether that host, on a segment with advertisements, has its address by them."""
    return member.node.kind is Kind.HOST and not any(address.version == 6 for address in member.wanted)


def _check(router: Router, segment: DraftSegment, other: Member | None) -> None:
    if other is not None:
        raise TopologyError(
            f"router {router.name!r}: {segment.label} has the router advertisements of {other.node.name!r} already",
            where=router.source,
            hint="let one of them have slaac",
        )
    for subnet in segment.subnets:
        if subnet.version == 6 and subnet.prefixlen != EUI64_PREFIX:
            raise TopologyError(
                f"router {router.name!r}: slaac needs a /{EUI64_PREFIX}, and {segment.label} has {subnet}",
                where=router.source,
                hint=f"give it a /{EUI64_PREFIX}, or leave slaac out",
            )


def _speaks(segment: DraftSegment) -> bool:
    return any(subnet.version == 6 for subnet in segment.subnets)
