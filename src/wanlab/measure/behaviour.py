"""NAT behaviour discovery (RFC 5780): what a NAT between here and a STUN server does, found out by asking that server.

The address and the port that is sent to, or answered from, are changed one at a time: a test that changes both cannot
tell address-dependent from address- and port-dependent.

`discover` works with ordinary sockets and any RFC 5780 server. What takes a second host behind the same NAT is
`discover_neighbours`; what takes time is in :mod:`wanlab.measure.lifetime`. Their strands (see
:mod:`wanlab.measure.conversation`) do no I/O, and are what measuring inside a lab is made of.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise

from wanlab.measure.conversation import Ask, Pace, Replies, Reply, Strand, Tell, converse
from wanlab.measure.stun import Endpoint
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Ports

FEW = 12
"""Sockets by whose external ports the way they are chosen is recognised ..."""
MANY = 24
"""... and how many it takes where the first ones look as if parity were kept: by chance, one NAT in 2**24 would."""

_SMALL_STEP = 16  # from one mapping's port to the next, where they count up: others may have taken some in between
_DOUBTS = 4  # how often silence is questioned
_PAIRS = 3  # pairs of sockets by which overloading is told from chance

MakeSocket = Callable[[], socket.socket]
"""Makes a UDP socket (IPv4) of the host to be measured from; it is bound here, unless it is already."""


class Outcome(Enum):
    """How far a measurement got."""

    MEASURED = "measured"
    ONE_ADDRESS = "the server has one address only"
    BLOCKED = "the server does not answer: UDP is blocked, or nobody is there"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a NAT was seen to do. None: not to be told from there."""

    outcome: Outcome
    local: Endpoint | None = None
    """The first socket's own address and port."""
    external: Endpoint | None = None
    """What the server saw of it."""
    translated: bool | None = None
    """Whether the two differ at all."""
    mapping: Mapping | None = None
    filtering: Filtering | None = None
    ports: Ports | None = None
    parity: bool | None = None
    """Whether even ports stayed even and odd ones odd."""
    hairpin: Hairpin | None = None
    """From one host, one that would show the internal source cannot be told from none at all: both are OFF."""
    seen: tuple[tuple[Endpoint, Endpoint], ...] = ()
    """Each socket's own endpoint and its external one, in the order in which they were first used."""

    @property
    def preserves_ports(self) -> bool | None:
        """Whether external ports are the internal ones."""
        return None if self.ports is None else self.ports is Ports.PRESERVE


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a NAT was seen to do with two hosts behind it."""

    overloading: bool | None
    """Whether both had one external endpoint at once, towards different destinations."""
    hairpin: Hairpin | None
    sources: tuple[Endpoint, ...] = ()
    """As what the two hosts saw each other."""


def discover(
    make_socket: MakeSocket, server: Endpoint, *, ports: Iterable[int] = (), pace: Pace | None = None
) -> Behaviour:
    """Find out what the NATs between this host and *server* do.

    *server* is an RFC 5780 server; with any other STUN server, and without an answer, `outcome` says so and the rest
    is what can be told. *ports*: local ones to use, where they matter. Raises OSError where a socket cannot be had.
    """
    with ExitStack() as stack:
        sockets = open_sockets(stack, make_socket, MANY, ports)
        own = [_own_endpoint(each, make_socket, server) for each in sockets]
        (behaviour,) = converse([survey(range(MANY), own, server)], sockets, pace or Pace())
        assert isinstance(behaviour, Behaviour)
        return behaviour


def discover_neighbours(
    make_socket: MakeSocket, make_other: MakeSocket, server: Endpoint, *, pace: Pace | None = None
) -> Neighbours:
    """Find out what the NAT does with two hosts behind it: each function makes sockets of one of them."""
    with ExitStack() as stack:
        mine = open_sockets(stack, make_socket, _PAIRS, ())
        theirs = open_sockets(stack, make_other, _PAIRS, [each.getsockname()[1] for each in mine])
        own = [_own_endpoint(each, make_socket, server) for each in mine]
        own += [_own_endpoint(each, make_other, server) for each in theirs]
        strand = survey_neighbours(range(_PAIRS), range(_PAIRS, 2 * _PAIRS), own, server)
        (neighbours,) = converse([strand], [*mine, *theirs], pace or Pace())
        assert isinstance(neighbours, Neighbours)
        return neighbours


# -- one host ------------------------------------------------------------------------------------------------


def survey(
    sockets: Sequence[int], own: Sequence[Endpoint], server: Endpoint, *, sure: bool = False
) -> Strand[Behaviour]:
    """Everything that one host can tell. *own*: the sockets' own endpoints, by number.

    *sure*: the server is known to have all four endpoints, so that silence of one is the NAT's doing.
    """
    (first,) = yield [Ask(sockets[0], server)]
    if first is None:
        return Behaviour(Outcome.BLOCKED, own[sockets[0]])
    seen = [(own[sockets[0]], first.mapped)]
    for number in sockets[1:]:  # one after the other: a port that counts up is seen to
        if len(seen) >= FEW and not (_keep_parity(seen) and ports_of(seen) is not Ports.PRESERVE):
            break
        (reply,) = yield [Ask(number, server)]
        if reply is not None:
            seen.append((own[number], reply.mapped))
    behaviour = Behaviour(
        Outcome.ONE_ADDRESS,
        *seen[0],
        translated=any(internal != external for internal, external in seen),
        ports=ports_of(seen),
        parity=_keep_parity(seen),
        seen=tuple(seen),
    )
    other = first.other
    if other is None or other[0] == server[0] or other[1] == server[1] or len(sockets) < FEW // 2:
        return behaviour
    mapping, answered = yield from _survey_mapping(sockets[:2], server, other)
    # From here on with sockets that have sent to one endpoint of the server only.
    external = dict(seen)
    ends = [number for number in sockets[4:6] if own[number] in external]
    by_port, by_address, *turned = yield from _insist(
        [
            Ask(sockets[2], server, change_port=True),
            Ask(sockets[3], server, change_address=True),
            *(Ask(sender, external[own[receiver]]) for sender, receiver in zip(ends, reversed(ends), strict=True)),
        ],
        [Ask(number, server) for number in sockets[2:6]],
    )
    return replace(
        behaviour,
        outcome=Outcome.MEASURED,
        mapping=mapping,
        filtering=_filtering(by_port, by_address, server, other, sure or answered),
        hairpin=_hairpin(turned, [own[number] for number in ends]) if len(ends) == 2 else None,
    )


def _survey_mapping(
    sockets: Sequence[int], server: Endpoint, other: Endpoint
) -> Generator[Sequence[Ask | Tell], Replies, tuple[Mapping | None, bool]]:
    """The mapping, and whether all endpoints of the server have answered. Two sockets: one may be lucky."""
    before = yield [Ask(number, server) for number in sockets]
    by_port = yield [Ask(number, (server[0], other[1])) for number in sockets]
    by_address = yield [Ask(number, (other[0], server[1])) for number in sockets]
    port_matters, address_matters = _differ(before, by_port), _differ(before, by_address)
    answered = port_matters is not None and address_matters is not None
    if address_matters is None:
        return None, answered
    if not address_matters:
        # No NAT looks at the port and not at the address; so this is known even where the other port is blocked.
        return (Mapping.ADDRESS_AND_PORT_DEPENDENT if port_matters else Mapping.ENDPOINT_INDEPENDENT), answered
    if port_matters is None:
        return None, answered
    return (Mapping.ADDRESS_AND_PORT_DEPENDENT if port_matters else Mapping.ADDRESS_DEPENDENT), answered


def _differ(before: Replies, after: Replies) -> bool | None:
    """Whether any socket was seen as another endpoint; None where no two can be compared."""
    pairs = [(one.mapped, two.mapped) for one, two in zip(before, after, strict=True) if one and two]
    return any(one != two for one, two in pairs) if pairs else None


def _filtering(
    by_port: Reply | None, by_address: Reply | None, server: Endpoint, other: Endpoint, sure: bool
) -> Filtering | None:
    """By what came from the server's other port, and from its other address."""
    if by_address is not None and by_address.source == (other[0], server[1]):
        return Filtering.ENDPOINT_INDEPENDENT
    if by_port is not None and by_port.source == (server[0], other[1]):
        return Filtering.ADDRESS_DEPENDENT if sure else None
    if by_port is not None or by_address is not None:  # the server answers from where it likes
        return None
    return Filtering.ADDRESS_AND_PORT_DEPENDENT if sure else None


