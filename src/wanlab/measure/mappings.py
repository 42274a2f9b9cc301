"""What the NATs of a lab remember now: each mapping, who may send to it, and how long it still stands.

Two places know of it. Connection tracking has the flows of every NAT. A NAT that behaves as no kernel does by itself
has maps besides (`plan/ruleset.py`), whose elements are its mappings and time out as these do; they are read by the
types that they are declared with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from wanlab.errors import KernelError, UsageError
from wanlab.measure.looking import look_in
from wanlab.plan.nft_text import MAPPED_IN
from wanlab.plan.ruleset import TABLE
from wanlab.topology.nat import Filtering, PortMapping
from wanlab.topology.network import Kind, Node

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_ADDRESS, _PORT, _PROTOCOL = "ipv4_addr", "inet_service", "inet_proto"  # nft's names of types
_ENDPOINT = (_ADDRESS, _PORT)
_NUMBERS = {6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True, order=True)
class LiveEndpoint:
    """An address and a port; of ICMP, its identifier."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class Peer:
    """Somebody outside whose packets are let in to a mapping."""

    address: str
    port: int | None
    """None: any of its ports."""
    expires_s: int
    """Seconds until no longer, where nothing is sent."""

    def __str__(self) -> str:
        return self.address if self.port is None else str(LiveEndpoint(self.address, self.port))


@dataclass(frozen=True, slots=True)
class LiveMapping:
    """A mapping that a NAT has."""

    router: str
    protocol: str
    """`udp`, `tcp`, `icmp`, ..."""
    internal: LiveEndpoint
    external: LiveEndpoint
    """What stands for it outside."""
    expires_s: int | None
    """Seconds until it is forgotten, where nothing is sent; None: it stands until somebody takes it away."""
    peers: tuple[Peer, ...]
    """Those whose packets are let in because something was sent to them."""
    open: bool
    """Whether anybody's packets are let in (endpoint-independent filtering, or a port that was asked for)."""
    asked: bool = False
    """Whether a port mapping protocol has made it (NAT-PMP, PCP, UPnP)."""

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LiveMapping:
        """Of :meth:`to_json`."""
        ends = {name: LiveEndpoint(**value[name]) for name in ("internal", "external")}
        return cls(**{**value, **ends, "peers": tuple(Peer(**peer) for peer in value["peers"])})


def mappings(lab: Lab, routers: Iterable[str] | None = None) -> tuple[LiveMapping, ...]:
    """The mappings of these routers; left out: of all that translate.

    Sorted by router, protocol and internal endpoint. Raises NoSuchNode, UsageError for a node that is no router,
    KernelError for one that cannot be looked at.
    """
    if routers is None:
        routers = [each.name for each in lab.network.of(Kind.ROUTER) if each.translates(4) or each.translates(6)]
    nodes = [lab.network[name] for name in routers]
    for node in nodes:
        if node.kind is not Kind.ROUTER:
            raise UsageError(f"{node.kind.value} {node.name!r} translates nothing", hint="name a router")
    looks = look_in(lab, [node.name for node in nodes], __name__)
    found: list[LiveMapping] = []
    for node in nodes:
        if node.name not in looks:
            raise KernelError(f"router {node.name!r} cannot be looked at")
        if "error" in looks[node.name]:
            raise KernelError(f"router {node.name!r}: {looks[node.name]['error']}")
        found += _Memory(node, looks[node.name]).mappings()
    return tuple(found)


def look() -> None:
    """In a router: print what its kernel has, as JSON."""
    from wanlab.errors import WanlabError
    from wanlab.kernel import flows, nftables

    try:
        memories = []
        for each in nftables.names_of_maps():
            if each["table"] == TABLE and _concerns_ports(_types(each["type"])):
                listed = nftables.as_json(f"list {each['kind']} {each['family']} {TABLE} {each['name']}")
                memories.append({**each, "elem": listed[0][each["kind"]].get("elem", [])})
        chains = nftables.as_json("list chains")
        mapped = any(each.get("chain", {}).get("name") == MAPPED_IN for each in chains)
        rules = nftables.as_json(f"list chain inet {TABLE} {MAPPED_IN}") if mapped else []
        print(json.dumps({"connections": [asdict(each) for each in flows.tracked()], "maps": memories, "rules": rules}))
    except (WanlabError, OSError) as error:
        print(json.dumps({"error": str(error)}))


