"""How long a NAT's mapping lives, and what prolongs it, by RFC 5780's section 4.6."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from wanlab.measure.behaviour import MakeSocket, open_sockets
from wanlab.measure.conversation import Ask, Pace, Replies, Reply, Strand, Tell, converse
from wanlab.measure.stun import Endpoint

_TESTS = 6
LIFETIME_SOCKETS = 3 + 4 * _TESTS
"""How many sockets `survey_lifetime` takes: one that asks, two to be refreshed, and some for each round of tests."""
_RESOLUTION = 0.25  # the bracket's width, as a part of its upper end, that is good enough
_REFRESH, _LOOK = 0.6, 1.3  # when a mapping is refreshed, and looked at again, as parts of its lifetime


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a mapping lives without traffic, in seconds, and what makes it live longer."""

    at_least_s: float
    at_most_s: float | None
    """None: it outlived every test."""
    outbound_refresh: bool | None = None
    inbound_refresh: bool | None = None


def discover_lifetime(
    make_socket: MakeSocket, server: Endpoint, *, most_s: float, guess_s: float | None = None, pace: Pace | None = None
) -> Lifetime | None:
    """Find out by bisection how long a mapping lives, up to *most_s*; None where the server does not help.

    It takes two to three times as long as a mapping lives. A good *guess_s* makes it less.
    """
    with ExitStack() as stack:
        sockets = open_sockets(stack, make_socket, LIFETIME_SOCKETS, ())
        (lifetime,) = converse(
            [survey_lifetime(range(LIFETIME_SOCKETS), server, most_s, guess_s)], sockets, pace or Pace()
        )
        assert lifetime is None or isinstance(lifetime, Lifetime)
        return lifetime


def survey_lifetime(
    sockets: Sequence[int], server: Endpoint, most_s: float, guess_s: float | None
) -> Strand[Lifetime | None]:
    """How long a mapping lives, by RFC 5780's section 4.6; several at once, each left alone for another time.

    Whether one is alive is asked from another socket, so that only the answer goes through it, from outside.
    """
    lower, upper = 0.0, float("inf")
    waits = [most_s / 2**power for power in reversed(range(_TESTS))]
    if guess_s is not None:
        waits = [guess_s * part for part in (0.5, 0.9, 1.1, 1.5)]
    control, tested, refreshed = sockets[0], deque(sockets[3:]), sockets[1:3]
    while True:
        alive = yield from _outlive(control, [tested[place] for place in range(len(waits))], server, waits)
        tested.rotate(-len(waits))
        if alive is None:
            return None
        lower = max([lower, *(wait for wait, lives in zip(waits, alive, strict=True) if lives)])
        upper = min([upper, *(wait for wait, lives in zip(waits, alive, strict=True) if not lives and wait > lower)])
        if upper < float("inf") and upper - lower <= _RESOLUTION * upper:
            break
        if upper < float("inf"):
            waits = [lower + (upper - lower) * part / _TESTS for part in range(1, _TESTS)]
        elif lower < most_s:
            waits = [min(most_s, lower * factor) for factor in (1.5, 2, 3, 4)]
        else:
            return Lifetime(lower, None)
    outbound, inbound = yield from _refresh(control, refreshed, server, (lower + upper) / 2)
    return Lifetime(lower, upper, outbound, inbound)


def _outlive(
    control: int, tested: Sequence[int], server: Endpoint, waits: Sequence[float]
) -> Generator[Sequence[Ask | Tell], Replies, list[bool] | None]:
    """Which of so many fresh mappings are alive, each after its own time."""
    opened = yield [Ask(number, server) for number in tested]
    ports = [reply.mapped[1] for reply in opened if reply is not None]
    if len(ports) < len(waits):
        return None
    # Silence from a mapping that lives at once would mean that the server cannot do this.
    at_once = yield [Ask(control, server, response_port=ports[-1])]
    if None in at_once:
        return None
    found = yield [
        Ask(control, server, response_port=port, after_s=wait) for port, wait in zip(ports, waits, strict=True)
    ]
    return [_reached(reply, number) for reply, number in zip(found, tested, strict=True)]


def _reached(reply: Reply | None, socket: int) -> bool:
    """Whether the answer went through that socket's mapping: once it is dead, its port may be another's."""
    return reply is not None and reply.socket == socket


def _refresh(
    control: int, sockets: Sequence[int], server: Endpoint, lifetime_s: float
) -> Generator[Sequence[Ask | Tell], Replies, tuple[bool | None, bool | None]]:
    """Whether a packet outwards, and one inwards, in the middle of a mapping's life prolongs it."""
    sends, receives = sockets
    opened = yield [Ask(sends, server), Ask(receives, server)]
    if opened[0] is None or opened[1] is None:
        return None, None
    outbound, inbound = (reply.mapped[1] for reply in opened if reply is not None)
    middle, rest = _REFRESH * lifetime_s, (_LOOK - _REFRESH) * lifetime_s
    _, reached = yield [
        Tell(sends, server, middle),
        Ask(control, server, response_port=inbound, after_s=middle),
    ]
    out_lives, in_lives = yield [
        Ask(control, server, response_port=outbound, after_s=rest),
        Ask(control, server, response_port=inbound, after_s=rest),
    ]
    return _reached(out_lives, sends), _reached(in_lives, receives) if reached is not None else None
