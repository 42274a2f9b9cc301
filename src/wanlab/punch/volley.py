"""What punching over UDP and over TCP share: many pairs at once, each socket its own port, and when to stop waiting."""

from __future__ import annotations

import itertools
import os
import random
import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from wanlab.runtime.ports import bind_to_next

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

ROUNDS = 4
"""How often each peer tries. A pair that has not got through after so many rounds does not."""
QUIET = 0.05
"""Seconds without news after which half a round is over: on its way in a lab a packet takes far less, where its links
have no delay. A pair is given up after 2 x ROUNDS x QUIET = 0.4 s at the least, later on a machine with much to do."""
_MOST_SECONDS = 10.0  # for one round, whatever happens
_MEETINGS = 5  # tries to reach the rendezvous

Address = tuple[str, int]

_MAGIC = b"wlpunch"
_NOTE = struct.Struct("!7s8sIBB4sH")


class Word(IntEnum):
    """What a message says."""

    HERE = 1  # to the rendezvous: this is me
    THERE = 2  # from the rendezvous: that is where the other is
    PROBE = 3
    ANSWER = 4  # to a probe: so data goes both ways


@dataclass(frozen=True, slots=True)
class Note:
    """A message: of which run, which pair, which side of it, and, from the rendezvous, where the other is."""

    run: bytes
    number: int
    side: int
    word: Word
    where: Address = ("0.0.0.0", 0)

    def encode(self) -> bytes:
        """As bytes, always equally many."""
        address, port = self.where
        return _NOTE.pack(_MAGIC, self.run, self.number, self.side, self.word, IPv4Address(address).packed, port)


NOTE_SIZE = _NOTE.size


def decode(data: bytes) -> Note | None:
    """The note in a message; None for anything else that came by."""
    if len(data) != NOTE_SIZE:
        return None
    magic, run, number, side, word, address, port = _NOTE.unpack(data)
    if magic != _MAGIC or side > 1 or word not in set(Word):
        return None
    return Note(run, number, side, Word(word), (str(IPv4Address(address)), port))


@dataclass(slots=True)
class Peer:
    """One side of a pair."""

    node: str
    number: int
    """Of the pair, in this volley."""
    side: int
    """0 is the one that is a little earlier."""
    port: int = 0
    seen: Address | None = None
    """Where its packets come from, as the rendezvous saw it."""
    other: Address | None = None
    """Where the other is, as the rendezvous told it."""
    through: bool = False
    """Whether an answer of the other's has come back."""


_PORTS = range(20_000, 60_000)

# No port twice, until all have had their turn: what an earlier punch left behind in a NAT must not help or hinder
# a later one.
_ports = itertools.islice(itertools.cycle(_PORTS), random.randrange(len(_PORTS)), None)


@dataclass(slots=True)
class Volley:
    """Some pairs that punch at the same time. A subclass says how."""

    lab: Lab
    pairs: Sequence[tuple[str, str]]
    rendezvous: str
    run_id: bytes = field(default_factory=lambda: os.urandom(8))
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    opened: set[socket.socket] = field(default_factory=set)

    def run(self) -> list[tuple[Peer, Peer]]:
        """Punch, and tell what became of each pair."""
        peers = [(Peer(a, number, 0), Peer(b, number, 1)) for number, (a, b) in enumerate(self.pairs)]
        try:
            self.meet(peers)
            for _ in range(ROUNDS):
                for side in (0, 1):
                    # The earlier ones' packets have arrived before the later ones send: a pair's order is no accident.
                    waiting = [pair for pair in peers if not self._done(pair)]
                    if not waiting:
                        break
                    for pair in waiting:
                        self.punch(pair[side])
                        self.breathe()
                    self.settle()
        finally:
            self.selector.close()
            for each in self.opened:
                each.close()
        return peers

    @staticmethod
    def _done(pair: tuple[Peer, Peer]) -> bool:
        return all(peer.through for peer in pair) or any(peer.other is None for peer in pair)

    def meet(self, peers: Sequence[tuple[Peer, Peer]]) -> None:
        """Let everybody find the rendezvous, and learn where the other is."""
        self.open_rendezvous(peers)
        for _ in range(_MEETINGS):
            lost = [peer for pair in peers for peer in pair if peer.other is None]
            if not lost:
                break
            for peer in lost:
                self.call(peer)
                self.breathe()
            self.settle()

    def open_rendezvous(self, peers: Sequence[tuple[Peer, Peer]]) -> None:
        """Serve as rendezvous."""
        raise NotImplementedError

    def call(self, peer: Peer) -> None:
        """Tell the rendezvous where *peer* is."""
        raise NotImplementedError

    def punch(self, peer: Peer) -> None:
        """Send to the other once."""
        raise NotImplementedError

    # -- sockets -------------------------------------------------------------------------------------------------

    def open(self, node: str, kind: socket.SocketKind) -> socket.socket:
        """A socket in *node* that does not block."""
        made = self.lab[node].socket(socket.AF_INET, kind)
        made.setblocking(False)
        self.opened.add(made)
        return made

    def close(self, one: socket.socket) -> None:
        """Close a socket before the end; once is enough."""
        if one in self.opened:
            self.ignore(one)
            self.opened.remove(one)
            one.close()

    def watch(self, one: socket.socket, events: int, react: Callable[[], None]) -> None:
        """Call *react* when there is news of a socket."""
        self.ignore(one)
        self.selector.register(one, events, react)

    def ignore(self, one: socket.socket) -> None:
        """Watch it no longer."""
        if one in self.selector.get_map():
            self.selector.unregister(one)

    def settle(self) -> None:
        """Handle what comes, until nothing has come for a while."""
        end = time.monotonic() + _MOST_SECONDS
        while self.breathe(QUIET) and time.monotonic() < end:
            pass

    def breathe(self, seconds: float = 0) -> bool:
        """Handle what has come, so that no socket overflows while many are sent to; whether anything had."""
        events = self.selector.select(seconds)
        for key, _ in events:
            if key.fileobj in self.opened:  # none that was closed for an event before this one
                key.data()
        return bool(events)


def bind_to_new_port(one: socket.socket) -> int:
    """Bind a socket to a port that no punch of this program has had, and say which."""
    return bind_to_next(one, "0.0.0.0", _ports)
