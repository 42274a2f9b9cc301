"""The chains that choose a port for a new mapping, where connection tracking is not left to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wanlab.plan.mappings import NO_CHECKSUM
from wanlab.plan.nft_text import PROTOCOLS, block
from wanlab.topology.nat import Nat, Ports
from wanlab.topology.network import IPAddress

_LISTED = 2048  # ports that a router's rules list at most: rootless, 8192 are more than the kernel takes at once
_DRAWS = 16  # how many ports are drawn for a new mapping before there is said to be none
_DRAWS_AT_ONCE = 4  # a chain of chains is shorter than a list of all
_DENSE = 0.4  # how large a part of what is drawn by its bits must lie in the range, for it to be drawn like that
_ALL_BITS = 0xFFFF
_PARTS = 4  # into how many parts a range is split where it is less


class Draws:
    """A NAT's ways of drawing ports for its subscribers, and of trying whether they are free."""

    def __init__(self, nat: Nat, external: Sequence[IPAddress], subscribers: Sequence[IPAddress]) -> None:
        self.nat = nat
        self.external = external
        self.subscribers = subscribers

    def _blocks(self) -> Iterator[tuple[int, tuple[IPAddress, range]]]:
        """The subscribers that have a block of ports, numbered, and their blocks."""
        if self.nat.block is not None:
            firsts = range(self.nat.first_port, self.nat.last_port - self.nat.block + 2, self.nat.block)
            blocks = (range(first, first + self.nat.block) for first in firsts)
            yield from enumerate(zip(self.subscribers, blocks, strict=False))

    def choices(self, protocol: str, number: int) -> Iterator[str]:
        """The chains that choose a port for a new mapping at the how-manieth external address.

        They draw until a port is free: for the kernel, the port of a mapping that leads elsewhere is, and where it is
        given just one port that is taken, it drops the packet. What is drawn is put into the packet, the only place
        that a rule can look it up from, and where translation puts it next.
        """
        sport = f"{protocol} sport"
        take = f"{sport} > 1 {sport} != @wl_{protocol}_external{number} snat ip to {self.external[number]} : {sport}"
        yield block(f"chain wl_{protocol}_try{number}", [f"jump {self._drawing(protocol)}", take])
        # A datagram may have no checksum (RFC 768). With a port nft writes one all the same, and a wrong one.
        note = [f"udp checksum 0 meta mark set {NO_CHECKSUM}"] if protocol == "udp" else []
        yield block(f"chain wl_{protocol}_tries{number}", [f"jump wl_{protocol}_try{number}"] * _DRAWS_AT_ONCE)
        tries = [f"jump wl_{protocol}_tries{number}"] * (_DRAWS // _DRAWS_AT_ONCE)
        yield block(f"chain wl_{protocol}_choose{number}", [*note, *tries, "drop"])

    def draws(self, protocol: str) -> Iterator[str]:
        """The chains that put a port into the packet of which nobody knows yet whether it is free; 0 or 1: none."""
        every = range(self.nat.first_port, self.nat.last_port + 1)
        blocks = list(self._blocks())
        yield from self._draw(protocol, "any", every, 1 + len(blocks))
        for place, (_, ports) in blocks:
            yield from self._draw(protocol, str(place), ports, 1 + len(blocks))
        if blocks:
            owners = ", ".join(f"{subscriber} : goto wl_{protocol}_draw_{place}" for place, (subscriber, _) in blocks)
            lines = [f"ip saddr vmap {{ {owners} }}", f"goto wl_{protocol}_draw_any"]
            yield block(f"chain {self._drawing(protocol)}", lines)

    def _drawing(self, protocol: str) -> str:
        """The chain that draws for whoever it is."""
        return f"wl_{protocol}_draw" if any(self._blocks()) else f"wl_{protocol}_draw_any"

    def _draw(self, protocol: str, name: str, ports: range, ranges: int) -> Iterator[str]:
        """The chain that draws from one of so many ranges of ports."""
        sport, chain = f"{protocol} sport", f"wl_{protocol}_draw_{name}"
        if self.nat.ports is Ports.SEQUENTIAL:
            yield block(f"chain {chain}", list(self._next_port(sport, ports, ranges)))
            return
        bits = (ports[0] ^ ports[-1]).bit_length()
        around = range(ports[0] >> bits << bits, (ports[0] >> bits << bits) + (1 << bits))
        if len(ports) >= _DENSE * len(around):
            lines = list(self._random_port(sport, around, alone=True))
            if around != ports:
                lines.append(f"{sport} != {ports[0]}-{ports[-1]} {sport} set {sport} & 1")
            yield block(f"chain {chain}", lines)
            return
        parts = sorted(_aligned(ports), key=len, reverse=True)[:_PARTS]
        choices, drawn = [], 0
        for place, part in enumerate(parts):
            yield block(f"chain {chain}_{place}", list(self._random_port(sport, part, alone=False)))
            choices.append(f"{drawn}-{drawn + len(part) - 1} : goto {chain}_{place}")  # each port as likely as any
            drawn += len(part)
        yield block(f"chain {chain}", [f"numgen random mod {drawn} vmap {{ {', '.join(choices)} }}"])

    def _next_port(self, sport: str, ports: range, ranges: int) -> Iterator[str]:
        most = max(1, _LISTED // (ranges * len(PROTOCOLS) * (1 + self.nat.parity)))
        for whose, fitting in self._by_parity(sport, ports):
            fitting = fitting or ports
            middle = len(fitting) // 2  # far from the low ports, which much software has a use for
            chosen = fitting if len(fitting) <= most else fitting[middle : middle + most]
            elements = ", ".join(f"{place} : {port}" for place, port in enumerate(chosen))
            yield f"{whose}{sport} set numgen inc mod {len(chosen)} map {{ {elements} }}"

    def _random_port(self, sport: str, ports: range, *, alone: bool) -> Iterator[str]:
        """From ports that have all values of their lower bits: 32 random bits, of which nft takes any 16.

        *alone*: there are no others to draw from.
        """
        for whose, fitting in self._by_parity(sport, ports):
            if not fitting and not alone:
                yield f"{whose}{sport} set {sport} & 1"  # none here: it is drawn again, for the same parity
                continue
            fitting = fitting or ports
            kept = len(ports) - 1 if len(fitting) == len(ports) else (len(ports) - 1) & ~1
            keep = "" if kept == _ALL_BITS else f" {sport} set {sport} & {kept} | {fitting[0]}"
            yield f"{whose}{sport} set numgen random mod 4294967295{keep}"

    def _by_parity(self, sport: str, ports: range) -> Iterator[tuple[str, Sequence[int]]]:
        """Which packets may get which of the ports."""
        for odd in (0, 1) if self.nat.parity else (None,):
            whose = "" if odd is None else f"{sport} & 1 == {odd} "
            yield whose, ports if odd is None else ports[(ports[0] ^ odd) & 1 :: 2]


def _aligned(ports: range) -> Iterator[range]:
    """The range cut into such as have all values of their lower bits."""
    first, end = ports[0], ports[-1] + 1
    while first < end:
        size = first & -first or 1 << 16
        while first + size > end:
            size >>= 1
        yield range(first, first + size)
        first += size
