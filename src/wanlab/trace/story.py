"""`Story`: what became of one packet, from the node that sent it to where it ended; and its form in JSON.

A story is told of the packet as such, whatever routers made of its addresses on the way: one crossing for each node
that it met, with the interfaces, its header before and after, and the rules that decided about it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from wanlab.capture.headers import Header

STORIES = "trace.jsonl"
"""The file that has them, one a line, in a run directory."""


class Fate(Enum):
    """How a packet ended."""

    DELIVERED = "delivered"  # to a node that has the address; whether a program read it is that node's business
    REFUSED = "refused"  # delivered, and answered by an error: nobody listens
    DROPPED = "dropped"  # by a rule
    NO_ROUTE = "no route"
    NOT_FORWARDED = "not forwarded"  # by a node that is no router
    EXPIRED = "expired"  # its TTL ran out
    TOO_BIG = "too big"  # for the next link, and not to be fragmented
    NO_NEIGHBOUR = "nobody has the address"
    QUEUE = "lost in a queue"
    LOST = "lost"  # seen for the last time at one place, and not at the next; why is not known
    UNKNOWN = "not known"  # of a capture of some link ends: nobody listened where it went


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of nftables that decided about a packet; or the policy of a chain."""

    table: str
    """`inet wanlab`."""
    chain: str
    handle: int | None
    """As `nft -a list ruleset` shows it; None: the chain's policy."""
    verdict: str
    """`accept`, `drop`."""
    text: str = ""
    """The rule as nft prints it, where it could be read."""

    def __str__(self) -> str:
        return f"{self.table} {self.chain}: {self.text or f'policy {self.verdict}'}"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rule:
        """Of :meth:`to_json`."""
        return cls(value["table"], value["chain"], value["handle"], value["verdict"], value["text"])

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "table": self.table,
            "chain": self.chain,
            "handle": self.handle,
            "verdict": self.verdict,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Crossing:
    """A node that the packet met."""

    node: str
    came_in: str | None
    """The interface by which it came; None: it was sent here."""
    went_out: str | None
    """The interface by which it left; None: it ended here."""
    time_ns: int
    """When it was first seen here: nanoseconds since 1970."""
    left_ns: int | None
    before: Header
    """As it came in, or as it was sent."""
    after: Header | None
    """As it went out."""
    rules: tuple[Rule, ...] = ()
    """Those that decided about it here, in order."""

    @property
    def translated(self) -> bool:
        """Whether its addresses or ports were changed here."""
        return self.after is not None and (
            (self.before.source, self.before.destination) != (self.after.source, self.after.destination)
        )

    @property
    def translation(self) -> str:
        """`10.1.0.1:5000 -> 172.16.0.1:5000`: what was changed here; empty where nothing was."""
        if self.after is None:
            return ""
        pairs = ((self.before.source, self.after.source), (self.before.destination, self.after.destination))
        return ", ".join(f"{before} -> {after}" for before, after in pairs if before != after)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Crossing:
        """Of :meth:`to_json`."""
        return cls(
            value["node"],
            value["came_in"],
            value["went_out"],
            value["time_ns"],
            value["left_ns"],
            Header.from_json(value["before"]),
            None if value["after"] is None else Header.from_json(value["after"]),
            tuple(Rule.from_json(rule) for rule in value["rules"]),
        )

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "node": self.node,
            "came_in": self.came_in,
            "went_out": self.went_out,
            "time_ns": self.time_ns,
            "left_ns": self.left_ns,
            "before": self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "rules": [rule.to_json() for rule in self.rules],
        }


@dataclass(frozen=True, slots=True)
class Story:
    """One packet, from end to end."""

    number: int
    """Its number in the trace, from 1 on, in the order of sending."""
    crossings: tuple[Crossing, ...]
    """The nodes that it met, the sender first."""
    fate: Fate
    target: str | None
    """The node that had the address which it was sent to; None: no node has it, or several have."""
    why: str = ""
    """What decided its fate, in words. Empty where it was delivered."""
    answer: str = ""
    """The error that it was answered by: `home-a: time exceeded`."""
    about: int | None = None
    """Of an ICMP error: the number of the story of the packet that it is about."""
    question: str = ""
    """Of ARP and neighbour discovery: `asked three times who has 10.1.0.9`. Such a story is of all these packets."""
    reached: tuple[str, ...] = ()
    """Of a broadcast or multicast: the hosts and routers that it came to."""

    @property
    def time_ns(self) -> int:
        """When it was sent: nanoseconds since 1970."""
        return self.crossings[0].time_ns

    @property
    def sender(self) -> str:
        """The node that sent it."""
        return self.crossings[0].node

    @property
    def last(self) -> str:
        """The node where it ended."""
        return self.crossings[-1].node

    @property
    def header(self) -> Header:
        """As it was sent."""
        return self.crossings[0].before

    @property
    def delivered(self) -> bool:
        """Whether it arrived."""
        return self.fate in (Fate.DELIVERED, Fate.REFUSED)

    def __str__(self) -> str:
        header = self.header
        if self.question:
            return f"{self.sender} {self.question}; {self.answer or self.why}"
        what = " ".join(filter(None, (header.protocol, header.info)))
        target = f"{self.target} " if self.target else ""
        changes = [f"{crossing.node}: {crossing.translation}" for crossing in self.crossings if crossing.translated]
        where = f" by {self.last}" if self.fate is Fate.DROPPED else f" at {self.last}"
        end = self.fate.value + ("" if self.delivered and self.last == self.target else where)
        if self.reached:
            end = f"{self.fate.value} to {', '.join(self.reached)}"
        why = f" ({self.why})" if self.why else ""
        said = f"; answered by {self.answer}" if self.answer else ""
        way = f" [{'; '.join(changes)}]" if changes else ""
        return f"{self.sender} -> {target}{header.destination} {what}: {end}{why}{said}{way}"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Story:
        """Of :meth:`to_json`. Raises KeyError, ValueError for what is none."""
        return cls(
            value["number"],
            tuple(Crossing.from_json(crossing) for crossing in value["crossings"]),
            Fate(value["fate"]),
            value["target"],
            value["why"],
            value["answer"],
            value["about"],
            value.get("question", ""),
            tuple(value.get("reached", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold: one line of a trace that was recorded."""
        return {
            "number": self.number,
            "sender": self.sender,
            "target": self.target,
            "fate": self.fate.value,
            "why": self.why,
            "answer": self.answer,
            "about": self.about,
            "question": self.question,
            "reached": list(self.reached),
            "crossings": [crossing.to_json() for crossing in self.crossings],
        }
