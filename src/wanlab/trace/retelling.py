"""Stories retold from a capture: the same packet is found at each place that it passed, whatever NATs made of it.

Frames say by their MAC addresses which interface sent them to which, so switches, which change nothing, need not be
asked. What came to a router leaves it with one hop less to live, and with the same content. A packet that entered a
node and never left it ended there; why, only a trace knows, so what is said of it is what the router's description
suggests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from wanlab.capture.headers import Endpoint, Frame, read_frame
from wanlab.capture.pcapng import Packet
from wanlab.topology.network import Interface, Kind, Network, Node
from wanlab.trace.story import Crossing, Fate, Story

_LATE_NS = 2_000_000_000  # how long after it came in a packet may leave a router


@dataclass(slots=True)
class _Hop:
    """A frame, from one node's interface to that of another."""

    frame: Frame
    sender: Interface
    receiver: Interface
    sent_ns: int
    arrived_ns: int | None = None
    seen: set[tuple[str, bool]] = field(default_factory=set)
    """At which ends it was seen, going in or out."""
    used: bool = False
    """Whether it is the continuation of another hop."""


def retell(packets: Iterable[Packet], network: Network, ends: Collection[str] | None = None) -> list[Story]:
    """The stories of the unicast IP packets among these, in the order in which they were sent.

    *ends*: where was listened, as `node:interface`; None: everywhere. It may become known as *packets* are read.
    """
    return _Retelling(network, ends).stories(packets)


