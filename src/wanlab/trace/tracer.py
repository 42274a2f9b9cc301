"""`Tracer`: puts stories together from what was seen and decided at many places. No I/O: events in, stories out.

A packet that leaves a link's one end comes in at its other end as it was. Within a node that forwards it is known by
what no translation changes (`trace_events.content_key`); of several alike the first that came in is the first to leave.
What the kernel's trace says of rules is joined by the same means. A packet of which nothing has been seen for a while
has ended where it was seen last, and why is asked of `reasons.py`.

Questions for a neighbour's address, and what is sent to more than one receiver, are told by `questions.py` and
`broadcasts.py`. What a host's kernel was about to send and nobody saw leave (`leaving.py`) is told, too. A switch's
copies to ports that did not need them have no stories.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from wanlab.capture.decode import ICMP, ICMP6, TCP, Ip, parse_ip, quoted
from wanlab.capture.headers import Endpoint, Header
from wanlab.kernel.nftrace import Traced
from wanlab.topology.network import Kind, Network
from wanlab.trace.broadcasts import Broadcast, Broadcasts
from wanlab.trace.drops import Drops
from wanlab.trace.events import Key, Sighting, content_key, header, traced_packet, verdict_key
from wanlab.trace.leaving import Leaver, Leaving
from wanlab.trace.nat_memory import NatMemory
from wanlab.trace.questions import Asked, Question, Questions, read_question
from wanlab.trace.reasons import DropsOf, Ending, Reasons, RuleText
from wanlab.trace.story import Crossing, Fate, Rule, Story

_MULTICAST = 1  # a bit of a MAC address's first byte
_RESET = 0x04
_GRACE_NS = 1_000_000_000  # a verdict is known before its packet is seen
_LONGEST_WAIT_S = 4.0  # for the ICMP error that says that nobody has an address: the kernel asks for 3 s


@dataclass(slots=True, eq=False)
class _Stay:
    """A packet in a node."""

    node: str
    came_in: str | None
    time_ns: int
    frame: bytes
    ip: Ip
    went_out: str | None = None
    left_ns: int | None = None
    after: bytes | None = None
    after_ip: Ip | None = None


@dataclass(slots=True, eq=False)
class _Tale:
    """A story that is not over."""

    number: int
    stays: list[_Stay]
    last_ns: int
    about: int | None = None
    answered_by: tuple[str, bytes, Ip] | None = None
    """The node that sent an ICMP error, or a reset, because of it; and that."""


@dataclass(slots=True, eq=False)
class _Group:
    """The verdicts about one packet in one node."""

    trace: int
    time_ns: int
    traced: list[Traced]


@dataclass(slots=True, eq=False)
class Tracer:
    """Is told of packets in order of time (`see`) and of verdicts as they come (`decide`), and has the stories.

    *wanted*: of which packets, by their senders and their frames as these were sent. *drops_of*: see `reasons.py`.
    """

    network: Network
    memory: NatMemory
    rule_text: RuleText
    patience_s: float = 0.3
    wanted: Callable[[str, bytes], bool] = lambda sender, frame: True
    drops_of: DropsOf = lambda node, interface: Drops()
    _far: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    _tales: deque[_Tale] = field(default_factory=deque)
    _waiting: list[_Tale] = field(default_factory=list)
    _on_link: dict[tuple[str, str, bytes], deque[_Tale]] = field(default_factory=dict)
    _inside: dict[tuple[str, Key], deque[_Tale]] = field(default_factory=dict)
    _verdicts: dict[tuple[str, bytes, Key], deque[_Group]] = field(default_factory=dict)
    _met: dict[tuple[str, int, bytes, bytes, tuple[int, int] | None], _Tale] = field(default_factory=dict)
    """By node and addresses there: what an ICMP error or a reset can be about; the last one."""
    _macs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _forwards: frozenset[str] = frozenset()
    _number: int = 0
    _reasons: Reasons = field(init=False)
    _questions: Questions = field(init=False)
    _broadcasts: Broadcasts = field(default_factory=Broadcasts)
    _leaving: Leaving = field(init=False)

    def __post_init__(self) -> None:
        for link in self.network.links:
            self._far[link.a], self._far[link.b] = link.b, link.a
        self._macs = {
            (node.name, interface.name): bytes.fromhex(interface.mac.replace(":", ""))
            for node in self.network
            for interface in node.interfaces
            if interface.mac is not None and not interface.bridge
        }
        self._forwards = frozenset(node.name for node in self.network if node.kind is not Kind.HOST)
        self._questions = Questions(self.network)
        self._leaving = Leaving(self.network)
        self._reasons = Reasons(self.network, self.memory, self.drops_of)

    # -- events --------------------------------------------------------------------------------------------------

    def see(self, sighting: Sighting) -> None:
        """A frame at a link end; in order of time."""
        frame = sighting.frame
        ip = parse_ip(frame)
        said = read_question(frame)
        if said is not None:
            self._ask(sighting, said)
        if ip is None:
            return
        if sighting.outbound:
            self._leaving.seen(sighting.node, frame, ip)
        if said is not None:
            return
        if frame[0] & _MULTICAST:
            self._broadcast(sighting, ip)
        elif sighting.outbound:
            self._leave(sighting, ip)
        else:
            self._arrive(sighting, ip)

    def decide(self, node: str, traced: Traced, time_ns: int) -> None:
        """A verdict about a packet in *node*."""
        packet = traced_packet(traced)
        if packet is None:
            return
        source, key = verdict_key(*packet)
        groups = self._verdicts.setdefault((node, source, key), deque())
        last = groups[-1] if groups else None
        if (
            last is None
            or last.trace != traced.trace
            or any((one.table, one.chain) == (traced.table, traced.chain) for one in last.traced)
        ):
            groups.append(_Group(traced.trace, time_ns, [traced]))
        else:
            last.traced.append(traced)

    def leaves(self, node: str, interface: str, traced: Traced, time_ns: int) -> None:
        """*node* is about to send a packet of its own, by *interface*; before it is seen to."""
        packet = traced_packet(traced)
        if packet is not None:
            self._leaving.note(Leaver(node, interface, time_ns, *packet))

    def _ask(self, sighting: Sighting, said: Asked) -> None:
        sender = self._questions.sender(sighting.frame)
        mine = sender is not None and sender[0] == sighting.node
        if said.is_answer:
            if not sighting.outbound:
                self._questions.answer(sighting.node, sighting.frame, said, sighting.time_ns)
        elif sighting.outbound and mine:
            new = self._questions.ask(self._number + 1, sighting.frame, said, sighting.interface, sighting.time_ns)
            self._number += new

    def _broadcast(self, sighting: Sighting, ip: Ip) -> None:
        sender = self._questions.sender(sighting.frame)
        if sighting.outbound:
            if sender is not None and sender[0] == sighting.node:
                self._number += self._broadcasts.send(self._number + 1, sighting, ip)
        elif self.network[sighting.node].kind is not Kind.SWITCH:
            self._broadcasts.arrive(sighting)

    def _arrive(self, sighting: Sighting, ip: Ip) -> None:
        _, node, interface, _, frame = sighting
        mac = self._macs.get((node, interface))
        if mac is not None and frame[:6] != mac:
            return  # a switch that did not know where to send it
        key = node, interface, frame
        queue = self._on_link.get(key)
        stay = _Stay(node, interface, sighting.time_ns, frame, ip)
        if queue:
            tale = queue.popleft()
            if not queue:
                del self._on_link[key]
            tale.stays.append(stay)
            tale.last_ns = sighting.time_ns
        else:
            tale = self._begin(stay)
        self._met[self._address_key(node, ip)] = tale
        if node in self._forwards:
            self._inside.setdefault((node, content_key(frame, ip)), deque()).append(tale)

    def _leave(self, sighting: Sighting, ip: Ip) -> None:
        time_ns, node, interface, _, frame = sighting
        far = self._far.get((node, interface))
        if far is not None and self._macs.get(far, frame[:6]) != frame[:6]:
            return
        tale = self._forwarded(node, frame, ip) if node in self._forwards else None
        if tale is None:
            tale = self._begin(_Stay(node, None, time_ns, frame, ip))
            self._answer(tale, node, frame, ip)
        stay = tale.stays[-1]
        stay.went_out, stay.left_ns, stay.after, stay.after_ip = interface, time_ns, frame, ip
        tale.last_ns = time_ns
        if far is not None:
            self._on_link.setdefault((*far, frame), deque()).append(tale)

    def _forwarded(self, node: str, frame: bytes, ip: Ip) -> _Tale | None:
        """The packet that *node* had taken in and sends on now."""
        key = node, content_key(frame, ip)
        queue = self._inside.get(key)
        while queue:
            tale = queue[0]
            came = tale.stays[-1]
            if came.node != node or came.went_out is not None:  # over, or gone by another way
                queue.popleft()
                continue
            if came.ip.source == ip.destination and came.ip.destination == ip.source:
                return None  # an answer that looks like the question
            queue.popleft()
            if not queue:
                del self._inside[key]
            return tale
        return None

    def _begin(self, stay: _Stay) -> _Tale:
        self._number += 1
        tale = _Tale(self._number, [stay], stay.time_ns)
        self._tales.append(tale)
        return tale

    def _answer(self, tale: _Tale, node: str, frame: bytes, ip: Ip) -> None:
        """Whether a packet that *node* sends is the error which another one met there."""
        found: _Tale | None = None
        about = quoted(frame, ip) if ip.protocol in (ICMP, ICMP6) else None
        if about is not None:
            found = self._met.get(self._address_key(node, about))
        elif ip.protocol == TCP and len(frame) > ip.body + 13 and frame[ip.body + 13] & _RESET and ip.ports:
            asked = (ip.ports[1], ip.ports[0])
            found = self._met.get((node, ip.protocol, ip.destination, ip.source, asked))
        if found is not None:
            tale.about = found.number
            found.answered_by = node, frame, ip

    @staticmethod
    def _address_key(node: str, ip: Ip) -> tuple[str, int, bytes, bytes, tuple[int, int] | None]:
        return node, ip.protocol, ip.source, ip.destination, ip.ports

    # -- stories -------------------------------------------------------------------------------------------------

    def finished(self, now_ns: int) -> Iterator[Story]:
        """The stories that are over: in the order of sending, but for those that wait for what takes seconds."""
        old = now_ns - int(self.patience_s * 1e9)
        very_old = now_ns - int(_LONGEST_WAIT_S * 1e9)
        done = [
            tale
            for tale in self._waiting
            if tale.last_ns <= very_old
            or tale.answered_by is not None
            or (tale.last_ns <= old and not self._may_go_on(tale))
        ]
        if done:
            self._waiting = [tale for tale in self._waiting if tale not in done]
            yield from self._told(done)
        while self._tales and self._tales[0].last_ns <= old:
            tale = self._tales.popleft()
            if tale.answered_by is None and tale.last_ns > very_old and self._may_go_on(tale):
                self._waiting.append(tale)
            else:
                yield from self._told((tale,))
        yield from self._aside(old, very_old)
        yield from self._untold(old)

    def rest(self) -> Iterator[Story]:
        """All others, as far as they are known."""
        left = [*self._waiting, *self._tales]
        self._waiting.clear()
        self._tales.clear()
        yield from self._told(sorted(left, key=lambda tale: tale.number))
        yield from self._aside(None, None)
        yield from self._untold(None)

    def _may_go_on(self, tale: _Tale) -> bool:
        """Whether it may yet leave a queue, or an error come that says why it ended; unless a rule has dropped it."""
        stay = tale.stays[-1]
        if stay.went_out is not None or stay.node not in self._forwards:
            return False
        groups = self._verdicts.get((stay.node, *verdict_key(stay.frame, stay.ip)))
        if groups and any(one.verdict == "drop" for group in groups for one in group.traced):
            return False
        if self._reasons.waits(stay.node, stay.came_in, header(stay.frame, stay.ip)):
            return True
        is_router = self.network[stay.node].kind is Kind.ROUTER
        return is_router and not self._reasons.has_address(stay.node, stay.ip.destination)

    def _told(self, tales: Iterable[_Tale]) -> Iterator[Story]:
        for tale in tales:
            self._let_go(tale)
            crossings = tuple(self._crossing(stay) for stay in tale.stays)  # which takes its verdicts, wanted or not
            first, last = tale.stays[0], tale.stays[-1]
            if self.wanted(first.node, first.frame):
                ending = self._reasons.ending(crossings, tale.answered_by, last.ip)
                yield self._story(tale.number, crossings, ending, tale.about)

    def _let_go(self, tale: _Tale) -> None:
        """Nothing more is expected of it."""
        for stay in tale.stays:
            key = self._address_key(stay.node, stay.ip)
            if self._met.get(key) is tale:
                del self._met[key]
            if stay.went_out is None:
                self._forget(tale, stay)
        last = tale.stays[-1]
        if last.went_out is not None and last.after is not None:
            far = self._far.get((last.node, last.went_out))
            queue = None if far is None else self._on_link.get((*far, last.after))
            if far is not None and queue and tale in queue:
                queue.remove(tale)
                if not queue:
                    del self._on_link[*far, last.after]

    def _forget(self, tale: _Tale, stay: _Stay) -> None:
        key = stay.node, content_key(stay.frame, stay.ip)
        queue = self._inside.get(key)
        if queue and tale in queue:
            queue.remove(tale)
            if not queue:
                del self._inside[key]

    def _story(self, number: int, crossings: tuple[Crossing, ...], ending: Ending, about: int | None) -> Story:
        return Story(number, crossings, ending.fate, ending.target, ending.why, ending.answer, about)

    def _crossing(self, stay: _Stay) -> Crossing:
        after = None if stay.after is None or stay.after_ip is None else header(stay.after, stay.after_ip)
        return Crossing(
            stay.node,
            stay.came_in,
            stay.went_out,
            stay.time_ns,
            stay.left_ns,
            header(stay.frame, stay.ip),
            after,
            self._rules(stay.node, stay.frame, stay.ip),
        )

    def _rules(self, node: str, frame: bytes, ip: Ip) -> tuple[Rule, ...]:
        key = node, *verdict_key(frame, ip)
        groups = self._verdicts.get(key)
        if not groups:
            return ()
        group = groups.popleft()
        if not groups:
            del self._verdicts[key]
        return tuple(self._rule(node, one) for one in group.traced)

    def _rule(self, node: str, one: Traced) -> Rule:
        text = "" if one.handle is None else self.rule_text(node, one.table, one.chain, one.handle)
        return Rule(one.table, one.chain, one.handle, one.verdict, text)

    def _aside(self, old_ns: int | None, very_old_ns: int | None) -> Iterator[Story]:
        """Of questions, of broadcasts, and of what never left its sender."""
        for question in self._questions.over(old_ns):
            if self.wanted(question.node, question.frame):
                yield _question_story(question)
        for broadcast in self._broadcasts.over(old_ns):
            if self.wanted(broadcast.sent.node, broadcast.sent.frame):
                yield self._broadcast_story(broadcast)
        for leaver in self._leaving.missed(very_old_ns):
            if self.wanted(leaver.node, leaver.frame):
                yield self._missed_story(leaver)

    def _missed_story(self, leaver: Leaver) -> Story:
        node, frame, ip = leaver.node, leaver.frame, leaver.ip
        rules = self._rules(node, frame, ip)
        crossing = Crossing(node, None, None, leaver.time_ns, None, header(frame, ip), None, rules)
        _, hop = self._reasons.next_hop(node, crossing.before.destination.address)
        asked = self._questions.unanswered(node, hop)
        unanswered = "" if asked is None else f"{node} {asked.words}; nobody answered"
        self._number += 1
        return self._story(
            self._number, (crossing,), self._reasons.not_sent(crossing, leaver.interface, unanswered), None
        )

    def _broadcast_story(self, broadcast: Broadcast) -> Story:
        time_ns, node, interface, _, frame = broadcast.sent
        about = header(frame, broadcast.ip)
        rules = self._rules(node, frame, broadcast.ip)
        crossing = Crossing(node, None, interface, time_ns, time_ns, about, about, rules)
        fate = Fate.DELIVERED if broadcast.reached else Fate.LOST
        why = "" if broadcast.reached else "it reached nobody"
        return Story(broadcast.number, (crossing,), fate, None, why, reached=tuple(broadcast.reached))

    def _untold(self, old_ns: int | None) -> Iterator[Story]:
        """Packets that a rule dropped in the node that sent them: nobody saw these. And verdicts nobody asks for go."""
        keys = []
        for key, groups in self._verdicts.items():  # in order of time, about
            if old_ns is not None and groups[0].time_ns > old_ns - _GRACE_NS:
                break
            keys.append(key)
        for key in keys:
            for group in self._verdicts.pop(key):
                last = group.traced[-1]
                packet = traced_packet(last) if last.verdict == "drop" and last.came_in is None else None
                if packet is not None and self.wanted(key[0], packet[0]):
                    yield self._untold_story(key[0], group, *packet)

    def _untold_story(self, node: str, group: _Group, frame: bytes, ip: Ip) -> Story:
        rules = tuple(self._rule(node, one) for one in group.traced)
        crossing = Crossing(node, None, None, group.time_ns, None, header(frame, ip), None, rules)
        self._number += 1
        return self._story(self._number, (crossing,), self._reasons.ending((crossing,), None, ip), None)


def _question_story(question: Question) -> Story:
    ends = Endpoint(question.source), Endpoint(question.about)
    info = "who has" if question.protocol == "arp" else "neighbour solicitation"
    about = Header(question.protocol, *ends, 0, len(question.frame) - 14, info)
    crossing = Crossing(question.node, None, question.interface, question.time_ns, question.time_ns, about, about)
    fate = Fate.DELIVERED if question.answered_by else Fate.NO_NEIGHBOUR
    why = "" if question.answered_by else "nobody answered"
    return Story(question.number, (crossing,), fate, None, why, question.answered_by, question=question.words)
