"""The filter language of captures and traces: a part of pcap-filter(7), in its words and with its meaning.

    udp port 53                         tcp or icmp
    host alice and not arp              src net 10.1.0.0/24 and dst port 80 or 443
    ip6 host 2001:db8::1                udp portrange 6000-6100 and (greater 100 or host bob)

- `host`, `net`, `port`, `portrange`, each with `src`, `dst`, `src or dst`, `src and dst` and a protocol before it;
- `ip`, `ip6`, `arp`, `tcp`, `udp`, `icmp`, `icmp6`; `less LENGTH`, `greater LENGTH`: the frame's, that one included;
- `and`, `or`, `not` (`&&`, `||`, `!`) and parentheses. As in pcap-filter, `and` and `or` bind equally, from the left,
  and a bare name or number is what the one before it was: `port 80 or 443`.

A host may be called by its name in the lab, and stands for all its addresses. The language is parsed here into tests of
a packet; `bpf.py` makes of these what the kernel runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from wanlab.errors import UsageError, did_you_mean
from wanlab.topology.network import IPAddress

IPNetwork = IPv4Network | IPv6Network

Names = Callable[[str], Collection[IPAddress]]
"""The addresses of a host of that name; none: there is no such host."""

PROTOCOLS = ("ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6")
_TYPES = ("host", "net", "port", "portrange")
_DIRECTIONS = ("src", "dst")
_LENGTHS = ("less", "greater")
_OPERATORS = {"&&": "and", "||": "or", "!": "not"}
WORDS = frozenset((*PROTOCOLS, *_TYPES, *_DIRECTIONS, *_LENGTHS, "and", "or", "not", "(", ")", *_OPERATORS))
"""The language's own words: what begins with one of them is no name of a node."""

_TOKEN = re.compile(r"\(|\)|&&|\|\||!|[^\s()!&|]+|\S")
_CARRIERS = ("tcp", "udp")
"""Protocols that a port may be asked of by name."""


class Direction(Enum):
    """Of which end of a packet something is asked."""

    SOURCE = "src"
    DESTINATION = "dst"
    EITHER = "src or dst"
    BOTH = "src and dst"


@dataclass(frozen=True, slots=True)
class Protocol:
    """A packet of that protocol."""

    name: str


@dataclass(frozen=True, slots=True)
class Net:
    """One whose addresses are in one of these networks; a host is a network of one address."""

    networks: tuple[IPNetwork, ...]
    direction: Direction
    protocol: str | None


@dataclass(frozen=True, slots=True)
class Port:
    """One with a port from *first* to *last*."""

    first: int
    last: int
    direction: Direction
    protocol: str | None


@dataclass(frozen=True, slots=True)
class Length:
    """One of *least* to *most* bytes, where these are given."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """One that *what* does not fit."""

    what: Condition


@dataclass(frozen=True, slots=True)
class And:
    """One that all of these fit."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One that any of these fits."""

    parts: tuple[Condition, ...]


Condition = Protocol | Net | Port | Length | Not | And | Or


@dataclass(frozen=True, slots=True)
class _Qualifiers:
    """What stands before a name or a number, and holds for the next one too."""

    type: str | None = None
    direction: Direction = Direction.EITHER
    protocol: str | None = None


def no_names(_: str) -> tuple[IPAddress, ...]:
    """Where there are no names of hosts."""
    return ()


def parse(text: str, names: Names = no_names) -> Condition | None:
    """What *text* asks of a packet; None for an empty one, which all packets fit.

    Raises UsageError with the place where it cannot be understood.
    """
    parser = _Parser(text, names)
    return None if parser.word is None else parser.whole()


