"""STUN messages, and a server that answers from where it is asked to; held against the RFCs' own bytes."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wanlab.measure.behaviour import Outcome, discover
from wanlab.measure.conversation import Pace
from wanlab.measure.stun import Endpoint, Request, Response, StunServer, decode, indication, serve_stun
from wanlab.topology.nat import Filtering, Mapping, Ports

# RFC 5769, section 2.2: a response, by somebody else's hand.
RFC_5769_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
TRANSACTION = bytes(range(12))
CLIENT = ("192.0.2.7", 4000)
FOUR: tuple[Endpoint, ...] = (("5.0.0.1", 3478), ("5.0.0.1", 3479), ("5.0.0.2", 3478), ("5.0.0.2", 3479))
QUICK = Pace(interval_s=0.05, tries=2)

addresses = st.ip_addresses(v=4).map(str)
endpoints = st.tuples(addresses, st.integers(1, 65535))


def answered(server: StunServer, request: Request, at: int) -> tuple[Response, int, Endpoint]:
    answer = server.answer(request.encode(), CLIENT, at)
    assert answer is not None
    response = decode(answer.data)
    assert isinstance(response, Response)
    return response, answer.sent_from, answer.to


def test_the_response_in_rfc_5769_is_read_as_it_says() -> None:
    response = decode(RFC_5769_RESPONSE)
    assert isinstance(response, Response)
    assert response.mapped == ("192.0.2.1", 32853)
    assert response.transaction == bytes.fromhex("b7e7a701bc34d686fa87dfae")


def test_a_request_is_laid_out_as_the_rfcs_say() -> None:
    request = Request(TRANSACTION, change_address=True, response_port=0x1234).encode()
    assert request.hex() == "000100102112a442" + TRANSACTION.hex() + "0003000400000004" + "0027000412340000"
    assert Request(TRANSACTION, change_port=True).encode().hex().endswith("0003000400000002")


@given(st.binary(min_size=12, max_size=12), st.booleans(), st.booleans(), st.none() | st.integers(1, 65535))
def test_requests_survive_the_journey(transaction: bytes, address: bool, port: bool, back: int | None) -> None:
    request = Request(transaction, address, port, back)
    assert decode(request.encode()) == request


@given(st.binary(min_size=12, max_size=12), endpoints, st.none() | endpoints, st.none() | endpoints)
def test_responses_survive_the_journey(
    transaction: bytes, mapped: Endpoint, origin: Endpoint | None, other: Endpoint | None
) -> None:
    response = Response(transaction, mapped, origin, other)
    assert decode(response.encode()) == response


@given(st.binary(max_size=120), st.integers(0, 3))
def test_garbage_is_not_answered(data: bytes, at: int) -> None:
    server = StunServer(FOUR)
    if not isinstance(decode(data), Request):
        assert server.answer(data, CLIENT, at) is None


@given(st.data())
def test_broken_requests_raise_nothing(data: st.DataObject) -> None:
    request = bytearray(Request(TRANSACTION, change_port=True, response_port=5).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        request[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    StunServer(FOUR).answer(bytes(request[: data.draw(st.integers(0, len(request)))]), CLIENT, 0)


def test_responses_and_indications_are_not_answered() -> None:
    server = StunServer(FOUR)
    assert server.answer(indication(TRANSACTION), CLIENT, 0) is None
    assert server.answer(Response(TRANSACTION, CLIENT).encode(), CLIENT, 0) is None
    old = Request(TRANSACTION).encode()
    assert server.answer(old[:4] + b"\0\0\0\0" + old[8:], CLIENT, 0) is None, "RFC 3489's messages have no cookie"


@pytest.mark.parametrize(("at", "address", "port"), [*itertools.product(range(4), (False, True), (False, True))])
def test_an_answer_leaves_from_where_it_was_asked_to(at: int, address: bool, port: bool) -> None:
    response, sent_from, to = answered(StunServer(FOUR), Request(TRANSACTION, address, port), at)
    here, there = FOUR[at], FOUR[sent_from]
    assert (here[0] != there[0], here[1] != there[1]) == (address, port)
    assert response.origin == there
    assert response.mapped == to == CLIENT
    assert response.other is not None
    assert response.other[0] != here[0]
    assert response.other[1] != here[1]


def test_an_answer_goes_to_the_port_that_was_asked_for() -> None:
    response, _, to = answered(StunServer(FOUR), Request(TRANSACTION, response_port=77), 0)
    assert to == (CLIENT[0], 77)
    assert response.mapped == CLIENT


def test_a_server_with_one_address_names_no_other_and_refuses_to_change() -> None:
    server = StunServer(FOUR[:1])
    assert answered(server, Request(TRANSACTION), 0)[0].other is None
    refusal, sent_from, to = answered(server, Request(TRANSACTION, change_port=True), 0)
    assert refusal.error is not None
    assert refusal.error[0] == 420
    assert (sent_from, to) == (0, CLIENT)


def test_a_server_has_one_two_or_four_endpoints() -> None:
    with pytest.raises(ValueError, match="3"):
        StunServer(FOUR[:3])


# -- outside a lab: this machine's own loopback, with ordinary sockets -----------------------------------------


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@contextmanager
def bound(addresses: tuple[str, ...], ports: int) -> Iterator[list[socket.socket]]:
    """Sockets on each address with the same ports."""
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for address in addresses:
            for number in range(ports):
                sockets.append(stack.enter_context(udp()))
                sockets[-1].bind((address, sockets[number].getsockname()[1] if address != addresses[0] else 0))
        yield sockets


def test_discovery_without_a_nat_sees_none() -> None:
    with bound(("127.0.0.1", "127.0.0.2"), 2) as sockets, serve_stun(sockets) as server:
        behaviour = discover(udp, server.endpoints[0], pace=QUICK)
    assert behaviour.outcome is Outcome.MEASURED
    assert behaviour.translated is False
    assert behaviour.local == behaviour.external
    assert behaviour.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert behaviour.filtering is Filtering.ENDPOINT_INDEPENDENT
    assert behaviour.ports is Ports.PRESERVE
    assert behaviour.preserves_ports


def test_a_server_with_one_address_tells_how_ports_are_chosen_and_no_more() -> None:
    with bound(("127.0.0.1",), 2) as sockets, serve_stun(sockets) as server:
        behaviour = discover(udp, server.endpoints[0], pace=QUICK)
    assert behaviour.outcome is Outcome.ONE_ADDRESS
    assert behaviour.ports is Ports.PRESERVE
    assert (behaviour.mapping, behaviour.filtering, behaviour.hairpin) == (None, None, None)


def test_silence_is_told_as_such() -> None:
    with bound(("127.0.0.1",), 1) as (silent,):
        behaviour = discover(udp, silent.getsockname(), pace=QUICK)
    assert behaviour.outcome is Outcome.BLOCKED
    assert (behaviour.external, behaviour.mapping) == (None, None)


def test_a_closed_port_is_told_like_silence() -> None:
    with bound(("127.0.0.1",), 1) as (closed,):
        endpoint = closed.getsockname()
    assert discover(udp, endpoint, pace=QUICK).outcome is Outcome.BLOCKED