def ports_of(seen: Sequence[tuple[Endpoint, Endpoint]]) -> Ports | None:
    """How external ports are chosen, by mappings in the order in which they were made."""
    if len(seen) < 2:
        return None
    kept = sum(internal[1] == external[1] for internal, external in seen)
    if 2 * kept > len(seen):  # some may have been taken already
        return Ports.PRESERVE
    # Counted for each external address, and where parity is kept for even and odd ports, apart.
    by_address = _counts_up((external[0], external[1]) for _, external in seen)
    by_both = _counts_up(((external[0], internal[1] % 2), external[1]) for internal, external in seen)
    return Ports.SEQUENTIAL if by_address or by_both else Ports.RANDOM


def _counts_up(ports: Iterable[tuple[object, int]]) -> bool:
    """Whether in each row, as named before the port, every port is a little above the last one."""
    rows: dict[object, list[int]] = {}
    for row, port in ports:
        rows.setdefault(row, []).append(port)
    steps = [after - before for row in rows.values() for before, after in pairwise(row)]
    wrong = sum(not 0 < step <= _SMALL_STEP for step in steps)
    return wrong <= (len(steps) > 3) if steps else False  # one may be wrong: where the range begins anew


def _keep_parity(seen: Sequence[tuple[Endpoint, Endpoint]]) -> bool:
    return all(internal[1] % 2 == external[1] % 2 for internal, external in seen)