class _Parser:
    """Reads from left to right."""

    def __init__(self, text: str, names: Names) -> None:
        self._text = text
        self._names = names
        self._words = [_OPERATORS.get(word, word) for word in _TOKEN.findall(text)]
        self._position = 0
        self._last = _Qualifiers()

    @property
    def word(self) -> str | None:
        """The next word; None at the end."""
        return self._words[self._position] if self._position < len(self._words) else None

    def error(self, what: str, hint: str | None = None) -> UsageError:
        """What is wrong, and where."""
        read = " ".join(self._words[: self._position])
        place = f" after {read!r}" if read and self.word is not None else ""
        return UsageError(f"filter {self._text!r}: {what}{place}", hint=hint)

    def _take(self) -> str:
        word = self.word
        if word is None:
            raise self.error("it ends too early", "docs: see-packets, or man pcap-filter")
        self._position += 1
        return word

    def _taken(self, *wanted: str) -> str | None:
        word = self.word
        if word not in wanted:
            return None
        self._position += 1
        return word

    # -- the grammar ---------------------------------------------------------------------------------------------

    def whole(self) -> Condition:
        """All of it."""
        condition = self.expression()
        if self.word is not None:
            raise self.error(f"{self.word!r} is not expected", "join conditions by `and` or `or`")
        return condition

    def expression(self) -> Condition:
        """Conditions joined by `and` and `or`, which bind equally."""
        condition = self._term()
        joined: type[And] | type[Or] | None = None
        while (joint := self._taken("and", "or")) is not None:
            kind = And if joint == "and" else Or
            before = condition.parts if isinstance(condition, kind) and kind is joined else (condition,)
            condition = kind((*before, self._term()))
            joined = kind
        return condition

    def _term(self) -> Condition:
        if self._taken("not"):
            return Not(self._term())
        if self._taken("("):
            condition = self.expression()
            if not self._taken(")"):
                raise self.error("a `(` is never closed")
            return condition
        return self._primitive()

    def _primitive(self) -> Condition:
        if (which := self._taken(*_LENGTHS)) is not None:
            length = self._number(self._take(), "a length", 65535)
            return Length(most=length) if which == "less" else Length(least=length)
        protocol = self._taken(*PROTOCOLS)
        direction = self._direction()
        type_ = self._taken(*_TYPES)
        if type_ is None and direction is None:
            if protocol is not None:
                self._last = _Qualifiers(protocol=protocol)
                return Protocol(protocol)
            if self._last.type is None:
                word = self._take()
                self._position -= 1
                hint = did_you_mean(word, WORDS) or f"a host is `host {word}`, a port `port {word}`"
                raise self.error(f"{word!r} is no condition", hint)
        else:
            # `src 10.0.0.1` is `src host 10.0.0.1`
            self._last = _Qualifiers(type_ or "host", direction or Direction.EITHER, protocol)
        return self._about(self._last)

    def _direction(self) -> Direction | None:
        first = self._taken(*_DIRECTIONS)
        if first is None:
            return None
        rest = self._words[self._position : self._position + 2]
        if len(rest) == 2 and rest[0] in ("and", "or") and rest[1] in _DIRECTIONS and rest[1] != first:
            # `src or dst port 53`; but `src or dst host` would be the same, so it cannot be two conditions
            self._position += 2
            return Direction.BOTH if rest[0] == "and" else Direction.EITHER
        return Direction(first)

    def _about(self, last: _Qualifiers) -> Condition:
        word = self._take()
        if last.type == "host":
            return Net(self._host(word, last.protocol), last.direction, last.protocol)
        if last.type == "net":
            return Net((self._network(word, last.protocol),), last.direction, last.protocol)
        if last.protocol not in (None, *_CARRIERS):
            raise self.error(f"{last.protocol} has no ports", "udp, tcp or nothing stands before a port")
        first, dash, end = word.partition("-") if last.type == "portrange" else (word, "", "")
        low = self._number(first, "a port", 65535)
        high = self._number(end, "a port", 65535) if dash else low
        return Port(min(low, high), max(low, high), last.direction, last.protocol)

    # -- names and numbers ---------------------------------------------------------------------------------------

    def _number(self, word: str, what: str, most: int) -> int:
        if not word.isdecimal() or int(word) > most:
            raise self.error(f"{word!r} is not {what}", f"a number from 0 to {most}")
        return int(word)

    def _host(self, word: str, protocol: str | None) -> tuple[IPNetwork, ...]:
        addresses: Collection[IPAddress] = (ip_address(word),) if _is_address(word) else self._names(word)
        if not addresses:
            raise self.error(f"{word!r} is no address and no node of the lab")
        return self._fitting(word, [ip_network(address) for address in addresses], protocol)

    def _network(self, word: str, protocol: str | None) -> IPNetwork:
        padded = word
        if re.fullmatch(r"\d+(\.\d+){0,2}", word):  # `net 10.1` is 10.1.0.0/16
            parts = word.split(".")
            padded = f"{'.'.join(parts + ['0'] * (4 - len(parts)))}/{8 * len(parts)}"
        try:
            network = ip_network(padded)
        except ValueError as error:
            raise self.error(f"{word!r} is no network: {error}", "as 10.1.0.0/24 or 2001:db8::/32") from None
        return self._fitting(word, [network], protocol)[0]

    def _fitting(self, word: str, found: list[IPNetwork], protocol: str | None) -> tuple[IPNetwork, ...]:
        if protocol not in (None, "ip", "ip6", "arp"):
            raise self.error(
                f"{protocol!r} stands before a host or net", f"`{protocol} and host {word}` is what you mean"
            )
        version = {None: None, "ip": 4, "arp": 4, "ip6": 6}[protocol]
        fitting = tuple(network for network in found if version in (None, network.version))
        if not fitting:
            raise self.error(f"{word!r} has no address for {protocol}")
        return fitting


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True
