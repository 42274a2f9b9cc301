"""Whether two peers, each behind a NAT of its own, can get through to each other: predicted from what the NATs are.

Nothing is looked up in a table: two abstract NATs (`machine.py`) stand in memory, two peers punch through them as
`attempt.py` does in a lab, and what is left to chance is gone through in all its cases. So the prediction is what
follows from mapping, filtering, port choice and the rest, and a lab that does otherwise has a fault, or this has.

Both peers have told a rendezvous where they are, and been told by it from which endpoint the other's packets come.

- UDP (RFC 5128, section 3.3): each sends to the other's endpoint from the same socket, and answers whoever is heard.
- TCP (Ford, Srisuresh, Kegel: "Peer-to-Peer Communication Across Network Address Translators", 2005, section 4.2):
  each listens on the port that spoke with the rendezvous and connects from it to the other's endpoint, again where that
  was refused. A SYN that meets one's own is a simultaneous open (RFC 9293, section 3.5).

One peer is always a little earlier, and its first packet finds the other's NAT unprepared: here it is *a*. The order
matters where a router answers what nobody asked for (`unsolicited`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import comb

from wanlab.punch.machine import Endpoint, Fate, Machine, Transport, Verdict, possibilities
from wanlab.topology.nat import Filtering, Nat, Ports

_ROUNDS = 3  # in the abstract nothing gets lost: what the third round does not bring, none does
_CERTAIN = 1 - 1e-9
_RENDEZVOUS_PORT = {Transport.UDP: 53, Transport.TCP: 443}  # the last that guest networks close
_SOCKETS = {"a": 40_000, "b": 50_000}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What becomes of a punch."""

    connects: bool
    """Whether the two get through, when nobody is lucky."""
    odds: float
    """How probable it is that they do: 1, 0, or what a guess is worth."""
    why: str
    """What decides it, with the axis of the NAT's description by its name."""

    @property
    def luck(self) -> bool:
        """Whether it is left to chance."""
        return not self.connects and self.odds > 0


@lru_cache(maxsize=8192)
def predict(nat_a: Nat | None, nat_b: Nat | None, transport: Transport = Transport.UDP) -> Prediction:
    """What happens when *a* and *b* punch at once, *a*'s first packet arriving before *b* has sent its own."""
    odds = 0.0
    usual: _Punch | None = None
    for chance, punch in possibilities(lambda fate: _punch(nat_a, nat_b, transport, fate)):
        usual = usual or punch
        odds += chance * punch.connected
    assert usual is not None
    odds = 1.0 if odds > _CERTAIN else odds
    connects = usual.connected and odds == 1.0
    return Prediction(connects, odds, _why(usual, connects, odds))


def birthday(sockets: int, probes: int, ports: int) -> float:
    """The probability that one of *probes* different ports, or more, is one of *sockets* different ones, of *ports*.

    The birthday attack on a NAT whose ports cannot be known: the side behind it sends from many sockets to the other's
    endpoint, which is known, and the other probes as many ports as it likes. All n miss with C(N-k, n) / C(N, n), where
    k sockets hold k different ports of N, since towards one destination no two mappings share one. Source: D. Anderson,
    "How NAT traversal works", 2020, tailscale.com/blog/how-nat-traversal-works (256 sockets: 50% with 174 probes).

    Raises ValueError where there are more sockets or probes than ports.
    """
    if min(sockets, probes) < 0 or ports < max(sockets, probes, 1):
        raise ValueError(f"{sockets} sockets and {probes} probes on {ports} ports")
    return 1 - comb(ports - sockets, probes) / comb(ports, probes)


def binomial_p_value(successes: int, tries: int, rate: float) -> float:
    """How probable a count at least as odd as this one is where *rate* is true: the exact two-sided binomial test."""
    weights = [comb(tries, count) * rate**count * (1 - rate) ** (tries - count) for count in range(tries + 1)]
    limit = weights[successes] * (1 + 1e-7)  # equally probable ones count, whatever the last digit says
    return min(1.0, sum(weight for weight in weights if weight <= limit))


# -- the peers --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Peer:
    machine: Machine
    heard: dict[Endpoint, str] = field(default_factory=dict)
    """Who was heard (UDP), or is connected with (TCP), and how far that has come."""
    expected: Endpoint | None = None
    """Where the other is, as the rendezvous sees it."""
    silenced: bool = False
    """Whether its own router let its packets not out."""
    moved: bool = False
    """Whether its packets came from another endpoint than the other expects."""
    kept_out: bool = False
    """Whether its router let in nothing from the other."""


