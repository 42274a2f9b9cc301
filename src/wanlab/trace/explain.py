"""Whether two hosts can connect directly, in words: what theory says, what happens when they try, and what would help.

They are made to try: a hole punch by way of a rendezvous (`punch/attempt.py`), while every packet of it is traced.
What is said to stand in the way is what was seen: a mapping that gave another port than the rendezvous saw, a filter
that dropped what came from there, a router that let nothing out or answered in another's stead. `punch/theory.py`
predicts; and by it is asked what would help.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wanlab.capture.headers import Endpoint
from wanlab.errors import UsageError
from wanlab.punch.attempt import Punch, punch_many
from wanlab.punch.machine import Transport
from wanlab.punch.theory import Prediction, predict
from wanlab.topology.journey import Atlas
from wanlab.topology.nat import Hairpin, Mapping, Nat, Unsolicited
from wanlab.topology.network import Kind, Network, Node
from wanlab.trace.cures import Side, cures, relay
from wanlab.trace.reasons import in_words
from wanlab.trace.story import Fate, Story
from wanlab.trace.trace import Trace

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that stood in the way."""

    router: str
    axis: str
    """Which of the NAT's qualities: `mapping`, `filtering`, `unsolicited`, `hairpin`, `ports`, `limit`; or `route`."""
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of two hosts' attempt, and why."""

    a: str
    b: str
    transport: Transport
    rendezvous: str
    connected: bool
    prediction: Prediction | None
    """None where theory has nothing to say: with several NATs in a row, or one that both are behind."""
    path: tuple[str, ...]
    """The nodes from *a* to *b*, where they got through to each other."""
    obstacles: tuple[Obstacle, ...]
    helps: tuple[str, ...]
    stories: tuple[Story, ...]
    """The packets between the two."""

    @property
    def as_predicted(self) -> bool | None:
        """Whether theory had said so; None where it says nothing, or leaves it to chance."""
        if self.prediction is None or self.prediction.luck:
            return None
        return self.connected == self.prediction.connects

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        prediction = self.prediction
        return {
            "a": self.a,
            "b": self.b,
            "transport": self.transport.value,
            "rendezvous": self.rendezvous,
            "connected": self.connected,
            "predicted": None
            if prediction is None
            else {"connects": prediction.connects, "odds": prediction.odds, "why": prediction.why},
            "path": list(self.path),
            "obstacles": [{"router": o.router, "axis": o.axis, "words": o.words} for o in self.obstacles],
            "helps": list(self.helps),
            "stories": [story.to_json() for story in self.stories],
        }


def explain(
    lab: Lab,
    a: str,
    b: str,
    transport: Transport = Transport.UDP,
    *,
    rendezvous: str | None = None,
    udp_port: int | None = None,
) -> Explanation:
    """Let hosts *a* and *b* of a lab that is up try to connect, and explain what happens.

    *rendezvous*: a host that both reach; chosen if left out. *udp_port*: what both send from by UDP; a free one if left
    out. Raises NoSuchNode, UsageError where there is no rendezvous, or the port is taken.
    """
    for name in (a, b):
        if lab.network[name].kind is not Kind.HOST:
            raise UsageError(f"{name!r} is a {lab.network[name].kind.value}", hint="name two hosts")
    if a == b:
        raise UsageError(f"{a!r} and itself", hint="name two hosts")
    place = lab.network[rendezvous].name if rendezvous else meeting_place(lab.network, a, b)
    try:
        return explain_many(lab, [(a, b)], transport, place, udp_port=udp_port)[0]
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise UsageError(f"a port is taken in {a!r}, {b!r} or {place!r}", hint="end what uses it") from None


def explain_many(
    lab: Lab,
    pairs: Sequence[tuple[str, str]],
    transport: Transport,
    rendezvous: str,
    *,
    udp_port: int | None = None,
) -> list[Explanation]:
    """Many pairs at once; a host may be in any number of them."""
    with Trace(lab, filter=transport.value) as trace:
        punches = punch_many(lab, pairs, rendezvous, transport, udp_port=udp_port)
    return [_Case(lab.network, punch, transport, rendezvous, trace.stories).explanation() for punch in punches]


def meeting_place(network: Network, a: str, b: str) -> str:
    """A host that both reach, and that sees them as the outside does. Raises UsageError where there is none."""
    atlas = Atlas(_without_closed_ports(network))
    best: tuple[int, str] | None = None
    for node in network.of(Kind.HOST):
        if node.name in (a, b) or not any(i.addresses and i.address.version == 4 for i in node.interfaces):
            continue
        journeys = [atlas.journey(sender, node.address) for sender in (a, b)]
        if all(journey.delivered for journey in journeys):
            seen = sum(len(journey.translations) for journey in journeys)  # more: farther outside
            if best is None or seen > best[0]:
                best = seen, node.name
    if best is None:
        raise UsageError(
            f"no host is reached by both {a!r} and {b!r}, so they cannot meet", hint="add a host outside their NATs"
        )
    return best[1]


