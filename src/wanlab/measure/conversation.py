"""Questions to STUN servers, many at a time: what to send when, and what the answers mean to whoever asked. No I/O.

A *strand* is a generator that yields questions and is sent their answers, in order, once all of them are there or given
up. A :class:`Conversation` carries several strands on at once; `converse` moves its datagrams through real sockets.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from wanlab.measure.stun import Answering, Endpoint, Request, Response, decode, indication

_MOST_BYTES = 2048  # no answer is longer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient to be."""

    interval_s: float = 0.5
    """Seconds until a question is sent again (RFC 8489, section 6.2.1)."""
    tries: int = 3
    """How often it is sent before it counts as unanswered."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a Binding Request from a socket, and wait for its answer."""

    socket: int
    to: Endpoint
    change_address: bool = False
    change_port: bool = False
    response_port: int | None = None
    after_s: float = 0.0
    """Seconds to wait before it is sent."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Send what is not answered; its answer is None, once it is sent."""

    socket: int
    to: Endpoint
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to an :class:`Ask`."""

    mapped: Endpoint
    """What the answering side saw as the question's source."""
    source: Endpoint
    """Where the answer came from."""
    socket: int
    """Where it arrived: with `response_port`, perhaps not where it was asked."""
    other: Endpoint | None
    sends: int
    """How often the question had been sent by then."""


Replies = list[Reply | None]
Strand = Generator[Sequence[Ask | Tell], Replies, T]


@dataclass(slots=True)
class _Pending:
    strand: int
    place: int
    question: Ask | Tell
    due: float
    """When to send it (again), or to give up."""
    sends: int = 0


class Conversation:
    """Carries strands on. *now* is always a monotonic clock's seconds, and a socket is known by its number."""

    def __init__(self, strands: Sequence[Strand[Any]], pace: Pace) -> None:
        self.results: list[Any] = [None] * len(strands)
        """What each strand has returned."""
        self._strands = strands
        self._pace = pace
        self._running = len(strands)
        self._answers: list[Replies] = [[] for _ in strands]
        self._missing = [0] * len(strands)
        self._pending: dict[bytes, _Pending] = {}
        self._outbox: list[tuple[int, bytes, Endpoint]] = []
        self._begun = False

    @property
    def done(self) -> bool:
        """Whether every strand has come to its end."""
        return self._running == 0

    @property
    def next_due(self) -> float | None:
        """When `datagrams_to_send` has something to do next; None: never, or only after something has arrived."""
        return min((pending.due for pending in self._pending.values()), default=None)

    def datagrams_to_send(self, now: float) -> Iterator[tuple[int, bytes, Endpoint]]:
        """What to send now: from which socket, what, and to where."""
        if not self._begun:
            self._begun = True
            for strand in range(len(self._strands)):
                self._advance(strand, None, now)
        while due := [(key, pending) for key, pending in self._pending.items() if pending.due <= now]:
            for transaction, pending in due:
                yield from self._send(transaction, pending, now)
        sent, self._outbox = self._outbox, []
        yield from sent

    def receive_datagram(self, socket: int, data: bytes, source: Endpoint, now: float) -> None:
        """Something has arrived at a socket."""
        message = decode(data)
        if message is None:
            return
        pending = self._pending.get(message.transaction)
        if pending is None:
            return
        if isinstance(message, Request):
            # One of our own questions, that went to another one of our own sockets: a NAT turned it round.
            self._outbox.append((socket, Response(message.transaction, source).encode(), source))
            return
        del self._pending[message.transaction]
        reply = None
        if message.mapped is not None:
            reply = Reply(message.mapped, source, socket, message.other, pending.sends)
        self._resolve(pending, reply, now)

    def _send(self, transaction: bytes, pending: _Pending, now: float) -> Iterator[tuple[int, bytes, Endpoint]]:
        question = pending.question
        if isinstance(question, Tell):
            del self._pending[transaction]
            yield question.socket, indication(transaction), question.to
            self._resolve(pending, None, now)
        elif pending.sends == self._pace.tries:
            del self._pending[transaction]
            self._resolve(pending, None, now)
        else:
            pending.sends += 1
            pending.due = now + self._pace.interval_s
            request = Request(transaction, question.change_address, question.change_port, question.response_port)
            yield question.socket, request.encode(), question.to

    def _resolve(self, pending: _Pending, reply: Reply | None, now: float) -> None:
        self._answers[pending.strand][pending.place] = reply
        self._missing[pending.strand] -= 1
        if self._missing[pending.strand] == 0:
            self._advance(pending.strand, self._answers[pending.strand], now)

    def _advance(self, strand: int, answers: Replies | None, now: float) -> None:
        questions: Sequence[Ask | Tell] = ()
        try:
            while not questions:
                questions = next(self._strands[strand]) if answers is None else self._strands[strand].send(answers)
                answers = []
        except StopIteration as end:
            self.results[strand] = end.value
            self._running -= 1
            return
        self._answers[strand] = [None] * len(questions)
        self._missing[strand] = len(questions)
        for place, question in enumerate(questions):
            self._pending[os.urandom(12)] = _Pending(strand, place, question, now + question.after_s)


def converse(
    strands: Sequence[Strand[Any]],
    sockets: Sequence[socket.socket],
    pace: Pace,
    servers: Sequence[Answering] = (),
) -> list[Any]:
    """Carry the strands on to their ends; what they return. *servers* answer meanwhile."""
    conversation = Conversation(strands, pace)
    with selectors.DefaultSelector() as selector:
        for number, opened in enumerate(sockets):
            opened.setblocking(False)
            selector.register(opened, selectors.EVENT_READ, number)
        for answering in servers:
            for number, opened in enumerate(answering.sockets):
                selector.register(opened, selectors.EVENT_READ, (answering, number))
        while True:
            now = time.monotonic()
            for number, data, to in conversation.datagrams_to_send(now):
                with contextlib.suppress(OSError):  # what cannot be sent is lost, and perhaps sent again
                    sockets[number].sendto(data, to)
            if conversation.done:
                return conversation.results
            due = conversation.next_due
            wait = None if due is None else max(0.0, due - time.monotonic())
            # All that has arrived is read before anything counts as lost: this process may have been kept waiting.
            while events := selector.select(wait):
                wait = 0
                for key, _ in events:
                    if isinstance(key.data, int):
                        _receive(conversation, key.data, sockets[key.data])
                    else:
                        answering, number = key.data
                        answering.answer(number)


def _receive(conversation: Conversation, number: int, opened: socket.socket) -> None:
    while True:
        try:
            data, source = opened.recvfrom(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            continue  # an ICMP error that a question met with: it stays unanswered
        conversation.receive_datagram(number, data, source[:2], time.monotonic())
