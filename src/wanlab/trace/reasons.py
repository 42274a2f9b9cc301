"""Why a packet ended where it ended, in words: from the rule that decided, what the NATs remember, and the topology."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from ipaddress import ip_address
from typing import NamedTuple

from wanlab.capture.decode import ICMP, ICMP6, PROTOCOLS, TCP, Ip, icmp_words
from wanlab.capture.headers import Endpoint, Header
from wanlab.topology.journey import Atlas
from wanlab.topology.nat import Filtering, Nat
from wanlab.topology.nat import Mapping as NatMapping
from wanlab.topology.network import Interface, IPAddress, Kind, Network, Node
from wanlab.trace.drops import Drops
from wanlab.trace.nat_memory import NatMemory, Remembered
from wanlab.trace.story import Crossing, Fate

RuleText = Callable[[str, str, str, int], str]
"""A rule as nft prints it: of which node, table, chain, handle; empty where it is not known."""
DropsOf = Callable[[str, str], Drops]
"""What an interface of a node has dropped since the trace began."""

_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_MOST_PEERS = 3  # that are named; the last ones
_ERRORS = {
    "network unreachable": Fate.NO_ROUTE,
    "no route to destination": Fate.NO_ROUTE,
    "host unreachable": Fate.NO_NEIGHBOUR,
    "address unreachable": Fate.NO_NEIGHBOUR,
    "time exceeded": Fate.EXPIRED,
    "fragmentation needed": Fate.TOO_BIG,
    "packet too big": Fate.TOO_BIG,
}


class Ending(NamedTuple):
    """How a story ends."""

    fate: Fate
    target: str | None
    why: str = ""
    answer: str = ""


class Reasons:
    """Answers for one network, by what its NATs have been heard to remember, and its interfaces have dropped."""

    def __init__(self, network: Network, memory: NatMemory, drops_of: DropsOf) -> None:
        self._network = network
        self._memory = memory
        self._drops_of = drops_of

    @cached_property
    def _atlas(self) -> Atlas:
        return Atlas(self._network)

    @cached_property
    def _owners(self) -> dict[IPAddress, str | None]:
        """Who has an address; None: several have."""
        owners: dict[IPAddress, str | None] = {}
        for node in self._network:
            for interface in node.interfaces:
                for address in interface.addresses:
                    owners[address.ip] = None if owners.get(address.ip, node.name) != node.name else node.name
        return owners

    @cached_property
    def _own(self) -> dict[str, frozenset[IPAddress]]:
        return {
            node.name: frozenset(address.ip for interface in node.interfaces for address in interface.addresses)
            for node in self._network
        }

    def has_address(self, node: str, packed: bytes) -> bool:
        """Whether it is one of the node's."""
        return ip_address(packed) in self._own[node]

    def ending(self, crossings: Sequence[Crossing], answered_by: tuple[str, bytes, Ip] | None, ip: Ip) -> Ending:
        """How a packet ended that was seen last as *ip*; *answered_by*: what was sent because of it."""
        last = crossings[-1]
        node = self._network[last.node]
        here = last.before.destination.address in self._own[last.node]
        target = self._owners.get(crossings[0].before.destination.address)
        if here and target is None:
            target = last.node
        answer = "" if answered_by is None else f"{answered_by[0]}: {_answer_words(*answered_by[1:])}"
        drop = next((rule for rule in last.rules if rule.verdict == "drop"), None)
        if last.went_out is not None:
            return Ending(Fate.LOST, target, self._lost_on_link(last), answer)
        if drop is not None:
            return Ending(Fate.DROPPED, target, self._dropped(node, last, drop.text or str(drop)), answer)
        inside = self._meant(node, last.came_in, last.before) if here and answered_by is None else None
        stuck = None if inside is None else self._stuck(node, last.came_in, inside)
        if stuck is not None:
            return Ending(stuck[0], target, stuck[1], answer)
        if here:
            return self._delivered(node, last, target, answered_by, answer)
        if node.kind is Kind.HOST:
            return Ending(Fate.NOT_FORWARDED, target, "a host does not forward", answer)
        words = "" if answered_by is None else _answer_words(*answered_by[1:])
        fate = _ERRORS.get(words)
        if fate is None and ip.ttl <= 1:
            fate = Fate.EXPIRED
        if fate is None and node.kind is Kind.ROUTER:
            fate = self._no_way(node, last.before.destination.address)
        if fate is None:
            why = f"it came in by {last.came_in} and did not leave"
            fate, why = self._stuck(node, last.came_in, last.before.destination.address) or (Fate.LOST, why)
            return Ending(fate, target, why, answer)
        return Ending(fate, target, self._no_way_words(fate, node, last), answer)

    def next_hop(self, name: str, destination: IPAddress) -> tuple[Interface | None, IPAddress]:
        """By which interface a node sends to an address, and to which neighbour."""
        return self._atlas.next_hop(self._network[name], destination)

    def not_sent(self, crossing: Crossing, interface: str, unanswered: str) -> Ending:
        """Why a packet did not leave its sender, though no rule dropped it; *unanswered*: what was asked in vain."""
        destination = crossing.before.destination.address
        target = self._owners.get(destination)
        if unanswered:
            return Ending(Fate.NO_NEIGHBOUR, target, unanswered)
        stuck = self._stuck(self._network[crossing.node], None, destination)
        fate, why = stuck or (Fate.LOST, f"it was to leave by {interface}, and did not")
        return Ending(fate, target, why)

    # -- where it arrived ----------------------------------------------------------------------------------------

    def _delivered(
        self, node: Node, last: Crossing, target: str | None, by: tuple[str, bytes, Ip] | None, answer: str
    ) -> Ending:
        outside = node.kind is Kind.ROUTER and node.nat is not None and last.came_in == node.uplink
        why = ""
        if by is not None:
            port, protocol = last.before.destination.port, last.before.protocol.upper()
            why = f"nobody listens on {protocol} port {port}" if port is not None else "it was refused"
        if outside and last.before.protocol in ("udp", "tcp"):
            why = f"no mapping leads inside from {last.before.destination}: the router itself took it"
        return Ending(Fate.REFUSED if by is not None else Fate.DELIVERED, target, why, answer)

    # -- where it did not ----------------------------------------------------------------------------------------

    def _lost_on_link(self, last: Crossing) -> str:
        assert last.went_out is not None
        there = next((b for a, b in self._cables if a == (last.node, last.went_out)), None)
        known = next((i for i in self._network[last.node].interfaces if i.name == last.went_out), None)
        if known is None:  # verify and others plug in hosts of their own while they measure
            return f"it left by {last.went_out}, which is not of the topology: it was plugged in for a while"
        if there is None:
            return f"it left by {last.went_out}, where nothing is plugged in"
        # What an impairment drops is not seen to leave: this was sent on, and not taken in.
        refused = self._drops_of(last.node, last.went_out).refused
        why = f"; {last.node}:{last.went_out} has dropped {refused} meanwhile: an end is down or has no room"
        link = f"on the link from {last.node}:{last.went_out} to {there[0]}:{there[1]}"
        return link + (why if refused else "")

    def waits(self, name: str, came_in: str | None, header: Header) -> bool:
        """Whether a packet that came to a node, and has not left, may wait there for its turn."""
        node = self._network[name]
        destination: IPAddress | None = header.destination.address
        if destination in self._own[name]:
            destination = self._meant(node, came_in, header)
        ways = [] if destination is None else self._exits(node, came_in, destination)
        return any(way.egress is not None and self._drops_of(name, way.name).waiting for way in ways)

    def _meant(self, router: Node, came_in: str | None, header: Header) -> IPAddress | None:
        """The address inside for which a packet to the router's outside was let in; None: for none that is known."""
        if router.nat is None or came_in is None or came_in != router.uplink or header.protocol not in _NUMBERS:
            return None
        mine = self._memory.behind(router.name, _NUMBERS[header.protocol], header.destination)
        return None if mine is None or header.source not in mine.peers else mine.internal.address

    def _stuck(self, node: Node, came_in: str | None, destination: IPAddress) -> tuple[Fate, str] | None:
        """What became of a packet that should have left for *destination*, by what was dropped where it would have."""
        counted = {
            way: self._drops_of(node.name, way.name)
            for way in self._exits(node, came_in, destination)
            if way.egress is not None
        }
        told = {way: drops for way, drops in counted.items() if drops != Drops()}
        if not told:
            return None
        drops = sum(told.values(), Drops())
        where = " and ".join(f"{node.name}:{way.name}" for way in told)
        losing = any(way.egress is not None and way.egress.average_loss_percent for way in told)
        queuing = any(way.egress is not None and way.egress.rate_bps for way in told)
        if drops.undecided and losing and queuing:
            return Fate.LOST, f"dropped at {where}, by chance or as the queue was full: {drops.undecided} in this trace"
        lost = drops.lost + (drops.undecided if losing else 0)
        overflowed = drops.overflowed + (0 if losing else drops.undecided)
        if lost and overflowed:
            return Fate.LOST, f"dropped at {where}: {lost} by chance and {overflowed} by a full queue in this trace"
        if overflowed:
            return Fate.QUEUE, f"the queue of {where} was full: {overflowed} dropped in this trace"
        if lost:
            return Fate.LOST, f"by chance, as the impairment of {where} asks: {lost} lost in this trace"
        if drops.refused:
            return Fate.LOST, f"{where} has dropped {drops.refused} in this trace: an end is down, or has no room"
        return Fate.LOST, f"not seen to leave yet; at {where} {drops.waiting} wait for their turn"

    def _exits(self, node: Node, came_in: str | None, destination: IPAddress) -> list[Interface]:
        """The interfaces with a cable by which it may have been going to leave."""
        if node.kind is Kind.SWITCH:
            return [i for i in node.interfaces if i.master is not None and i.name != came_in]
        out, _ = self._atlas.next_hop(node, destination)
        if out is None or not out.bridge:
            return [] if out is None else [out]
        return [i for i in node.interfaces if i.master == out.name]

    @cached_property
    def _cables(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        return [ends for link in self._network.links for ends in ((link.a, link.b), (link.b, link.a))]

    def _no_way(self, router: Node, destination: IPAddress) -> Fate | None:
        """What the topology says of a packet that a router did not send on."""
        journey = self._atlas.journey(router.name, destination)
        if len(journey.path) == 1:
            if journey.end.name == "NO_ROUTE":
                return Fate.NO_ROUTE
            if journey.end.name == "NO_NEIGHBOUR":
                return Fate.NO_NEIGHBOUR
        return None

    @staticmethod
    def _no_way_words(fate: Fate, node: Node, last: Crossing) -> str:
        destination = last.before.destination.address
        match fate:
            case Fate.NO_ROUTE:
                return f"{node.name} has no route to {destination}"
            case Fate.NO_NEIGHBOUR:
                return f"nobody answers {node.name}'s question for {destination}"
            case Fate.EXPIRED:
                return f"it came with TTL {last.before.ttl}"
            case Fate.TOO_BIG:
                return f"{last.before.length} bytes, and not to be fragmented"
            case _:
                return ""

    def _dropped(self, node: Node, last: Crossing, rule: str) -> str:
        header = last.before
        nat = node.nat
        if last.came_in is not None and last.came_in == node.uplink and header.protocol in _NUMBERS:
            if nat is not None and header.source.address.version == 4:
                return self._kept_out(node, nat, header)
            return f"nobody behind {node.name} has sent to {header.source}"
        if last.came_in is not None and nat is not None:
            allowed = {"udp": nat.udp_ports, "tcp": nat.tcp_ports}.get(header.protocol)
            if allowed is not None and header.destination.port not in allowed:
                listed = ", ".join(map(str, allowed)) or "none"
                return f"{node.name} lets out to {header.protocol.upper()} ports {listed} only"
            if nat.limit is not None and "reject" in rule:
                return f"the sender has {nat.limit} mappings, and may have no more"
        return rule

    def _kept_out(self, router: Node, nat: Nat, header: Header) -> str:
        """Why a NAT let in nothing from there to that external endpoint."""
        number = _NUMBERS[header.protocol]
        mine = self._memory.behind(router.name, number, header.destination)
        if header.protocol not in ("udp", "tcp"):
            return "nobody inside has asked"
        if mine is None:
            return f"no mapping has {header.destination}: nobody inside sends from there"
        owner = self._named(mine.internal)
        kind = in_words(nat.filtering)
        peers = list(mine.peers)
        if nat.filtering is Filtering.ADDRESS_DEPENDENT:
            met = list(dict.fromkeys(str(peer.address) for peer in peers))
            came = str(header.source.address)
        else:
            met, came = [str(peer) for peer in peers], str(header.source)
        if came in met:  # else it would have been let in
            return f"filtering is {kind}; {owner} had not yet sent to {came}"
        sent = f"{owner} has sent to {_listed(met) or 'nobody'}"
        return f"filtering is {kind}; {sent}, this came from {came}{self._another(number, mine, header.source)}"

    def _another(self, number: int, mine: Remembered, source: Endpoint) -> str:
        """What more there is to say where the sender's own NAT gave it another endpoint than the one let in."""
        theirs = self._memory.anywhere(number, source)
        if theirs is None:
            return ""
        router = self._network[theirs.router]
        others = [m for m in self._memory.of(theirs.router, number, theirs.internal) if m.external != source]
        let_in = [m for m in others if m.external in mine.peers] or others
        if not let_in or router.nat is None:
            return ""
        what = "port" if let_in[-1].external.address == source.address else "address"
        said = f": {theirs.router} gave {self._named(theirs.internal)} another {what} for {self._named(mine.internal)}"
        if router.nat.mapping is NatMapping.ENDPOINT_INDEPENDENT:
            return said
        return f"{said}: its mapping is {in_words(router.nat.mapping)}"

    def _named(self, endpoint: Endpoint) -> str:
        return self._owners.get(endpoint.address) or str(endpoint.address)


def in_words(axis: Filtering | NatMapping) -> str:
    """As RFC 4787 writes it: `address- and port-dependent`."""
    value: str = axis.value
    return value.replace("address-and-port", "address- and port")


def _listed(words: Sequence[str]) -> str:
    more = f"{len(words) - _MOST_PEERS} others, " if len(words) > _MOST_PEERS else ""
    return more + ", ".join(words[-_MOST_PEERS:])


def _answer_words(frame: bytes, ip: Ip) -> str:
    if ip.protocol in (ICMP, ICMP6):
        return icmp_words(frame, ip)
    return "connection refused" if ip.protocol == TCP else PROTOCOLS.get(ip.protocol, "an answer")