class _Case:
    """One pair, and all stories that were told meanwhile."""

    def __init__(
        self, network: Network, punch: Punch, transport: Transport, rendezvous: str, stories: Sequence[Story]
    ) -> None:
        self._network = network
        self._punch = punch
        self._transport = transport
        self._rendezvous = rendezvous
        self._met = [story for story in stories if story.last == rendezvous]
        sides = ((punch.a, punch.a_seen), (punch.b, punch.b_seen))
        self._inside = {name: self._internal(name, seen) for name, seen in sides}
        self._stories = [
            story
            for story in stories
            if story.last != rendezvous
            and story.sender in self._inside
            and story.header.source == self._inside[story.sender]
            and story.header.destination.address != network[rendezvous].address
        ]
        self._seen = {name: None if seen is None else _endpoint(seen) for name, seen in sides}
        atlas = Atlas(_without_closed_ports(network))
        ways = {name: atlas.journey(name, network[rendezvous].address) for name in (punch.a, punch.b)}
        self._routers = {name: [t.router for t in way.translations] for name, way in ways.items()}

    def _internal(self, name: str, seen: tuple[str, int] | None) -> Endpoint | None:
        """The socket that the rendezvous saw at *seen*."""
        if seen is None:
            return None
        outside = _endpoint(seen)
        return next(
            (s.header.source for s in self._met if s.sender == name and s.crossings[-1].before.source == outside), None
        )

    def explanation(self) -> Explanation:
        """All of it."""
        punch = self._punch
        obstacles = () if punch.connected else tuple(dict.fromkeys(self._obstacles()))
        return Explanation(
            punch.a,
            punch.b,
            self._transport,
            self._rendezvous,
            punch.connected,
            self._prediction(),
            self._path() if punch.connected else (),
            obstacles,
            () if punch.connected else tuple(self._helps()),
            tuple(self._stories),
        )

    def _nats(self) -> tuple[Nat | None, Nat | None] | None:
        """The NAT of each, where each has one at most and not the same."""
        mine, theirs = self._routers[self._punch.a], self._routers[self._punch.b]
        if max(len(mine), len(theirs)) > 1 or set(mine) & set(theirs):
            return None
        first, second = (self._network[r[0]].nat if r else None for r in (mine, theirs))
        return first, second

    def _prediction(self) -> Prediction | None:
        nats = self._nats()
        return None if nats is None else predict(*nats, self._transport)

    def _helps(self) -> Iterator[str]:
        a, b = self._punch.a, self._punch.b
        yield from self._shared_helps()
        nats = self._nats()
        if nats is not None:
            first, second = (
                Side(name, self._routers[name][0] if self._routers[name] else None, nat)
                for name, nat in zip((a, b), nats, strict=True)
            )
            yield from cures(first, second, self._transport)
        yield relay([self._network[name].nat for name in (*self._routers[a], *self._routers[b])], self._transport)

    def _shared_helps(self) -> Iterator[str]:
        """What would help where both are behind one NAT: said only where it is known to be enough."""
        ways = [self._routers[name] for name in (self._punch.a, self._punch.b)]
        name = next((router for router in ways[0] if router in ways[1]), None)
        if name is None:
            return
        behind = [[self._network[router].nat for router in way[: way.index(name)]] for way in ways]
        nats = [self._network[router].nat for way in ways for router in way]
        steady = all(
            nat is not None
            and nat.mapping is Mapping.ENDPOINT_INDEPENDENT
            and nat.unsolicited is not Unsolicited.ACCEPT
            and (nat.udp_ports if self._transport is Transport.UDP else nat.tcp_ports) is None
            for nat in nats
        )
        off = self._network[name].nat
        hairpins = steady and off is not None and off.hairpin is Hairpin.OFF
        if not any(behind):
            inside = "meeting by their addresses inside"
            yield f"hairpinning at {name}, or {inside}" if hairpins else inside
            return
        if hairpins:
            yield f"hairpinning at {name}"
        if max(map(len, behind)) <= 1:
            first, second = (nats[0] if nats else None for nats in behind)
            if predict(first, second, self._transport).connects:
                yield f"a rendezvous behind {name}, as both are"

    def _path(self) -> tuple[str, ...]:
        there = [s for s in self._stories if s.sender == self._punch.a and s.last == self._punch.b and s.delivered]
        return tuple(crossing.node for crossing in there[-1].crossings) if there else ()

    # -- what stood in the way -----------------------------------------------------------------------------------

    def _obstacles(self) -> Iterator[Obstacle]:
        a, b = self._punch.a, self._punch.b
        if not self._punch.met:
            yield from self._not_met()
        found = False
        for story in self._stories:
            me, other = (a, b) if story.sender == a else (b, a)
            if story.fate is not Fate.LOST and not (story.last == other and story.delivered):
                for obstacle in self._of_story(story, me, other):
                    found = True
                    yield obstacle
        for story in self._stories if not found else ():
            if story.fate is Fate.LOST:
                yield Obstacle(story.last, "route", f"lost at {story.last}: {story.why}")

    def _not_met(self) -> Iterator[Obstacle]:
        for name, seen in self._seen.items():
            if seen is None:
                yield Obstacle(name, "route", f"{name} does not reach the rendezvous {self._rendezvous}")

    def _of_story(self, story: Story, me: str, other: str) -> Iterator[Obstacle]:
        """What the death of a packet from *me* to *other* shows."""
        last = story.crossings[-1]
        router = self._network[story.last]
        if story.last in self._routers[me] and last.came_in != router.uplink:
            yield self._own_router(story, router, me)
            return
        moved = self._moved(story, me, other)
        by_itself = story.delivered and router.kind is Kind.ROUTER
        if router.nat is not None and last.came_in == router.uplink and (story.fate is Fate.DROPPED or by_itself):
            if moved is not None:
                yield moved
                kind = in_words(router.nat.filtering)
                sent = f"{other} has sent to {self._seen[me]}, and its filtering is {kind}"
                words = f"{router.name} lets in nothing from {last.before.source}: {sent}"
                yield Obstacle(router.name, "filtering", words)
            elif by_itself:
                words = f"{router.name} answered a packet of {me}'s itself, before {other} had sent"
                taken = f"that took the port which {other} was known by"
                yield Obstacle(router.name, "unsolicited", f"{words}: {taken}")
            # else it was only early: the other had not sent yet
        elif story.fate is not Fate.DROPPED:
            yield Obstacle(router.name, "route", f"{story.fate.value} at {router.name}: {story.why}")

    def _own_router(self, story: Story, router: Node, me: str) -> Obstacle:
        nat = router.nat
        allowed = None if nat is None else {"udp": nat.udp_ports, "tcp": nat.tcp_ports}[self._transport.value]
        if story.fate is Fate.DROPPED and allowed is not None and story.header.destination.port not in allowed:
            return Obstacle(router.name, "ports", f"{story.why}, and not {me} to {story.header.destination}")
        own = {address.ip for interface in router.interfaces for address in interface.addresses}
        if story.header.destination.address in own and (nat is None or nat.hairpin is Hairpin.OFF):
            return Obstacle(
                router.name,
                "hairpin",
                f"{router.name} sends nothing back inside that is sent to its own outside address",
            )
        if nat is not None and nat.limit is not None and "mappings" in story.why:
            return Obstacle(router.name, "limit", f"{router.name} refuses: {story.why}")
        return Obstacle(router.name, "route", f"{story.fate.value} at {router.name}: {story.why}")

    def _moved(self, story: Story, me: str, other: str) -> Obstacle | None:
        """That *me* came from another endpoint than the rendezvous has seen, and why."""
        source, seen = story.crossings[-1].before.source, self._seen[me]
        if not self._routers[me] or seen is None or source == seen:
            return None
        router, mine, met = self._first_that_differs(story, me, source, seen)
        assert router.nat is not None
        if router.nat.mapping is Mapping.ENDPOINT_INDEPENDENT:
            if router.nat.unsolicited is Unsolicited.ACCEPT:
                words = f"{router.name} had answered {other} itself, which took {me}'s port {met.port}"
                return Obstacle(router.name, "unsolicited", f"{words}: {me} then came from {mine}")
            return Obstacle(router.name, "mapping", f"{me} came from {mine}, and not from {met}")
        what = "port" if mine.address == met.address else "address"
        outermost = router.name == self._routers[me][-1]
        there = "where the rendezvous saw" if outermost else "where towards the rendezvous it was"
        return Obstacle(
            router.name,
            "mapping",
            f"{router.name} gave {me} another {what} for {other}: {mine}, {there} {met}; "
            f"its mapping is {in_words(router.nat.mapping)}",
        )

    def _first_that_differs(
        self, story: Story, me: str, source: Endpoint, seen: Endpoint
    ) -> tuple[Node, Endpoint, Endpoint]:
        """The innermost NAT that made another endpoint of *me* than towards the rendezvous, and what it made of it."""
        to_rendezvous = next(
            s
            for s in self._met
            if s.sender == me and s.header.source == self._inside[me] and s.crossings[-1].before.source == seen
        )
        usual = {c.node: c.after.source for c in to_rendezvous.crossings if c.after is not None}
        for crossing in story.crossings:
            made, met = crossing.after, usual.get(crossing.node)
            if made is not None and met is not None and crossing.node in self._routers[me] and made.source != met:
                return self._network[crossing.node], made.source, met
        return self._network[self._routers[me][-1]], source, seen


def _without_closed_ports(network: Network) -> Network:
    """As if NATs let out to all ports: the rendezvous is at one of those that they do let out to."""
    nodes = {
        name: replace(node, nat=None if node.nat is None else replace(node.nat, udp_ports=None, tcp_ports=None))
        for name, node in network.nodes.items()
    }
    return replace(network, nodes=nodes)


def _endpoint(address: tuple[str, int]) -> Endpoint:
    from ipaddress import ip_address

    return Endpoint(ip_address(address[0]), address[1])
