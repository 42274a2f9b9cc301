"""Where to listen, and to what: `NODE` or `NODE:INTERFACE`, and a filter, as a command line or a caller names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wanlab.capture.packet_filter import WORDS, Condition, parse
from wanlab.errors import NoSuchNode, did_you_mean
from wanlab.kernel.means import is_wire_tap
from wanlab.topology.network import IPAddress, Network


@dataclass(frozen=True, slots=True)
class Place:
    """A node, or one interface of it."""

    node: str
    interface: str | None = None
    """None: every one but `lo` and bridges, whose ports are there already."""


def places(network: Network, words: Iterable[str] = ()) -> list[Place]:
    """The places that *words* name; all nodes, where there are none. Raises NoSuchNode, also for an interface."""
    found = [_place(network, word) for word in words] or [Place(node.name) for node in network]
    whole = {place.node for place in found if place.interface is None}
    found = [place for place in found if place.interface is None or place.node not in whole]
    return list(dict.fromkeys(found))


def _place(network: Network, word: str) -> Place:
    name, colon, interface = word.partition(":")
    node = network[name]
    names = [each.name for each in node.interfaces]
    if colon and interface not in names:
        raise NoSuchNode(f"node {name!r} has no interface {interface!r}", hint=did_you_mean(interface, names))
    return Place(name, interface if colon else None)


def end_names(network: Network, listening: Iterable[Place]) -> list[str]:
    """The link ends that these places have: `alice:eth0`."""
    return [
        f"{place.node}:{interface.name}"
        for place in listening
        for interface in network[place.node].interfaces
        if (interface.name == place.interface if place.interface else not interface.bridge)
    ]


def hidden(network: Network, listening: Iterable[Place]) -> Callable[[str], bool]:
    """Whether an end, by its name, is no place of the lab's: its packets are seen, or shall be seen, elsewhere.

    Such are the bridges of nodes that are listened to as a whole, which are seen at their ports; and the taps of the
    program that impairs links, which is not a part of the network.
    """
    own = {f"{interface.node}:{interface.name}" for node in network for interface in node.interfaces}
    bridges = {
        f"{place.node}:{interface.name}"
        for place in listening
        for interface in network[place.node].interfaces
        if interface.bridge and place.interface is None
    }

    def is_hidden(end: str) -> bool:
        return end in bridges or (end not in own and is_wire_tap(end.partition(":")[2]))

    return is_hidden


def split(network: Network, words: Sequence[str]) -> tuple[list[str], str]:
    """Places first, then a filter: which of *words* are which."""
    for number, word in enumerate(words):
        name = word.partition(":")[0]
        begins = any(character in word for character in " ()!") or word in WORDS
        if begins and name not in network.nodes:
            return list(words[:number]), " ".join(words[number:])
    return list(words), ""


def lab_filter(network: Network, text: str) -> Condition | None:
    """The filter that *text* is, with the lab's own names of hosts. Raises UsageError."""

    def addresses(name: str) -> list[IPAddress]:
        if name not in network.nodes:
            return []
        return [address.ip for interface in network[name].interfaces for address in interface.addresses]

    return parse(text, addresses)
