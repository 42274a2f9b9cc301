"""STUN with NAT behaviour discovery (RFC 8489, RFC 5780): the messages, and a server whose core does no I/O.

A server has four endpoints, two addresses with two ports each, so that it can be asked to answer from where nobody sent
to. aioice brings the codec; it is imported when the first message is read or written.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType

Endpoint = tuple[str, int]
"""An IPv4 address and a port."""

DEFAULT_PORT = 3478

_CHANGE_ADDRESS, _CHANGE_PORT = 0x4, 0x2  # CHANGE-REQUEST's flags (RFC 5780, section 7.2)
_RESPONSE_PORT = 0x0027  # RFC 5780, section 7.5
_UNKNOWN_ATTRIBUTE = (420, "Unknown Attribute")
_MOST_BYTES = 2048  # no request is longer


@dataclass(frozen=True, slots=True)
class Request:
    """A Binding Request."""

    transaction: bytes
    """12 bytes that its answer repeats."""
    change_address: bool = False
    """Answer from the other address."""
    change_port: bool = False
    """Answer from the other port."""
    response_port: int | None = None
    """Answer to this port of the sender's address."""

    def encode(self) -> bytes:
        """The request as a datagram."""
        stun = _codec()
        attributes: dict[str, object] = {}
        flags = _CHANGE_ADDRESS * self.change_address | _CHANGE_PORT * self.change_port
        if flags:
            attributes["CHANGE-REQUEST"] = flags
        if self.response_port is not None:
            attributes["RESPONSE-PORT"] = self.response_port
        return bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, self.transaction, attributes))


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answers."""

    transaction: bytes
    mapped: Endpoint | None
    """Where the server saw the request come from; None in an error."""
    origin: Endpoint | None = None
    """Which of its endpoints it says it answers from."""
    other: Endpoint | None = None
    """Its endpoint that differs from the asked one in address and port; None for a server with one address."""
    error: tuple[int, str] | None = None

    def encode(self) -> bytes:
        """The response as a datagram."""
        stun = _codec()
        if self.error is not None:
            attributes: dict[str, object] = {"ERROR-CODE": self.error}
            return bytes(stun.Message(stun.Method.BINDING, stun.Class.ERROR, self.transaction, attributes))
        attributes = {"XOR-MAPPED-ADDRESS": self.mapped, "MAPPED-ADDRESS": self.mapped}
        if self.origin is not None:
            attributes["RESPONSE-ORIGIN"] = self.origin
        if self.other is not None:
            attributes["OTHER-ADDRESS"] = self.other
        return bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, self.transaction, attributes))


def indication(transaction: bytes) -> bytes:
    """A Binding Indication: keeps a mapping alive and is not answered (RFC 8489, section 2)."""
    stun = _codec()
    return bytes(stun.Message(stun.Method.BINDING, stun.Class.INDICATION, transaction, {}))


def decode(data: bytes) -> Request | Response | None:
    """The Binding message in a datagram; None for anything else."""
    stun = _codec()
    try:
        message = stun.parse_message(data)
    except Exception:  # whatever aioice makes of nonsense: struct.error, IndexError, UnicodeDecodeError, ...
        return None
    if data[4:8] != stun.COOKIE.to_bytes(4, "big") or message.message_method is not stun.Method.BINDING:
        return None
    found = message.attributes
    match message.message_class:
        case stun.Class.REQUEST:
            flags = found.get("CHANGE-REQUEST", 0)
            change = bool(flags & _CHANGE_ADDRESS), bool(flags & _CHANGE_PORT)
            return Request(message.transaction_id, *change, found.get("RESPONSE-PORT"))
        case stun.Class.RESPONSE:
            mapped = found.get("XOR-MAPPED-ADDRESS") or found.get("MAPPED-ADDRESS")
            # Servers older than RFC 5389 say it in RFC 3489's words.
            origin = found.get("RESPONSE-ORIGIN") or found.get("SOURCE-ADDRESS")
            other = found.get("OTHER-ADDRESS") or found.get("CHANGED-ADDRESS")
            return Response(message.transaction_id, mapped, origin, other) if mapped else None
        case stun.Class.ERROR:
            return Response(message.transaction_id, None, error=found.get("ERROR-CODE", (0, "")))
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """A datagram that a server wants to be sent."""

    data: bytes
    sent_from: int
    """From which of the server's endpoints."""
    to: Endpoint