# -- what they mean --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Known:
    """What was found out about one mapping so far."""

    timer: int | None = None
    """What the NAT's own map says."""
    flows: int = 0
    """The longest that one of its flows is remembered."""
    peers: dict[tuple[str, int | None], int] = field(default_factory=dict)

    def let_in(self, address: str, port: int | None, seconds: int) -> None:
        self.peers[address, port] = max(seconds, self.peers.get((address, port), 0))


_Key = tuple[str, LiveEndpoint, LiveEndpoint]
"""Protocol, internal, external."""


class _Memory:
    def __init__(self, router: Node, look: Mapping[str, Any]) -> None:
        self.router = router
        self.external = [str(address.ip) for address in router.primary.addresses if address.version == 4]
        self.known: dict[_Key, _Known] = {}
        self.by_external: dict[tuple[str, LiveEndpoint], list[_Known]] = {}
        self._look = look

    def mappings(self) -> list[LiveMapping]:
        for each in self._look["maps"]:
            if "map" in each:
                self._map(each)
        for connection in self._look["connections"]:
            self._connection(connection)
        for each in self._look["maps"]:
            if "map" not in each:
                self._set(each)
        nat = self.router.nat
        opened = nat is not None and nat.filtering is Filtering.ENDPOINT_INDEPENDENT
        found = [self._mapping(key, known, opened) for key, known in self.known.items()]
        if nat is not None and nat.port_mapping is not PortMapping.OFF:
            found += self._asked_for()
        return sorted(found, key=lambda each: (each.protocol, each.internal, each.external))

    def _mapping(self, key: _Key, known: _Known, opened: bool) -> LiveMapping:
        protocol, internal, external = key
        for address, port in list(known.peers):
            if port is not None and (address, None) in known.peers:  # all of its ports are let in
                del known.peers[address, port]
        peers = tuple(sorted((Peer(*who, seconds) for who, seconds in known.peers.items()), key=str))
        expires = known.flows if known.timer is None else known.timer
        in_maps = protocol in ("udp", "tcp") and "." in internal.address
        return LiveMapping(self.router.name, protocol, internal, external, expires, peers, opened and in_maps)

    def _of(self, protocol: str, internal: LiveEndpoint, external: LiveEndpoint) -> _Known:
        known = self.known.get((protocol, internal, external))
        if known is None:
            known = self.known[protocol, internal, external] = _Known()
            self.by_external.setdefault((protocol, external), []).append(known)
        return known

    def _map(self, declared: Mapping[str, Any]) -> None:
        """A map from external to internal endpoints, or the other way round; more of the key may be a peer's."""
        for key, data, seconds in _elements(declared):
            protocol, endpoint, _ = self._parted(declared, key)
            other = LiveEndpoint(str(data[0]), int(data[1]))
            inside, outside = (other, endpoint) if endpoint.address in self.external else (endpoint, other)
            known = self._of(protocol, inside, outside)
            known.timer = max(seconds, known.timer or 0)

    def _set(self, declared: Mapping[str, Any]) -> None:
        """A set of external endpoints that are taken, or of these with those who may send to them."""
        for key, _, seconds in _elements(declared):
            protocol, external, peer = self._parted(declared, key)
            for known in self.by_external.get((protocol, external), ()):
                if peer:
                    known.let_in(str(peer[0]), int(peer[1]) if len(peer) > 1 else None, seconds)
                else:
                    known.timer = max(seconds, known.timer or 0)

    def _parted(self, declared: Mapping[str, Any], key: Sequence[Any]) -> tuple[str, LiveEndpoint, list[Any]]:
        """A key as protocol, endpoint, and what is left.

        The protocol is in the key, or in the map's name; so is an external address: the name ends in which it is.
        """
        rest, name = list(key), str(declared["name"])
        types = _types(declared["type"])
        protocol = next((word for word in name.split("_") if word in ("udp", "tcp")), "")
        if types[0] == _PROTOCOL:
            first = rest.pop(0)
            protocol, types = _NUMBERS.get(first, str(first)), types[1:]
        if types[0] == _PORT:
            number = re.search(r"\d+\Z", name)
            place = int(number[0]) if number else 0
            rest.insert(0, self.external[place] if place < len(self.external) else "0.0.0.0")
        return protocol, LiveEndpoint(str(ip_address(rest[0])), int(rest[1])), rest[2:]

    def _connection(self, connection: Mapping[str, Any]) -> None:
        one, other = connection["original"], connection["reply"]
        sender = LiveEndpoint(one["source"], one["source_port"])
        called = LiveEndpoint(one["destination"], one["destination_port"])
        answering = LiveEndpoint(other["source"], other["source_port"])
        answered = LiveEndpoint(other["destination"], other["destination_port"])
        seconds = connection["seconds"]
        pairs = []
        if sender != answered:  # its source was translated
            pairs.append((sender, answered, called))
        # Of ICMP both sides have the one identifier, translated or not.
        pings = connection["protocol"].startswith("icmp")
        if called.address != answering.address if pings else called != answering:  # its destination was
            pairs.append((answering, called, answered))
        for internal, external, peer in pairs:
            known = self._of(connection["protocol"], internal, external)
            known.flows = max(seconds, known.flows)
            known.let_in(peer.address, None if pings else peer.port, seconds)

    def _asked_for(self) -> Iterator[LiveMapping]:
        """What the port mapping server has put into its chain."""
        address = str(next((a.ip for a in self.router.primary.addresses if a.version == 4), ""))
        for each in self._look["rules"]:
            found: dict[str, Any] = {}
            for part in each.get("rule", {}).get("expr", ()):
                if "dnat" in part:
                    found["to"] = part["dnat"]
                elif "match" in part:
                    left, right = part["match"]["left"], part["match"]["right"]
                    if left.get("payload", {}).get("field") == "dport":
                        found["port"] = right
                    elif right in _NUMBERS or right in _NUMBERS.values():
                        found["protocol"] = _NUMBERS.get(right, right)
            if {"to", "port", "protocol"} <= set(found):
                internal = LiveEndpoint(str(found["to"]["addr"]), int(found["to"].get("port", found["port"])))
                external = LiveEndpoint(address, int(found["port"]))
                yield LiveMapping(self.router.name, str(found["protocol"]), internal, external, None, (), True, True)


def _concerns_ports(types: Sequence[str]) -> bool:
    """Whether a set or map of such keys can be one of external ports or of endpoints."""
    rest = types[1:] if types[0] == _PROTOCOL else types
    return tuple(rest[:2]) == _ENDPOINT or tuple(rest[:2]) in ((_PORT,), (_PORT, _ADDRESS))


def _types(declared: str | Sequence[str]) -> tuple[str, ...]:
    return (declared,) if isinstance(declared, str) else tuple(declared)


def _elements(declared: Mapping[str, Any]) -> Iterator[tuple[list[Any], list[Any], int]]:
    """Key, data (of a map) and seconds left of each element."""
    for each in declared["elem"]:
        key, data = each if "map" in declared else (each, [])
        timer = seconds = int(declared.get("timeout", 0))
        if isinstance(key, dict) and "elem" in key:
            seconds = int(key["elem"].get("expires", key["elem"].get("timeout", seconds)))
            # It may have been given a second more, for packets that leave its timer alone (plan/mappings.py): the NAT
            # promises no more than its timer.
            seconds = min(seconds, timer) if timer else seconds
            key = key["elem"]["val"]
        yield _parts(key), _parts(data), seconds


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value["concat"])
    return value if isinstance(value, list) else [value]
