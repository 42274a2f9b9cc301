"""Questions for a neighbour's MAC address, by ARP (RFC 826) or neighbour discovery (RFC 4861), and who answered.

One question is all that is asked for one address until somebody answers, or nobody has for a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from wanlab.capture.decode import ICMP6, parse_ip
from wanlab.topology.network import IPAddress, Network

_ARP = b"\x08\x06"
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136
_OVER_NS = 1_500_000_000  # the kernel asks again after a second (net.ipv4.neigh.*.retrans_time_ms)
_REMEMBERED_NS = 10_000_000_000  # so long what nobody has answered explains why packets did not leave


class Asked(NamedTuple):
    """What one frame says of a neighbour's address."""

    is_answer: bool
    source: IPAddress
    about: IPAddress


@dataclass(slots=True, eq=False)
class Question:
    """What a node asked at one of its interfaces."""

    number: int
    node: str
    interface: str
    about: IPAddress
    source: IPAddress
    protocol: str
    frame: bytes
    """The first one."""
    port: str
    """Where its frames are counted: of a bridge one port, though all send them."""
    time_ns: int
    last_ns: int
    times: int = 1
    answered_by: str = ""
    """A node, or a MAC address of nobody's; and what it said."""

    @property
    def words(self) -> str:
        """`asked three times who has 10.1.0.9`."""
        often = {1: "", 2: " twice", 3: " three times"}.get(self.times, f" {self.times} times")
        return f"asked{often} who has {self.about}"


def read_question(frame: bytes) -> Asked | None:
    """What a frame asks or answers; None where it does neither. An announcement of the own address is no question."""
    if frame[12:14] == _ARP:
        if len(frame) < 42:
            return None
        operation = int.from_bytes(frame[20:22], "big")
        source, target = (ip_address(frame[at : at + 4]) for at in (28, 38))
        if operation == _REPLY:
            return Asked(True, source, source)
        return Asked(False, source, target) if operation == _REQUEST and source != target else None
    ip = parse_ip(frame)
    if ip is None or ip.protocol != ICMP6 or len(frame) < ip.body + 24:
        return None
    about = ip_address(frame[ip.body + 8 : ip.body + 24])
    kind = frame[ip.body]
    if kind not in (_SOLICITATION, _ADVERTISEMENT):
        return None
    return Asked(kind == _ADVERTISEMENT, ip_address(ip.source), about)


class Questions:
    """All that was asked; does no I/O."""

    def __init__(self, network: Network) -> None:
        self._owners = {
            bytes.fromhex(interface.mac.replace(":", "")): (node.name, interface.name)
            for node in network
            for interface in node.interfaces
            if interface.mac is not None
        }
        self._open: dict[tuple[str, IPAddress], Question] = {}
        self._unanswered: dict[tuple[str, IPAddress], Question] = {}

    def sender(self, frame: bytes) -> tuple[str, str] | None:
        """The node and interface that a frame was made at, by its MAC address."""
        return self._owners.get(frame[6:12])

    def ask(self, number: int, frame: bytes, said: Asked, port: str, time_ns: int) -> bool:
        """A question leaves the node that asks, by its interface or *port*; whether it is a new one."""
        asker = self.sender(frame)
        if asker is None:
            return False
        node, interface = asker
        known = self._open.get((node, said.about))
        if known is None:
            protocol = "arp" if frame[12:14] == _ARP else "icmp6"
            self._open[node, said.about] = Question(
                number, node, interface, said.about, said.source, protocol, frame, port, time_ns, time_ns
            )
            return True
        if known.port == port:
            known.times += 1
            known.last_ns = time_ns
        return False

    def answer(self, node: str, frame: bytes, said: Asked, time_ns: int) -> None:
        """An answer comes in at *node*."""
        question = self._open.get((node, said.about))
        if question is not None and not question.answered_by:
            answerer = self.sender(frame)
            mac = frame[6:12].hex(":")
            question.answered_by = f"{answerer[0]} answered that it is at {mac}" if answerer else f"{mac} answered"
            question.last_ns = time_ns
            self._unanswered.pop((node, said.about), None)

    def over(self, now_ns: int | None) -> Iterator[Question]:
        """Those that are answered, or will not be; with None all that are left."""
        for key, question in list(self._open.items()):
            if now_ns is None or question.answered_by or question.last_ns <= now_ns - _OVER_NS:
                del self._open[key]
                if not question.answered_by:
                    self._unanswered[key] = question
                yield question
        if now_ns is not None:
            old = [key for key, each in self._unanswered.items() if each.last_ns < now_ns - _REMEMBERED_NS]
            for key in old:
                del self._unanswered[key]

    def is_open(self, node: str, about: IPAddress) -> bool:
        """Whether an answer may yet come."""
        question = self._open.get((node, about))
        return question is not None and not question.answered_by

    def unanswered(self, node: str, about: IPAddress) -> Question | None:
        """What *node* asked for that address, where nobody has answered."""
        question = self._open.get((node, about)) or self._unanswered.get((node, about))
        return None if question is None or question.answered_by else question