class StunServer:
    """A server's core: datagrams in, datagrams out.

    *endpoints* are one, or two that differ in port, or four: address 1 with port 1 and 2, then address 2 with the same.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        if len(endpoints) not in (1, 2, 4):
            raise ValueError(f"a STUN server has 1, 2 or 4 endpoints, not {len(endpoints)}")
        self.endpoints = tuple(endpoints)

    def answer(self, data: bytes, source: Endpoint, endpoint: int) -> Answer | None:
        """What to answer to *data* from *source* that came in at that endpoint; None: nothing."""
        request = decode(data)
        if not isinstance(request, Request):
            return None
        to = source if request.response_port is None else (source[0], request.response_port)
        # The places of the endpoints differ in bit 0 by the port, in bit 1 by the address.
        sent_from = endpoint ^ (2 * request.change_address | request.change_port)
        if sent_from >= len(self.endpoints):
            # RFC 5780, section 6.1: a server that cannot change has never heard of the attribute.
            refusal = Response(request.transaction, None, error=_UNKNOWN_ATTRIBUTE)
            return Answer(refusal.encode(), endpoint, to)
        other = self.endpoints[endpoint ^ 3] if len(self.endpoints) == 4 else None
        response = Response(request.transaction, source, self.endpoints[sent_from], other)
        return Answer(response.encode(), sent_from, to)


class Answering:
    """A server's sockets, bound to its endpoints: reads what has come, and answers it."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = tuple(sockets)
        self.server = StunServer([opened.getsockname()[:2] for opened in sockets])
        for opened in sockets:
            opened.setblocking(False)

    def answer(self, endpoint: int) -> None:
        """Answer everything that waits at that endpoint."""
        while True:
            try:
                data, source = self.sockets[endpoint].recvfrom(_MOST_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that an earlier answer met with
            found = self.server.answer(data, source, endpoint)
            if found is not None:
                with contextlib.suppress(OSError):  # an answer that cannot be sent is one that was lost
                    self.sockets[found.sent_from].sendto(found.data, found.to)


@contextlib.contextmanager
def serve_stun(sockets: Sequence[socket.socket]) -> Iterator[StunServer]:
    """Answer in a thread, as long as the `with` lasts. *sockets* are bound UDP sockets, one for each endpoint.

    Each must be bound to an address of its own: an answer has to leave from the endpoint that it names. For their order
    see :class:`StunServer`. They are the caller's to close.
    """
    answering = Answering(sockets)
    woken, wake = os.pipe()
    with selectors.DefaultSelector() as selector:
        selector.register(woken, selectors.EVENT_READ, None)
        for number, opened in enumerate(sockets):
            selector.register(opened, selectors.EVENT_READ, number)
        thread = threading.Thread(target=_serve, args=(answering, selector), name="stun", daemon=True)
        thread.start()
        try:
            yield answering.server
        finally:
            os.close(wake)  # the other end becomes readable
            thread.join()
            os.close(woken)


def _serve(answering: Answering, selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            answering.answer(key.data)


@cache
def _codec() -> ModuleType:
    from aioice import stun

    # The one attribute of RFC 5780 that aioice lacks.
    stun.ATTRIBUTES_BY_TYPE.setdefault(
        _RESPONSE_PORT, entry := (_RESPONSE_PORT, "RESPONSE-PORT", stun.pack_unsigned_short, stun.unpack_unsigned_short)
    )
    stun.ATTRIBUTES_BY_NAME.setdefault("RESPONSE-PORT", entry)
    return stun
