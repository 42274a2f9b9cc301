"""Subnets and addresses: what was given as given, the rest from pools. The second half of resolving a topology."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv6Network, ip_interface, ip_network

from wanlab.errors import Source, TopologyError
from wanlab.topology.kept import Kept
from wanlab.topology.macs import eui64, mac_of
from wanlab.topology.network import IPAddress, IPInterface, IPNetwork, Kind
from wanlab.topology.parse import Address
from wanlab.topology.pools import SubnetPool, first_overlap
from wanlab.topology.realms import Place, views
from wanlab.topology.slaac import advertisers, makes_its_own
from wanlab.topology.topology import Router
from wanlab.topology.wiring import DraftSegment, Member, Wiring

MIN_MTU_IPV6 = 1280  # RFC 8200, section 5; below it Linux takes IPv6 off an interface
_NOWHERE = Source("")


def number(wiring: Wiring) -> None:
    """Give every segment its subnets and every member its addresses. Raises TopologyError."""
    segments = wiring.segments.values()
    kept = wiring.topology.kept
    for segment in segments:
        _adopt_prefixes(segment)
        _refuse_lone_addresses(segment)
        _refuse_small_mtus(segment)
    _keep_subnets(segments, kept)
    _refuse_overlaps(wiring)
    for name, advertiser in advertisers(wiring).items():
        advertiser.advertises = True
        for member in wiring.segments[name].members:
            member.slaac = makes_its_own(member)
    pool = pool_of(wiring)
    for segment in segments:
        if not segment.subnets:
            try:
                segment.subnets.append(pool.take(segment.public, len(segment.members)))
            except TopologyError as error:
                raise TopologyError(f"{segment.label}: {error.what}", where=segment.source, hint=error.hint) from None
        segment.subnets.sort(key=lambda subnet: subnet.version)
        for subnet in segment.subnets:
            _give_addresses(segment, subnet, kept)


def _keep_subnets(segments: Collection[DraftSegment], kept: Kept) -> None:
    """What was chosen before is chosen again, where nobody was given it meanwhile."""
    given = [subnet for segment in segments for subnet in segment.subnets]
    for segment in segments:
        chosen = kept.subnets.get(segment.name, ())
        if not segment.subnets and not any(mine.overlaps(other) for mine in chosen for other in given):
            segment.subnets += chosen


def pool_of(wiring: Wiring) -> SubnetPool:
    """What there is to choose from besides what is in use."""
    given = [node.ipv6_prefix for node in wiring.topology.nodes.values() if isinstance(node, Router)]
    subnets = [subnet for segment in wiring.segments.values() for subnet in segment.subnets]
    return SubnetPool([*subnets, *(prefix for prefix in given if prefix is not None)])


def _adopt_prefixes(segment: DraftSegment) -> None:
    """A segment without a subnet takes that of the addresses which were given with a prefix length."""
    for member in segment.members:
        for address in member.wanted:
            subnet = getattr(address, "network", None)
            if subnet is not None and all(subnet.version != known.version for known in segment.subnets):
                segment.subnets.append(subnet)


def _refuse_lone_addresses(segment: DraftSegment) -> None:
    """An address without a prefix length needs a subnet of its family, and no chosen one is likely to hold it."""
    for member in segment.members:
        for address in member.wanted:
            if all(address.version != subnet.version for subnet in segment.subnets):
                raise TopologyError(
                    f"{member.node.kind.value} {member.node.name!r}: {segment.label} has no "
                    f"IPv{address.version} subnet that {address} could be in",
                    where=member.source,
                    hint=f"say which one, or write {address}/{24 if address.version == 4 else 64}",
                )


def _refuse_small_mtus(segment: DraftSegment) -> None:
    if all(subnet.version == 4 for subnet in segment.subnets):
        return
    for member in segment.members:
        if min(member.mtu or segment.mtu, segment.mtu) < MIN_MTU_IPV6:
            raise TopologyError(
                f"{member.node.kind.value} {member.node.name!r}: IPv6 needs an mtu of {MIN_MTU_IPV6} or more",
                where=member.source,
                hint=f"give {segment.label} a larger mtu, or no IPv6 subnet",
            )


def _refuse_overlaps(wiring: Wiring) -> None:
    """Two segments never share addresses, but for homes behind NATs where the topology says that they may."""
    for version in (4, 6):
        apart = list(views(places_of(wiring, version)))
        for view in apart if wiring.topology.overlapping_lans else [frozenset(wiring.segments)]:
            segments = [segment for segment in wiring.segments.values() if segment.name in view]
            placed = [(net, segment) for segment in segments for net in segment.subnets if net.version == version]
            clash = first_overlap(placed)
            if clash is not None:
                raise _overlap(*clash, apart)


def places_of(wiring: Wiring, version: int) -> list[list[Place]]:
    """Where each node is, as realms see it."""
    return [
        [Place(segment.name, isinstance(member.node, Router), member.translates(version)) for member, segment in places]
        for places in wiring.members.values()
    ]


def _overlap(
    one: tuple[IPNetwork, DraftSegment], two: tuple[IPNetwork, DraftSegment], apart: list[frozenset[str]]
) -> TopologyError:
    """The later of two is told that it overlaps the earlier."""
    (_, other), (mine, segment) = sorted((one, two), key=lambda entry: (entry[1].source or _NOWHERE).line or 0)
    at = f" ({other.source})" if other.source else ""
    hint = "give one of them another subnet"
    if not any({segment.name, other.name} <= view for view in apart):
        hint += ", or say overlapping_lans = true"
    return TopologyError(f"{segment.label}: {mine} overlaps {other.label}{at}", where=segment.source, hint=hint)


def _give_addresses(segment: DraftSegment, subnet: IPNetwork, kept: Kept) -> None:
    """Given addresses first; the rest from the subnet's start: routers' insides, then uplinks, then hosts."""
    owner: dict[IPAddress, Member] = {}
    waiting: list[Member] = []
    for member in segment.members:
        wanted = [address for address in member.wanted if address.version == subnet.version]
        if member.slaac and isinstance(subnet, IPv6Network):
            wanted = [eui64(subnet, mac_of(member.node.name, member.interface))]
        # A NAT with several external addresses has a place for each of them.
        waiting += [member] * (_addresses_wanted(member, subnet.version) - len(wanted))
        for address in wanted:
            interface = _check(member, address, subnet, segment, owner)
            owner[interface.ip] = member
            member.addresses.append(interface)
    for member in list(waiting):
        chosen = kept.addresses.get((member.node.name, member.interface), ())
        again = next((address for address in chosen if address.network == subnet and address.ip not in owner), None)
        if again is not None:
            waiting.remove(member)
            owner[again.ip] = member
            member.addresses.append(again)
    free = (ip for ip in _usable(subnet) if ip not in owner)
    waiting.sort(key=lambda member: (not member.gateway, member.node.kind is not Kind.ROUTER))
    for member in waiting:
        ip = next(free, None)
        if ip is None:
            raise TopologyError(
                f"{segment.label}: {subnet} has no address left for {member.node.name!r}",
                where=segment.source or member.source,
                hint="give it a larger subnet",
            )
        member.addresses.append(ip_interface(f"{ip}/{subnet.prefixlen}"))


def _check(
    member: Member, address: Address, subnet: IPNetwork, segment: DraftSegment, owner: dict[IPAddress, Member]
) -> IPInterface:
    interface = ip_interface(f"{address}/{subnet.prefixlen}" if not hasattr(address, "network") else str(address))
    who = f"{member.node.kind.value} {member.node.name!r}"
    if interface.ip not in subnet or interface.network.prefixlen != subnet.prefixlen:
        raise TopologyError(
            f"{who}: address {address} is not in {subnet}, the subnet of {segment.label}",
            where=member.source,
            hint="give an address of that subnet, or none to have one chosen",
        )
    meaning = reserved(interface.ip, subnet)
    if meaning is not None:
        raise TopologyError(
            f"{who}: {interface.ip} is the {meaning} address of {subnet}",
            where=member.source,
            hint="give it another address",
        )
    if interface.ip in owner:
        other = owner[interface.ip]
        at = f" ({other.source})" if other.source else ""
        raise TopologyError(
            f"{who}: address {interface.ip} is that of {other.node.kind.value} {other.node.name!r} already{at}",
            where=member.source,
            hint="give one of them another address",
        )
    return interface


def _addresses_wanted(member: Member, version: int) -> int:
    router = member.uplink
    return router.nat.addresses if version == 4 and router is not None and router.nat is not None else 1


def reserved(ip: IPAddress, subnet: IPNetwork) -> str | None:
    """What an address means to a subnet, where that is not a host."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:  # RFC 3021 and RFC 6164: a cable needs no reserved ones
        return None
    if ip == subnet.network_address:
        return "network" if subnet.version == 4 else "subnet-router anycast"
    return "broadcast" if subnet.version == 4 and ip == subnet.broadcast_address else None


def _usable(subnet: IPNetwork) -> Iterable[IPAddress]:
    # ipaddress leaves out IPv4's network and broadcast addresses and IPv6's subnet-router anycast address.
    return ip_network(subnet).hosts()
