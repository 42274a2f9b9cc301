"""Routes: the default towards a segment's gateway, and what must be known besides.

Where a router translates, knowledge ends: nothing outside has a route to what lies behind it, but for the prefixes that
stand for it. Behind a router that does not, the subnets are known to everybody who can reach it, as a routing protocol
would have told them; it would also have told of a cable that does not work, so routers send round it. Hosts know no
such protocol: one that was unplugged keeps its routes, as the kernel does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from wanlab.errors import TopologyError
from wanlab.topology.network import IPAddress, IPInterface, IPNetwork, Route

_DEFAULT: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_SECOND_CHOICE = 100  # metric step for the default routes of a host's further interfaces
_IP6_RT_PRIO_USER = 1024  # the metric that the kernel gives an IPv6 route which has none; IPv4's is 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's interface on a segment, as routing sees it."""

    node: str
    interface: str
    segment: str
    addresses: tuple[IPInterface, ...]
    gateway: bool
    """A router's inside: others may send through it."""
    hides: frozenset[int] = frozenset()
    """At a router's outside: the families of which nobody may send through it, since they are translated."""
    announces: tuple[IPNetwork, ...] = ()
    """What others may send through it all the same: prefixes that stand for what is hidden."""
    up: bool = True
    carrier: bool = True
    """As :class:`~wanlab.topology.network.Interface` has them."""
    metric: int | None = None
    """Of its default route, where it was given."""

    def address(self, version: int) -> IPAddress | None:
        """Its first address of that family."""
        return next((interface.ip for interface in self.addresses if interface.version == version), None)


def routes_of(
    attachments: Iterable[Attachment], subnets: Mapping[str, tuple[IPNetwork, ...]], routers: Collection[str]
) -> dict[str, tuple[Route, ...]]:
    """The routes of every node that is attached to anything."""
    return _Router(list(attachments), subnets, routers).all()


class _Router:
    def __init__(
        self, attachments: list[Attachment], subnets: Mapping[str, tuple[IPNetwork, ...]], routers: Collection[str]
    ) -> None:
        self.subnets = subnets
        self.routers = routers
        self.of_node: dict[str, list[Attachment]] = {}
        self.ways_through: dict[tuple[str, int], list[Attachment]] = {(s, v): [] for s in subnets for v in (4, 6)}
        """For each segment and family the routers on it that can be sent through."""
        self.announcing: dict[str, list[Attachment]] = {segment: [] for segment in subnets}
        self.gateways: dict[str, list[Attachment]] = {segment: [] for segment in subnets}
        for attachment in attachments:
            self.of_node.setdefault(attachment.node, []).append(attachment)
            if attachment.node in routers:
                for version in {4, 6} - attachment.hides:
                    self.ways_through[attachment.segment, version].append(attachment)
            if attachment.announces:
                self.announcing[attachment.segment].append(attachment)
            if attachment.gateway:
                self.gateways[attachment.segment].append(attachment)

    def all(self) -> dict[str, tuple[Route, ...]]:
        return {node: tuple(self._routes(node, mine)) for node, mine in self.of_node.items()}

    def _routes(self, node: str, mine: list[Attachment]) -> Iterator[Route]:
        # Their order is that of all: what goes down changes nothing about the others.
        uplinks = [(n, a) for n, a in enumerate(a for a in mine if node not in self.routers or not a.gateway) if a.up]
        # Of two ways that are equally long, the one with the lower metric is taken.
        ranks = {id(a): _metric(4, n, a.metric) for n, a in uplinks}
        mine = sorted((a for a in mine if a.up), key=lambda a: ranks.get(id(a), 0))
        attached = {subnet for attachment in mine for subnet in self.subnets[attachment.segment]}
        defaults: dict[int, dict[int, Attachment]] = {4: {}, 6: {}}
        for index, attachment in uplinks:
            for gateway in self.gateways[attachment.segment]:
                if gateway.node == node:
                    continue
                for version in (4, 6):
                    via = gateway.address(version)
                    if via is not None and attachment.address(version) is not None:
                        metric = _metric(version, index, attachment.metric)
                        if metric in defaults[version]:
                            what = f"{node!r} has two default routes of metric {metric} (IPv{version})"
                            raise TopologyError(what, hint="give one of its interfaces another metric")
                        defaults[version][metric] = gateway
                        yield Route(_DEFAULT[version], via, attachment.interface, metric)
                break
        for version in (4, 6):
            first = min(defaults[version], default=0)
            for subnet, (out, hop) in self._reach(node, mine, version).items():
                via = hop.address(version)
                if subnet in attached or via is None or hop == defaults[version].get(first):
                    continue
                yield Route(subnet, via, out.interface)

    def _reach(self, node: str, mine: list[Attachment], version: int) -> dict[IPNetwork, tuple[Attachment, Attachment]]:
        """For each subnet that can be reached: by which interface, to which neighbour first. Fewest hops win."""
        found: dict[IPNetwork, tuple[Attachment, Attachment]] = {}
        seen_routers = {node}
        seen_segments = {attachment.segment for attachment in mine}
        queue: deque[tuple[str, Attachment, Attachment]] = deque()
        knows = node in self.routers  # which cables work
        for out in mine:
            if not self._speaks(out.segment, version) or (knows and not out.carrier):
                continue
            found |= {prefix: (out, hop) for prefix, hop in self._announced(out.segment, version, node)}
            for hop in self.ways_through[out.segment, version]:
                if hop.node not in seen_routers and (hop.carrier or not knows):
                    seen_routers.add(hop.node)
                    queue.append((hop.node, out, hop))
        while queue:
            router, out, hop = queue.popleft()
            for onward in self.of_node[router]:
                if onward.segment in seen_segments or not self._speaks(onward.segment, version):
                    continue
                if knows and not onward.carrier:
                    continue
                seen_segments.add(onward.segment)
                for subnet in self.subnets[onward.segment]:
                    if subnet.version == version:
                        found[subnet] = (out, hop)
                for prefix, _ in self._announced(onward.segment, version, node):
                    found.setdefault(prefix, (out, hop))
                for next_hop in self.ways_through[onward.segment, version]:
                    if next_hop.node not in seen_routers and (next_hop.carrier or not knows):
                        seen_routers.add(next_hop.node)
                        queue.append((next_hop.node, out, hop))
        return found

    def _announced(self, segment: str, version: int, node: str) -> Iterator[tuple[IPNetwork, Attachment]]:
        """What other nodes than *node* stand for on that segment."""
        for attachment in self.announcing[segment]:
            if attachment.node != node and (attachment.carrier or node not in self.routers):
                yield from ((prefix, attachment) for prefix in attachment.announces if prefix.version == version)

    def _speaks(self, segment: str, version: int) -> bool:
        return any(subnet.version == version for subnet in self.subnets[segment])


def _metric(version: int, choice: int, given: int | None) -> int:
    """The metric of a node's first, second, ... default route. 0 leaves it to the kernel."""
    metric = choice * _SECOND_CHOICE if given is None else given
    if metric == 0:
        return 0
    return metric + (_IP6_RT_PRIO_USER if version == 6 else 0)