# -- two hosts -----------------------------------------------------------------------------------------------


def survey_neighbours(
    mine: Sequence[int], theirs: Sequence[int], own: Sequence[Endpoint], server: Endpoint
) -> Strand[Neighbours]:
    """What two hosts can tell. The sockets of a pair have the same local port. *own*: as for :func:`survey`."""
    before = yield [Ask(number, server) for number in mine]
    other = next((reply.other for reply in before if reply is not None), None)
    overloading = None
    if other is not None and other[0] != server[0]:
        beside = yield [Ask(number, (other[0], server[1])) for number in theirs]
        pairs = [(one.mapped, two.mapped) for one, two in zip(before, beside, strict=True) if one and two]
        comparable = [one[1] == two[1] for one, two in pairs if one[0] == two[0]]  # of one external address
        overloading = all(comparable) if comparable else None
    after = yield [Ask(number, server) for number in theirs]
    meeting = [(one.mapped, two.mapped) for one, two in zip(before, after, strict=True) if one and two][:1]
    if not meeting:
        return Neighbours(overloading, None)
    ((one, two),) = meeting
    ends = mine[0], theirs[0]
    turned = yield from _insist([Ask(ends[0], two), Ask(ends[1], one)], [Ask(number, server) for number in ends])
    sources = tuple(reply.mapped for reply in turned if reply is not None)
    return Neighbours(overloading, _hairpin(turned, [own[number] for number in ends]), sources)


def _hairpin(replies: Replies, own: Sequence[Endpoint]) -> Hairpin:
    """By what the other side saw as the sender."""
    for reply, endpoint in zip(replies, own, strict=True):
        if reply is not None:
            return Hairpin.INTERNAL if reply.mapped == endpoint else Hairpin.EXTERNAL
    return Hairpin.OFF


def _insist(
    questions: Sequence[Ask], controls: Sequence[Ask]
) -> Generator[Sequence[Ask | Tell], Replies, list[Reply | None]]:
    """Ask, and believe in silence only when *controls*, which must be answered, are answered at once at that time."""
    replies = yield questions
    for _ in range(_DOUBTS):
        silent = [place for place, reply in enumerate(replies) if reply is None]
        if not silent:
            break
        proof = yield controls
        if all(reply is not None and reply.sends == 1 for reply in proof):
            break
        again = yield [questions[place] for place in silent]
        for place, reply in zip(silent, again, strict=True):
            replies[place] = reply
    return replies


# -- sockets -------------------------------------------------------------------------------------------------


def open_sockets(stack: ExitStack, make_socket: MakeSocket, count: int, ports: Iterable[int]) -> list[socket.socket]:
    """So many, bound to the ports as far as there are any, else to whichever are free."""
    wanted = [*ports][:count]
    sockets = []
    for port in wanted + [0] * (count - len(wanted)):
        made = stack.enter_context(make_socket())
        if made.getsockname()[1] == 0:
            made.bind((made.getsockname()[0], port))
        sockets.append(made)
    return sockets


def _own_endpoint(bound: socket.socket, make_socket: MakeSocket, server: Endpoint) -> Endpoint:
    address, port = bound.getsockname()[:2]
    if address == "0.0.0.0":
        with make_socket() as asking:  # which address routing would choose: connecting sends nothing
            asking.connect(server)
            address = asking.getsockname()[0]
    return address, port