class _Punch:
    """Two peers, their NATs, and the packets between them, each followed to its end before the next is sent."""

    def __init__(self, nat_a: Nat | None, nat_b: Nat | None, transport: Transport, fate: Fate) -> None:
        self.a, self.b = (
            _Peer(Machine(name, nat, _SOCKETS[name], transport, fate)) for name, nat in (("a", nat_a), ("b", nat_b))
        )
        rendezvous = Endpoint("rendezvous", _RENDEZVOUS_PORT[transport])
        self.a.expected, self.b.expected = self.b.machine.leave(rendezvous), self.a.machine.leave(rendezvous)

    @property
    def met(self) -> bool:
        """Whether both could tell the rendezvous where they are."""
        return self.a.expected is not None and self.b.expected is not None

    @property
    def connected(self) -> bool:
        """Whether data goes both ways."""
        return all("through" in peer.heard.values() for peer in (self.a, self.b))

    def run(self) -> None:
        for _ in range(_ROUNDS):
            for peer in (self.a, self.b):
                if self.met and not self.connected:
                    self.punch(peer)

    def punch(self, peer: _Peer) -> None:
        raise NotImplementedError

    def receive(self, peer: _Peer, packet: str, source: Endpoint) -> None:
        raise NotImplementedError

    def refused(self, peer: _Peer, packet: str, to: Endpoint, verdict: Verdict) -> None:
        """The other's router answered in its stead."""

    def send(self, peer: _Peer, packet: str, to: Endpoint) -> None:
        other = self.b if peer is self.a else self.a
        source = peer.machine.leave(to)
        if source is None:
            peer.silenced = True
            return
        peer.moved |= source != other.expected
        verdict, seen = other.machine.arrive(source, peer.machine.whom(to))
        if verdict is Verdict.DELIVERED:
            self.receive(other, packet, seen)
        else:
            other.kept_out = True
            if verdict is not Verdict.DROPPED:
                self.refused(peer, packet, to, verdict)


class _Udp(_Punch):
    def punch(self, peer: _Peer) -> None:
        assert peer.expected is not None
        for to in dict.fromkeys((peer.expected, *peer.heard)):
            self.send(peer, "probe", to)

    def receive(self, peer: _Peer, packet: str, source: Endpoint) -> None:
        if packet == "answer":
            peer.heard[source] = "through"
        else:
            peer.heard.setdefault(source, "heard")
            self.send(peer, "answer", source)


class _Tcp(_Punch):
    """Each peer's states by remote endpoint: those of RFC 9293, as far as opening goes. "through" is ESTABLISHED."""

    def punch(self, peer: _Peer) -> None:
        assert peer.expected is not None
        if peer.heard.get(peer.expected, "syn-sent") == "syn-sent":
            peer.heard[peer.expected] = "syn-sent"
            self.send(peer, "syn", peer.expected)

    def receive(self, peer: _Peer, packet: str, source: Endpoint) -> None:
        state = peer.heard.get(source)
        match packet, state:
            case "syn", None | "syn-sent" | "syn-received":  # None: it listens; else the two SYNs have crossed
                peer.heard[source] = "syn-received"
                self.send(peer, "syn-ack", source)
            case "syn-ack", "syn-sent" | "syn-received":
                peer.heard[source] = "through"
                self.send(peer, "ack", source)
            case "ack", "syn-received":
                peer.heard[source] = "through"

    def refused(self, peer: _Peer, packet: str, to: Endpoint, verdict: Verdict) -> None:
        # The attempt ends, and is made again in the next round: "not necessarily fatal, as long as the applications
        # re-try outgoing connection attempts" (Ford et al., section 5.2).
        if packet == "syn" and peer.heard.get(to) == "syn-sent":
            del peer.heard[to]
            if verdict is Verdict.RESET:
                peer.machine.forget(to)


def _punch(nat_a: Nat | None, nat_b: Nat | None, transport: Transport, fate: Fate) -> _Punch:
    punch = (_Udp if transport is Transport.UDP else _Tcp)(nat_a, nat_b, transport, fate)
    punch.run()
    return punch


# -- in words ---------------------------------------------------------------------------------------------------------


def _why(punch: _Punch, connects: bool, odds: float) -> str:
    peers = (("a", punch.a, "b", punch.b), ("b", punch.b, "a", punch.a))
    silenced = [
        f"{name}'s router lets it talk to few ports only ({peer.machine.transport.value}_ports), or to no more (limit)"
        for name, peer, _, _ in peers
        if peer.silenced
    ]
    if silenced:
        return "; ".join(silenced)
    parts = [_moved(name, peer) for name, peer, _, _ in peers if peer.moved and peer.machine.nat is not None]
    if not parts and not connects:
        return "; ".join(
            f"{name}'s router answered each packet that {name} had not yet asked for" for name, *_ in peers
        )
    if not parts:
        return "both ports are known: each mapping serves the rendezvous and the peer alike"
    if not connects:
        parts += [
            f"{name}'s filtering ({_filtering(peer)}) asks for the very {'port' if _by_port(peer) else 'address'}"
            for name, peer, _, other in peers
            if other.moved and peer.kept_out
        ]
        if odds > 0:
            parts.append(f"it takes a lucky guess: {describe_odds(odds)}")
    else:
        parts += [
            f"{name} lets it in ({_filtering(peer)})" for name, peer, _, other in peers if other.moved and peer.heard
        ]
    return "; ".join(parts)


def _moved(name: str, peer: _Peer) -> str:
    nat = peer.machine.nat
    assert nat is not None
    if peer.machine.trapped:
        return f"{name}'s router answered the peer's early packet (unsolicited accept), which took {name}'s port"
    kind = "" if nat.ports is Ports.PRESERVE else f", ports {nat.ports.value}"
    return f"{name}'s port for its peer cannot be known (mapping {nat.mapping.value}{kind})"


def _filtering(peer: _Peer) -> str:
    return "no NAT" if peer.machine.nat is None else f"filtering {peer.machine.nat.filtering.value}"


def _by_port(peer: _Peer) -> bool:
    nat = peer.machine.nat
    return nat is not None and nat.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT


def describe_odds(odds: float) -> str:
    """A probability as a person says it: `63%`, `1 in 64,512`."""
    return f"{odds:.0%}" if odds >= 0.01 else f"1 in {round(1 / odds):,}"
