"""A NAT as a small abstract machine: sessions, mappings, filter and port chooser, and a port that nobody can know.

Its rules are those of a NAT that tracks sessions (RFC 2663), as Linux' connection tracking does:

- A session is two endpoints, the inside one and the remote one, and the external endpoint between them. Packets of a
  session go both ways through that external endpoint, whoever began it.
- A new session to the outside takes the external endpoint of a mapping that stands, where the mapping behaviour lets it
  (RFC 4787, section 4.1), else a new one by the port choice (section 4.2).
- A packet from outside that belongs to no session is let in where the filtering behaviour of the external endpoint that
  it was sent to says so (section 5). What may come in is noted per external endpoint: with endpoint-independent
  mapping that is the same as per internal one, of which RFC 4787 speaks.
- Between two endpoints there is one session. A peer whose packet comes in by a second external endpoint is shown to the
  inside under another port, as the kernel does (nf_nat_core.c, get_unique_tuple): the answer must find the way back.

What is chosen at random is decided by a :class:`Fate`, so that all that can happen is gone through, with its odds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from wanlab.topology.nat import Filtering, Mapping, Nat, Pooling, Ports, Unsolicited

Result = TypeVar("Result")

_NEGLIGIBLE = 1e-12
"""What is less probable than this is not followed: two ports guessed at once are 2.4e-10, three no plan."""


class Transport(Enum):
    """What is punched with."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A port that a NAT chose: equal to itself only, so whoever has not been told cannot send to it."""

    nat: str
    number: int


Port = int | Unknown


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port. Addresses are names: the peer's, and a number where its NAT has several."""

    address: str
    port: Port


