"""Which segments may share a subnet: those that no node ever has to tell apart.

A realm (RFC 2663's word) is what routers join without translating. A NAT leads from the realm inside it to the one
outside, so a node sees its own realm and those above it, never a neighbour's home: two homes may both be
192.168.1.0/24, a home and the network above it may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wanlab.topology.groups import Groups


@dataclass(frozen=True, slots=True)
class Place:
    """A node's interface on a segment. `forwards`: a router's; `nat`: the outside of a router that translates."""

    segment: str
    forwards: bool
    nat: bool


def views(nodes: Iterable[Sequence[Place]]) -> Iterator[frozenset[str]]:
    """The sets of segments within which every subnet must be unique, one for each distinct view of a node."""
    places = [list(node) for node in nodes]
    realm_of = realms(places)
    above: dict[str, set[str]] = {}
    for node in places:
        inside = {realm_of[place.segment] for place in node if place.forwards and not place.nat}
        outside = {realm_of[place.segment] for place in node if place.nat}
        for realm in inside:
            above.setdefault(realm, set()).update(outside - {realm})
    members: dict[str, set[str]] = {}
    for segment, realm in realm_of.items():
        members.setdefault(realm, set()).add(segment)
    seen: set[frozenset[str]] = set()
    for node in places:
        near = frozenset(realm_of[place.segment] for place in node)
        if near not in seen:
            seen.add(near)
            yield frozenset(segment for realm in _upwards(near, above) for segment in members[realm])


def realms(nodes: Iterable[Sequence[Place]]) -> Mapping[str, str]:
    """For each segment the name of its realm (one of its segments)."""
    places = list(nodes)
    joined = Groups(place.segment for node in places for place in node)
    for node in places:
        forwarding = [place.segment for place in node if place.forwards and not place.nat]
        for segment in forwarding[1:]:
            joined.join(segment, forwarding[0])
    return joined.names()


def _upwards(near: Iterable[str], above: Mapping[str, set[str]]) -> set[str]:
    found = set(near)
    queue = list(found)
    while queue:
        for realm in above.get(queue.pop(), ()):
            if realm not in found:
                found.add(realm)
                queue.append(realm)
    return found
