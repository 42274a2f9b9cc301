"""Edits: the one thing that another topology differs by, as a person says it. Pure data.

Each makes a topology of its own out of another, checked as a file would be, and leaves that one as it is. A verb, an
event of a scenario and a call in Python are the same edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wanlab.errors import Source, UsageError
from wanlab.topology.document import from_document, rebuild
from wanlab.topology.leases import another_address, with_length
from wanlab.topology.network import Interface, LinkState, Network
from wanlab.topology.places import OF_A_CABLE, place_of, split, with_keys, with_state
from wanlab.topology.topology import Topology


@dataclass(frozen=True, slots=True)
class Change:
    """Other keys of nodes (`home-a`) or interfaces (`laptop:wifi`), as a lab file has them; None takes one away."""

    keys: Mapping[str, Mapping[str, Any]]

    def applied(self, topology: Topology, network: Network) -> Topology:
        """*topology*, which resolves to *network*, with that. Raises NoSuchNode, UsageError, TopologyError."""
        document = topology.to_document()
        for place, keys in self.keys.items():
            node, interface = split(place)
            kind = network[node].kind.value
            by_cable = kind == "host" and "link" not in document[kind][node] and keys.keys() <= OF_A_CABLE
            if interface is not None or by_cable:
                with_keys(document, place_of(topology, network, place), keys)
            else:
                table = {**document[kind][node], **keys}
                document[kind][node] = {key: value for key, value in table.items() if value is not None}
        return from_document(document, file=f"lab {network.name}")

    def __str__(self) -> str:
        return "; ".join(
            f"{place}: {', '.join(f'{key} = {_shown(value)}' for key, value in keys.items())}"
            for place, keys in self.keys.items()
        )


@dataclass(frozen=True, slots=True)
class Link:
    """Another state of links, named as in `wanlab link`."""

    places: tuple[str, ...]
    state: LinkState

    def applied(self, topology: Topology, network: Network) -> Topology:
        """*topology* with that. Raises NoSuchNode, UsageError."""
        for place in self.places:
            topology = rebuild(with_state(topology, network, place, self.state))
        return topology

    def __str__(self) -> str:
        return f"{', '.join(self.places)}: {self.state.value}"


@dataclass(frozen=True, slots=True)
class Plug:
    """An interface plugged `into` another switch or router, or in again where it was (None), and up.

    Elsewhere it has another `address`, which is chosen where it is not given.
    """

    place: str
    into: str | None = None
    address: str | Sequence[str] | None = None

    def applied(self, topology: Topology, network: Network) -> Topology:
        """*topology* with that. Raises NoSuchNode, UsageError, TopologyError."""
        at = place_of(topology, network, self.place)
        document = topology.to_document()
        table: Any = document
        for step in at.path:
            table = table[step]
        key = "uplink" if at.path[0] == "router" and len(at.path) == 2 else "link"
        keys: dict[str, Any] = {"state": None}
        if at.path[0] in ("link", "switch") and self.into is not None:
            what = "has a cable of its own" if at.path[0] == "link" else "is a link of switches"
            raise UsageError(f"{at.owner} {what}: its other end stays where it is")
        if self.into is not None and self.into != table[key]:
            keys |= {key: self.into, "address": None}
        if self.address is not None:
            keys["address"] = self.address if isinstance(self.address, str) else list(self.address)
        return from_document(with_keys(document, at, keys), file=f"lab {network.name}")

    def __str__(self) -> str:
        return f"{self.place}: plugged in" + (f" at {self.into}" if self.into else "")


@dataclass(frozen=True, slots=True)
class NewAddress:
    """An interface that has another address in its subnet, as by a new DHCP lease, and is up. A router's: its uplink's.

    `address` is one, or one for each family; a family that has none there keeps what it has. Left out, the next free
    ones are taken, of each family.
    """

    place: str
    address: str | Sequence[str] | None = None

    def applied(self, topology: Topology, network: Network) -> Topology:
        """*topology* with that. Raises NoSuchNode, UsageError, TopologyError."""
        at = place_of(topology, network, self.place)
        if at.port:
            raise UsageError(f"{self.place} is a port, whose address is not by a lease", hint=f"name {at.owner}")
        node, name = at.owner.split(":")
        interface = network[node].interface(name)
        addresses = another_address(network, interface) if self.address is None else self._given(interface)
        keys = {"address": addresses, "state": None}
        return from_document(with_keys(topology.to_document(), at, keys), file=f"lab {network.name}")

    def _given(self, interface: Interface) -> list[str]:
        given = [self.address] if isinstance(self.address, str) else list(self.address or ())
        versions = {6 if ":" in text else 4 for text in given}
        kept = [
            str(a)
            for a in interface.addresses
            if a.version not in versions and not (a.version == 6 and interface.slaac)
        ]
        return [*(with_length(text, interface) for text in given), *kept]

    def __str__(self) -> str:
        return f"{self.place}: new address" + ("" if self.address is None else f" {_shown(self.address)}")


@dataclass(frozen=True, slots=True)
class Become:
    """Another topology altogether."""

    lab: str
    """A lab of the catalogue or a file."""

    def applied(self, topology: Topology, network: Network) -> Topology:
        """That topology. Raises TopologyError."""
        return Topology.load(self.lab)

    def __str__(self) -> str:
        return f"becomes {self.lab}"


@dataclass(frozen=True, slots=True)
class Part:
    """Groups of nodes kept from one another, beside the partitions that are there. One group: from everybody else."""

    groups: tuple[tuple[str, ...], ...]

    def applied(self, topology: Topology, network: Network) -> Topology:
        """*topology* with that. Raises TopologyError."""
        parted = rebuild(topology.to_document())
        parted.partition(*self.groups, source=Source(f"lab {network.name}"))
        return parted

    def __str__(self) -> str:
        return f"partition: {' | '.join(', '.join(group) for group in self.groups)}"


@dataclass(frozen=True, slots=True)
class Heal:
    """No partition is left; or of those that name one of `nodes`, none."""

    nodes: tuple[str, ...] = ()

    def applied(self, topology: Topology, network: Network) -> Topology:
        """*topology* with that. Raises NoSuchNode."""
        named = {network[name].name for name in self.nodes}
        healed = rebuild(topology.to_document())
        healed.partitions = tuple(
            p for p in healed.partitions if named and not named & {name for group in p.groups for name in group}
        )
        return healed

    def __str__(self) -> str:
        return f"heal: {', '.join(self.nodes) or 'all'}"


Edit = Change | Link | Plug | NewAddress | Part | Heal | Become


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