class Verdict(Enum):
    """What becomes of a packet from outside."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    REFUSED = "refused"  # answered by an ICMP error
    RESET = "reset"  # answered by the router's own kernel: a TCP reset, or an ICMP error for UDP


class Fate:
    """Decides what is left to chance: first as *script* says, then unluckily; remembers how probable that was."""

    def __init__(self, script: list[bool]) -> None:
        self.script = script
        self.odds = 1.0
        self._position = 0

    def happens(self, probability: float) -> bool:
        """Whether something of that probability happens this time."""
        if probability >= 1 or self.odds * probability < _NEGLIGIBLE:
            return probability >= 1
        if self._position == len(self.script):
            self.script.append(False)
        happened = self.script[self._position]
        self._position += 1
        self.odds *= probability if happened else 1 - probability
        return happened


def possibilities(run: Callable[[Fate], Result]) -> Iterator[tuple[float, Result]]:
    """Everything that *run* can come to, with its odds; first the one in which nobody is lucky."""
    script: list[bool] = []
    while True:
        fate = Fate(script)
        result = run(fate)
        yield fate.odds, result
        while script and script[-1]:
            script.pop()
        if not script:
            return
        script[-1] = True


class Machine:
    """What lies between one socket and the WAN: a NAT, or nothing but the cable."""

    def __init__(self, name: str, nat: Nat | None, socket: int, transport: Transport, fate: Fate) -> None:
        self.name = name
        self.nat = nat
        self.socket = socket
        self.transport = transport
        self.fate = fate
        self.trapped = False
        """Whether the router itself answered a peer, and a punch had to leave by another port for that."""
        self._sessions: dict[Endpoint, Endpoint] = {}
        """The external endpoint of each remote endpoint, as the inside knows that."""
        self._aliases: dict[Endpoint, Endpoint] = {}
        """Who is meant, where the inside knows a remote endpoint under another port."""
        self._mappings: dict[object, Endpoint] = {}
        self._external: list[Endpoint] = []
        """In the order in which they were chosen: the first is what a rendezvous sees."""
        self._permitted: set[tuple[Endpoint, str]] = set()
        self._own: set[tuple[Endpoint, Endpoint]] = set()
        """Sessions of the router itself: external endpoint and remote."""
        self._choices = 0

    # -- outward -------------------------------------------------------------------------------------------------

    def leave(self, to: Endpoint) -> Endpoint | None:
        """From which endpoint a packet to *to* appears outside; None where it may not leave."""
        if self.nat is None:
            return Endpoint(self.name, self.socket)
        allowed = self.nat.udp_ports if self.transport is Transport.UDP else self.nat.tcp_ports
        if allowed is not None and to.port not in allowed:
            return None
        external = self._sessions.get(to) or self._new_session(self.nat, to)
        if external is not None:
            self._permitted.add((external, to.address))
        return external

    def whom(self, to: Endpoint) -> Endpoint:
        """Who is meant by an endpoint that the inside knows."""
        return self._aliases.get(to, to)

    def _new_session(self, nat: Nat, to: Endpoint) -> Endpoint | None:
        external = self._mappings.get(self._key(nat, to))
        if external is None or (external, to) in self._own:
            if nat.limit is not None and len(self._external) >= nat.limit:
                return None
            self.trapped |= external is not None
            external = self._choose(nat, to)
            self._mappings.setdefault(self._key(nat, to), external)
        self._sessions[to] = external
        return external

    @staticmethod
    def _key(nat: Nat, to: Endpoint) -> object:
        match nat.mapping:
            case Mapping.ENDPOINT_INDEPENDENT:
                return None
            case Mapping.ADDRESS_DEPENDENT:
                return to.address
            case Mapping.ADDRESS_AND_PORT_DEPENDENT:
                return to

    def _choose(self, nat: Nat, to: Endpoint) -> Endpoint:
        address = self._choose_address(nat)
        free = Endpoint(address, self._choose_port(nat))
        if (free, to) in self._own:
            self.trapped = True
            free = Endpoint(address, self._fresh())
        if free not in self._external:
            self._external.append(free)
        return free

    def _choose_address(self, nat: Nat) -> str:
        number = 0
        if self._external and nat.pooling is Pooling.ARBITRARY:
            left = nat.addresses
            while left > 1 and not self.fate.happens(1 / left):
                left -= 1
                number += 1
        return f"{self.name}/{number}"

    def _choose_port(self, nat: Nat) -> Port:
        ports = candidates(nat)
        match nat.ports:
            case Ports.PRESERVE:
                return self.socket
            case Ports.SEQUENTIAL:
                self._choices += 1
                return Unknown(self.name, -(self._choices % ports))
            case Ports.RANDOM:
                if self._external and self.fate.happens(1 / ports):
                    return self._external[0].port
                return self._fresh()

    def _fresh(self) -> Unknown:
        self._choices += 1
        return Unknown(self.name, self._choices)

    # -- inward --------------------------------------------------------------------------------------------------

    def arrive(self, source: Endpoint, to: Endpoint) -> tuple[Verdict, Endpoint]:
        """What becomes of a packet from outside, and from whom it seems to come inside."""
        if self.nat is None:
            return Verdict.DELIVERED, source
        for remote, external in self._sessions.items():
            if external == to and self.whom(remote) == source:
                return Verdict.DELIVERED, remote
        if (to, source) in self._own:
            return self._unasked(self.nat, source, to), source
        if to in self._external and self._lets_in(self.nat, source, to):
            return Verdict.DELIVERED, self._called(self.nat, source, to)
        return self._unasked(self.nat, source, to), source

    def _lets_in(self, nat: Nat, source: Endpoint, to: Endpoint) -> bool:
        match nat.filtering:
            case Filtering.ENDPOINT_INDEPENDENT:
                return True
            case Filtering.ADDRESS_DEPENDENT:
                return (to, source.address) in self._permitted
            case Filtering.ADDRESS_AND_PORT_DEPENDENT:
                return False  # it would belong to a session

    def _called(self, nat: Nat, source: Endpoint, to: Endpoint) -> Endpoint:
        seen = source
        if source in self._sessions:
            seen = Endpoint(source.address, self._fresh())
            self._aliases[seen] = source
        self._sessions[seen] = to
        self._mappings.setdefault(self._key(nat, seen), to)
        self._permitted.add((to, source.address))
        return seen

    def _unasked(self, nat: Nat, source: Endpoint, to: Endpoint) -> Verdict:
        match nat.unsolicited:
            case Unsolicited.DROP:
                return Verdict.DROPPED
            case Unsolicited.REJECT:
                return Verdict.REFUSED
            case Unsolicited.ACCEPT:
                # A TCP session is over with the reset that answers it. A UDP one stays, and has taken the tuple.
                if self.transport is Transport.UDP:
                    self._own.add((to, source))
                return Verdict.RESET

    def forget(self, to: Endpoint) -> None:
        """A session whose only answer was a reset is over (nf_conntrack_proto_tcp.c)."""
        self._sessions.pop(to, None)
        if self.nat is not None and self.nat.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT:
            self._mappings.pop(to, None)


def candidates(nat: Nat) -> int:
    """From how many ports a new mapping's is chosen."""
    # Where the kernel chooses, ports below 1024 are for such inside, from which nobody punches.
    ports = nat.block or nat.last_port - max(nat.first_port, 1 if nat.learns else 1024) + 1
    return max(1, ports // 2) if nat.parity and nat.ports is Ports.RANDOM else ports
