"""TCP hole punching for real (Ford, Srisuresh, Kegel, 2005, section 4): listen, and connect from the same port."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wanlab.punch.volley import NOTE_SIZE, Note, Peer, Volley, Word, bind_to_new_port, decode

RENDEZVOUS_PORT = 443  # the last that guest networks close

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: no connection stays behind in TIME_WAIT
_TAKEN = (errno.EADDRNOTAVAIL, errno.EADDRINUSE)


@dataclass(slots=True)
class _Ends:
    """A peer's sockets."""

    meeting: socket.socket
    listener: socket.socket | None = None
    attempt: socket.socket | None = None
    connected: bool = False
    """Whether any connection stands."""


@dataclass(slots=True)
class TcpVolley(Volley):
    """Pairs that punch over TCP."""

    ends: dict[tuple[int, int], _Ends] = field(default_factory=dict)
    visitors: dict[tuple[int, int], socket.socket] = field(default_factory=dict)
    """At the rendezvous."""

    # -- the rendezvous ------------------------------------------------------------------------------------------

    def open_rendezvous(self, peers: Sequence[tuple[Peer, Peer]]) -> None:
        door = self._open(self.rendezvous)
        door.bind(("0.0.0.0", RENDEZVOUS_PORT))
        door.listen(2 * len(peers))
        self.watch(door, selectors.EVENT_READ, lambda: self._accept(door, lambda one: self._admit(one, peers)))

    def _admit(self, visitor: socket.socket, peers: Sequence[tuple[Peer, Peer]]) -> None:
        def introduce(note: Note) -> None:
            pair = peers[note.number]
            pair[note.side].seen = visitor.getpeername()
            self.visitors[note.number, note.side] = visitor
            for me, other in (pair, reversed(pair)):
                if me.seen and other.seen:
                    there = Note(self.run_id, me.number, me.side, Word.THERE, other.seen)
                    self._send(self.visitors[me.number, me.side], there)

        self._read_notes(visitor, introduce)

    def call(self, peer: Peer) -> None:
        key = peer.number, peer.side
        if key in self.ends:
            return  # its SYN is sent again by the kernel, if need be
        meeting = self._open(peer.node)
        peer.port = bind_to_new_port(meeting)
        self.ends[key] = _Ends(meeting)

        def told(note: Note) -> None:
            if note.word is Word.THERE:
                peer.other = note.where

        def arrived() -> None:
            self._send(meeting, Note(self.run_id, *key, Word.HERE))
            self._read_notes(meeting, told)

        self._connect(meeting, (str(self.lab[self.rendezvous].address), RENDEZVOUS_PORT), arrived)

    # -- the peers -----------------------------------------------------------------------------------------------

    def punch(self, peer: Peer) -> None:
        assert peer.other is not None
        ends = self.ends[peer.number, peer.side]
        if ends.listener is None:
            listener = ends.listener = self._open(peer.node)
            listener.bind(("0.0.0.0", peer.port))
            listener.listen(8)
            self.watch(
                listener,
                selectors.EVENT_READ,
                lambda: self._accept(listener, lambda one: self._greet(peer, one)),
            )
        if ends.connected:
            return
        if ends.attempt is not None:
            self.close(ends.attempt)
        attempt = ends.attempt = self._open(peer.node)
        attempt.bind(("0.0.0.0", peer.port))
        self._connect(attempt, peer.other, lambda: self._greet(peer, attempt))

    def _greet(self, peer: Peer, connection: socket.socket) -> None:
        """A connection stands: whether it carries data both ways remains to be seen."""
        key = peer.number, peer.side
        self.ends[key].connected = True

        def hear(note: Note) -> None:
            if note.number == peer.number and note.side != peer.side:
                if note.word is Word.PROBE:
                    self._send(connection, Note(self.run_id, *key, Word.ANSWER))
                elif note.word is Word.ANSWER:
                    peer.through = True

        self._send(connection, Note(self.run_id, *key, Word.PROBE))
        self._read_notes(connection, hear)

    # -- sockets -------------------------------------------------------------------------------------------------

    def _open(self, node: str) -> socket.socket:
        made = self.open(node, socket.SOCK_STREAM)
        # Three sockets on one port: what met the rendezvous, what listens, what connects.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        return made

    def _connect(self, one: socket.socket, to: tuple[str, int], arrived: Callable[[], None]) -> None:
        def decided() -> None:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.close(one)
            else:
                arrived()

        problem = one.connect_ex(to)
        if problem in _TAKEN:  # the other was earlier: its connection came by the listener
            self.close(one)
        elif problem in (0, errno.EINPROGRESS):
            self.watch(one, selectors.EVENT_WRITE, decided)
        else:
            self.close(one)

    def _accept(self, listener: socket.socket, welcome: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # none more
                return
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.opened.add(connection)
            welcome(connection)

    def _read_notes(self, connection: socket.socket, take: Callable[[Note], None]) -> None:
        received = bytearray()

        def read() -> None:
            try:
                data = connection.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close(connection)
                return
            received.extend(data)
            while len(received) >= NOTE_SIZE:
                note = decode(bytes(received[:NOTE_SIZE]))
                del received[:NOTE_SIZE]
                if note is not None and note.run == self.run_id and note.number < len(self.pairs):
                    take(note)

        self.watch(connection, selectors.EVENT_READ, read)

    def _send(self, connection: socket.socket, note: Note) -> None:
        try:
            connection.send(note.encode())
        except OSError:
            self.close(connection)
