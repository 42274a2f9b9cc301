"""UDP hole punching for real (RFC 5128, section 3.3): one socket a peer, for the rendezvous and for the other."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from wanlab.punch.volley import Address, Note, Peer, Volley, Word, bind_to_new_port, decode

RENDEZVOUS_PORT = 53  # the last that guest networks close


@dataclass(slots=True)
class Opened:
    """A socket, and who was heard by it."""

    endpoint: socket.socket
    heard: dict[Address, None] = field(default_factory=dict)
    """From where the other was heard: it may come from another port than the rendezvous saw."""


@dataclass(slots=True)
class UdpVolley(Volley):
    """Pairs that punch over UDP."""

    sockets: dict[tuple[int, int], Opened] = field(default_factory=dict)
    port: int | None = None
    """The port that peers send from; None: each has one of its own."""

    def open_rendezvous(self, peers: Sequence[tuple[Peer, Peer]]) -> None:
        counter = self.open(self.rendezvous, socket.SOCK_DGRAM)
        counter.bind(("0.0.0.0", RENDEZVOUS_PORT))
        self.watch(counter, selectors.EVENT_READ, lambda: self._introduce(counter, peers))

    def _introduce(self, counter: socket.socket, peers: Sequence[tuple[Peer, Peer]]) -> None:
        for note, source in self._notes(counter):
            if note.word is not Word.HERE:
                continue
            pair = peers[note.number]
            pair[note.side].seen = source
            for me, other in (pair, reversed(pair)):
                if me.seen and other.seen:
                    self._send(counter, Note(self.run_id, me.number, me.side, Word.THERE, other.seen), me.seen)

    def call(self, peer: Peer) -> None:
        key = peer.number, peer.side
        if key not in self.sockets:
            self.sockets[key] = self.open_socket(peer, self.port)
        address = str(self.lab[self.rendezvous].address)
        self.say(peer, Word.HERE, (address, RENDEZVOUS_PORT))

    def open_socket(self, peer: Peer, port: int | None = None) -> Opened:
        """A socket of *peer*'s on that port, or one of its own, which answers who speaks to it. Raises OSError."""
        mine = Opened(self.open(peer.node, socket.SOCK_DGRAM))
        if port is None:
            peer.port = bind_to_new_port(mine.endpoint)
        else:
            mine.endpoint.bind(("0.0.0.0", port))
            peer.port = port
        self.watch(mine.endpoint, selectors.EVENT_READ, lambda: self._hear(peer, mine))
        return mine

    def punch(self, peer: Peer) -> None:
        assert peer.other is not None
        for to in dict.fromkeys((peer.other, *self.sockets[peer.number, peer.side].heard)):
            self.say(peer, Word.PROBE, to)

    def _hear(self, peer: Peer, mine: Opened) -> None:
        for note, source in self._notes(mine.endpoint):
            if note.word is Word.THERE:
                peer.other = note.where
            elif note.number == peer.number and note.side != peer.side:
                mine.heard[source] = None
                if note.word is Word.ANSWER:
                    peer.through = True
                elif note.word is Word.PROBE:
                    self.say_from(mine, peer, Word.ANSWER, source)

    def _notes(self, endpoint: socket.socket) -> list[tuple[Note, Address]]:
        notes = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = endpoint.recvfrom(1024)
                note = decode(data)
                if note is not None and note.run == self.run_id and note.number < len(self.pairs):
                    notes.append((note, source))
        return notes

    def say(self, peer: Peer, word: Word, to: Address) -> None:
        """Send a word from the socket that met the rendezvous."""
        self.say_from(self.sockets[peer.number, peer.side], peer, word, to)

    def say_from(self, mine: Opened, peer: Peer, word: Word, to: Address) -> None:
        """Send a word from another one."""
        self._send(mine.endpoint, Note(self.run_id, peer.number, peer.side, word), to)

    @staticmethod
    def _send(endpoint: socket.socket, note: Note, to: Address) -> None:
        with contextlib.suppress(OSError):  # no buffer, no route: as good as lost on the way
            endpoint.sendto(note.encode(), to)
