"""Partitions as nftables rules: what nodes are kept from is lost on its way, and neither end hears of it.

What a node sends is lost where its cable ends: at the switch's port, the router's interface. What is sent to it is lost
there too where that is a bridge's port, else as it comes in. Everything is lost, whatever its protocol: by the MAC
addresses of who is on the same segment, and the IP addresses of who is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from wanlab.plan.steps import LoseFrames
from wanlab.topology.network import IPNetwork, Kind, Network, Node
from wanlab.topology.partitions import Far

_TABLE = "wanlab_apart"


def lose_frames(network: Network) -> Iterator[LoseFrames]:
    """The rules of all nodes at which frames are to be lost."""
    places: dict[str, _Rules] = {}
    far_ends = {end: other for link in network.links for end, other in ((link.a, link.b), (link.b, link.a))}
    for name, far in network.apart.items():
        node = network[name]
        macs = sorted(_macs(network, far))
        for interface in node.interfaces:
            end = far_ends.get((name, interface.name))
            if end is None:
                continue
            there = network[end[0]].interface(end[1])
            beyond = places.setdefault(there.node, _Rules())
            beyond.arriving(there.name, "daddr", macs, far.addresses)
            passing = ("saddr", "daddr") if node.kind is Kind.ROUTER else ("saddr",)
            for way in passing:
                by_mac = macs if way == "saddr" else []
                if there.master is not None:
                    beyond.leaving(there.name, way, by_mac, far.addresses)
                else:
                    places.setdefault(name, _Rules()).arriving(interface.name, way, by_mac, far.addresses)
    for node in network:
        rules = places.get(node.name)
        if rules is not None and rules.interfaces:
            yield LoseFrames(node.name, tuple(sorted(rules.interfaces)), rules.text())


def without(text: str) -> str:
    """The rules that take these rules away."""
    return "".join(_forget(family) for family in re.findall(rf"^table (\w+) {_TABLE} {{$", text, re.MULTILINE))


def _forget(family: str) -> str:
    return f"table {family} {_TABLE}\ndelete table {family} {_TABLE}\n"  # the first line makes the second sure to work


@dataclass(slots=True)
class _Rules:
    """The rules of one node, by interface."""

    incoming: dict[str, list[str]] = field(default_factory=dict)
    outgoing: dict[str, list[str]] = field(default_factory=dict)

    @property
    def interfaces(self) -> set[str]:
        return {*self.incoming, *self.outgoing}

    def arriving(self, interface: str, way: str, macs: list[str], addresses: Iterable[IPNetwork]) -> None:
        lines = list(_matches(way, macs, addresses))
        if lines:
            self.incoming.setdefault(interface, []).extend(lines)

    def leaving(self, interface: str, way: str, macs: list[str], addresses: Iterable[IPNetwork]) -> None:
        lines = [f'oifname "{interface}" {line}' for line in _matches(way, macs, addresses)]
        if lines:
            self.outgoing.setdefault(interface, []).extend(lines)

    def text(self) -> str:
        parts = []
        if self.incoming:
            chains = [
                _chain(f"in{number}", f'type filter hook ingress device "{name}" priority -500;', lines)
                for number, (name, lines) in enumerate(self.incoming.items())
            ]
            parts.append(_table("netdev", chains))
        if self.outgoing:
            lines = [line for lines in self.outgoing.values() for line in lines]
            parts.append(_table("bridge", [_chain("out", "type filter hook postrouting priority -500;", lines)]))
        return "".join(parts)


def _table(family: str, chains: list[str]) -> str:
    return f"{_forget(family)}table {family} {_TABLE} {{\n{''.join(chains)}}}\n"


def _chain(name: str, hook: str, lines: list[str]) -> str:
    return f"\tchain wl_{name} {{\n\t\t{hook} policy accept;\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _matches(way: str, macs: list[str], addresses: Iterable[IPNetwork]) -> Iterator[str]:
    if macs:
        yield f"ether {way} {{ {', '.join(macs)} }} counter drop"
    for version, word in ((4, "ip"), (6, "ip6")):
        several = [_written(address) for address in addresses if address.version == version]
        if several:
            yield f"{word} {way} {{ {', '.join(several)} }} counter drop"


def _written(network: IPNetwork) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _macs(network: Network, far: Far) -> Iterator[str]:
    for name in far.nodes:
        node: Node = network[name]
        yield from (interface.mac for interface in node.interfaces if interface.mac is not None)