class _Retelling:
    def __init__(self, network: Network, ends: Collection[str] | None) -> None:
        self.network = network
        self.ends = ends
        self.macs = {
            bytes.fromhex(interface.mac.replace(":", "")): interface
            for node in network
            for interface in node.interfaces
            if interface.mac is not None
        }
        self.asked: set[tuple[str, Endpoint, Endpoint]] = set()
        """Who has sent from where to where, of itself."""
        self.owners: dict[str, set[str]] = {}
        for node in network:
            for interface in node.interfaces:
                for address in interface.addresses:
                    self.owners.setdefault(str(address.ip), set()).add(node.name)

    def stories(self, packets: Iterable[Packet]) -> list[Story]:
        hops = self._hops(packets)
        waiting: dict[tuple[str, tuple[object, ...]], deque[_Hop]] = {}
        for hop in hops:
            waiting.setdefault((hop.sender.node, hop.frame.same), deque()).append(hop)
        ways: list[list[_Hop]] = []
        for hop in hops:
            if not hop.used:
                hop.used = True
                ways.append(self._follow(hop, waiting))
        ways.sort(key=lambda way: way[0].sent_ns)
        for first, *_ in ways:
            self.asked.add((first.sender.node, first.frame.header.source, first.frame.header.destination))
        found = [self._story(number, way) for number, way in enumerate(ways, 1)]
        return self._with_answers(found, ways)

    def _hops(self, packets: Iterable[Packet]) -> list[_Hop]:
        """Frames, each once, in the order in which they were sent."""
        hops: list[_Hop] = []
        known: dict[bytes, list[_Hop]] = {}
        for packet in sorted(packets, key=lambda packet: packet.time_ns):
            place = (packet.end, packet.outbound)
            hop = next((hop for hop in known.get(packet.data, ()) if place not in hop.seen), None)
            if hop is None:
                frame = read_frame(packet.data)
                ends = (
                    (self.macs.get(frame.from_mac), self.macs.get(frame.to_mac)) if frame is not None else (None, None)
                )
                if frame is None or ends[0] is None or ends[1] is None:
                    continue
                hop = _Hop(frame, ends[0], ends[1], packet.time_ns)
                hops.append(hop)
                known.setdefault(packet.data, []).append(hop)
            hop.seen.add(place)
            if not packet.outbound and packet.end.partition(":")[0] == hop.receiver.node:
                hop.arrived_ns = packet.time_ns
        for hop in hops:
            if not self._heard(hop):  # it may have arrived, and what it became is looked for
                hop.arrived_ns = hop.arrived_ns or hop.sent_ns
        return hops

    def _heard(self, hop: _Hop) -> bool:
        """Whether the end that a frame went to was listened at: of a bridge, one of its ports."""
        receiver = hop.receiver
        ports = [i.name for i in self.network[receiver.node].interfaces if i.master == receiver.name]
        names = [f"{receiver.node}:{name}" for name in (receiver.name, *ports)]
        return self.ends is None or any(name in self.ends for name in names)

    def _follow(self, hop: _Hop, waiting: dict[tuple[str, tuple[object, ...]], deque[_Hop]]) -> list[_Hop]:
        way = [hop]
        while True:
            last = way[-1]
            arrived = last.arrived_ns
            if arrived is None or self.network[last.receiver.node].kind is not Kind.ROUTER:
                return way
            left = waiting.get((last.receiver.node, last.frame.same), ())
            onward = next(
                (
                    each
                    for each in left
                    if not each.used
                    and each.frame.header.ttl == last.frame.header.ttl - 1
                    and arrived <= each.sent_ns <= arrived + _LATE_NS
                ),
                None,
            )
            if onward is None:
                return way
            onward.used = True
            way.append(onward)

    # -- told ----------------------------------------------------------------------------------------------------------

    def _story(self, number: int, way: list[_Hop]) -> Story:
        first, last = way[0], way[-1]
        crossings = [
            Crossing(
                first.sender.node,
                None,
                first.sender.name,
                first.sent_ns,
                first.sent_ns,
                first.frame.header,
                first.frame.header,
            )
        ]
        for hop, onward in zip(way, [*way[1:], None], strict=True):
            if hop.arrived_ns is None:
                break
            crossings.append(
                Crossing(
                    hop.receiver.node,
                    hop.receiver.name,
                    None if onward is None else onward.sender.name,
                    hop.arrived_ns,
                    None if onward is None else onward.sent_ns,
                    hop.frame.header,
                    None if onward is None else onward.frame.header,
                )
            )
        fate, why = self._fate(last)
        owners = self.owners.get(str(first.frame.header.destination.address), set())
        return Story(number, tuple(crossings), fate, next(iter(owners)) if len(owners) == 1 else None, why)

    def _fate(self, last: _Hop) -> tuple[Fate, str]:
        """What became of a packet after its last hop, as far as a capture shows."""
        header = last.frame.header
        node = self.network[last.receiver.node]
        if last.arrived_ns is None:
            return Fate.LOST, f"it left {last.sender.node} and did not arrive at {node.name}"
        if not self._heard(last):
            return Fate.UNKNOWN, f"nobody listened at {node.name}:{last.receiver.name}"
        own = node.name in self.owners.get(str(header.destination.address), ())
        asked = (node.name, header.destination, header.source)
        if own and (asked in self.asked or (last.frame.quoted and (node.name, *last.frame.quoted) in self.asked)):
            return Fate.DELIVERED, ""
        guarded = node.kind is Kind.ROUTER and node.firewall and last.receiver.name == node.uplink
        if own and not guarded:
            return Fate.DELIVERED, ""
        if node.kind is not Kind.ROUTER:
            return Fate.NOT_FORWARDED, f"{node.name} is no router"
        if not own and header.ttl <= 1:
            return Fate.EXPIRED, f"it had no hop left to live at {node.name}"
        if guarded:
            return Fate.DROPPED, f"nobody inside {node.name} has asked for it{_filtering(node)}"
        return Fate.LOST, f"it came to {node.name} and did not leave it"

    def _with_answers(self, stories: list[Story], ways: list[list[_Hop]]) -> list[Story]:
        """The same, with ICMP's errors told beside what they are about."""
        met: dict[tuple[str, Endpoint, Endpoint], int] = {}
        changed = list(stories)
        for place, way in enumerate(ways):
            quoted = way[0].frame.quoted
            about = None if quoted is None else met.get((way[0].sender.node, *quoted))
            if about is not None:
                changed[place] = replace(changed[place], about=about + 1)
                error = f"{way[0].sender.node}: {way[0].frame.header.info}"
                fate = Fate.REFUSED if changed[about].fate is Fate.DELIVERED else changed[about].fate
                changed[about] = replace(changed[about], answer=error, fate=fate)
            for hop in way:
                header = hop.frame.header
                met[hop.receiver.node, header.source, header.destination] = place
        return changed


def _filtering(node: Node) -> str:
    return f" (filtering {node.nat.filtering.value})" if node.nat is not None else ""
