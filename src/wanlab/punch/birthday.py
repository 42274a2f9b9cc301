"""The birthday attack for real: many sockets behind the NAT whose ports cannot be known, many probes to find one."""

from __future__ import annotations

import math
import random
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wanlab.punch.theory import binomial_p_value, birthday
from wanlab.punch.udp import UdpVolley
from wanlab.punch.volley import Peer, Word

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

FALSE_ALARM = 1e-6
"""How often :attr:`Birthday.as_predicted` says no of a lab that is as it should be: once in a million measurements."""


@dataclass(frozen=True, slots=True)
class Birthday:
    """How often the attack succeeded."""

    sockets: int
    probes: int
    ports: int
    tries: int
    successes: int

    @property
    def predicted(self) -> float:
        """The rate at which it should."""
        return birthday(self.sockets, self.probes, self.ports)

    @property
    def p_value(self) -> float:
        """How probable so odd a count is, where the predicted rate is the true one."""
        return binomial_p_value(self.successes, self.tries, self.predicted)

    @property
    def as_predicted(self) -> bool:
        """Whether the count is one that the predicted rate gives, but for one measurement in a million."""
        return self.p_value >= FALSE_ALARM


def attack(
    lab: Lab,
    hard: Sequence[str],
    easy: str,
    rendezvous: str,
    ports: range,
    *,
    sockets: int = 16,
    probes: int = 64,
    tries: int = 300,
) -> Birthday:
    """Attack again and again, with fresh sockets each time, and count.

    *hard* are hosts, each behind a NAT that takes another port of *ports*, at random, for every destination, and lets
    only that destination in; *easy* is one whose port is known, behind a NAT that lets in only endpoints that it has
    sent to (else it needs no luck). The tries are spread over *hard*, since every try takes a port for each socket, and
    one towards the rendezvous, and the NAT keeps them for as long as its timers run: no NAT is asked for more than half
    of its ports. Raises ValueError where there are too few.
    """
    taken = math.ceil(tries / len(hard)) * (sockets + 1)
    if taken > len(ports) // 2:
        raise ValueError(f"{tries} tries behind {len(hard)} NATs take {taken} of {len(ports)} ports: more than half")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    at_once = max(1, soft // 2 // (sockets + 2))
    successes = 0
    for start in range(0, tries, at_once):
        pairs = [(hard[number % len(hard)], easy) for number in range(start, min(start + at_once, tries))]
        volley = _BirthdayVolley(lab, pairs, rendezvous, ports=ports, sockets_each=sockets, probes=probes)
        successes += sum(peer.through for _, peer in volley.run())
    return Birthday(sockets, probes, len(ports), tries, successes)


@dataclass(slots=True)
class _BirthdayVolley(UdpVolley):
    ports: range = range(0)
    sockets_each: int = 0
    probes: int = 0
    fired: set[tuple[int, int]] = field(default_factory=set)

    def punch(self, peer: Peer) -> None:
        """Once, and then never again: a second round would be a second attack."""
        key = peer.number, peer.side
        if key in self.fired:
            return
        self.fired.add(key)
        assert peer.other is not None
        if peer.side == 0:
            for _ in range(self.sockets_each):
                extra = Peer(peer.node, peer.number, peer.side)
                self.say_from(self.open_socket(extra), extra, Word.PROBE, peer.other)
        else:
            address, _ = peer.other
            for port in random.sample(self.ports, self.probes):
                self.say(peer, Word.PROBE, (address, port))
                self.breathe()
