"""What a router does with flows that have no mapping of a NAT's: IPv6, and IPv4 where none translates.

A host inside sends to one of two addresses that a neighbour outside is lent for the time, from a fresh port; what the
neighbour sees tells the translation. Then it calls from the port that was sent to, from another one, and from its other
address, and calls a port that has not sent: what arrives tells the filtering.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import TYPE_CHECKING

from wanlab.measure.finding import Finding
from wanlab.plan.steps import AddAddress, Step
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.journey import Atlas
from wanlab.topology.nat import Filtering
from wanlab.topology.network import Interface, IPAddress, IPInterface, Kind, Network, Node

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

OPEN = "none: everything is let in"

_QUIET = 0.15  # seconds after which what has not arrived will not: a cable here delivers in microseconds
_TRIES = 8  # how often what must arrive is sent
_PORTS = range(20_000, 60_000)
_HOST_BITS = (1 << 64) - 1  # what a prefix leaves to hosts (RFC 4291, section 2.5.1)


def routed_versions(router: Node) -> tuple[int, ...]:
    """The families that a router passes or guards without mappings: IPv6, and IPv4 without a NAT."""
    if router.uplink is None or not (router.firewall or router.translates(4) or router.translates(6)):
        return ()
    inside = [i for i in router.interfaces if i.name != router.uplink]
    both = [v for v in (4, 6) if _of(router.interface(router.uplink), v) and any(_of(i, v) for i in inside)]
    return tuple(version for version in both if version == 6 or router.nat is None)


def measure_routed(lab: Lab, routers: Sequence[str]) -> dict[str, tuple[list[Finding], list[str]]]:
    """For each router what was found, and notes of what was not measured."""
    found: dict[str, tuple[list[Finding], list[str]]] = {name: ([], []) for name in routers}
    sites = _Sites(lab.network)
    trials = []
    for name in routers:
        for version in routed_versions(lab.network[name]):
            trial = sites.around(lab.network[name], version)
            if isinstance(trial, str):
                found[name][1].append(f"IPv{version} not measured: {trial}")
            else:
                trials.append(trial)
    with lab.added(sites.steps), ExitStack() as stack:
        for trial in trials:
            trial.open(lab, stack)
        _open_ways(trials)
        _call(trials)
    for trial in trials:
        found[trial.router.name][0].extend(trial.findings())
    return found


def _open_ways(trials: Sequence[_Trial]) -> None:
    for _ in range(_TRIES):
        for trial in trials:
            if trial.seen is None:
                trial.send_out()
        deadline = time.monotonic() + _QUIET
        while time.monotonic() < deadline and any(trial.look_outside() is None for trial in trials):
            time.sleep(0.005)


def _call(trials: Sequence[_Trial]) -> None:
    for _ in range(_TRIES):
        waiting = [trial for trial in trials if trial.seen is not None and "known" not in trial.heard]
        for trial in waiting:
            trial.call()
        deadline = time.monotonic() + _QUIET
        while waiting and time.monotonic() < deadline:
            for trial in waiting:
                trial.look_inside()
            time.sleep(0.005)


# -- where from ----------------------------------------------------------------------------------------------


class _Sites:
    """Finds who can measure a router, and collects the steps that lend addresses."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.atlas = Atlas(network)
        self.steps: list[Step] = []
        self._lent: set[IPAddress] = set()

    def around(self, router: Node, version: int) -> _Trial | str:
        if router.nat is not None and router.nat.udp_ports == ():
            return "no UDP is let out"
        wan = router.interface(router.uplink or "")
        outside = next((peer for peer in self._peers(wan) if _of(peer, version) and self._is_open(peer)), None)
        if outside is None:
            return "nobody is outside of it who takes calls"
        lent = self._lend(outside, version)
        if len(lent) < 2:
            return "no two addresses are free outside of it"
        for inner in router.interfaces:
            for peer in self._peers(inner) if inner.name != router.uplink else ():
                own = _of(peer, version)
                if own and self._leaves_by(peer.node, router, lent[0].ip):
                    self.steps += (AddAddress(outside.node, outside.name, str(address)) for address in lent)
                    return _Trial(router, version, peer.node, own[0].ip, outside.node, (lent[0].ip, lent[1].ip))
        return "no host is behind it"

    def _peers(self, interface: Interface) -> Iterator[Interface]:
        return (p for p in self.network.peers(interface.segment) if p.node != interface.node and p.carrier)

    def _is_open(self, peer: Interface) -> bool:
        node = self.network[peer.node]
        return node.kind is Kind.HOST or not (node.firewall and peer.name == node.uplink)

    def _leaves_by(self, host: str, router: Node, outside: IPAddress) -> bool:
        way = self.atlas.journey(host, outside)
        return self.network[host].kind is Kind.HOST and way.path[:2] == (host, router.name)

    def _lend(self, interface: Interface, version: int) -> list[IPInterface]:
        subnet = _of(interface, version)[0].network
        taken = {a.ip for peer in self.network.peers(interface.segment) for a in peer.addresses} | self._lent
        first, most = int(subnet.network_address) + 1, min(subnet.num_addresses - 2, 1 << 32)
        numbers = random.sample(range(first, first + max(0, most)), min(max(0, most), len(taken) + 64))
        addresses: list[IPAddress] = [IPv4Address(n) if version == 4 else IPv6Address(n) for n in numbers]
        free = [address for address in addresses if address not in taken][:2]
        self._lent.update(free)
        return [ip_interface(f"{address}/{subnet.prefixlen}") for address in free]


def _of(interface: Interface, version: int) -> list[IPInterface]:
    return [address for address in interface.addresses if address.version == version]


# -- one router, one family ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trial:
    router: Node
    version: int
    host: str
    own: IPAddress
    outside: str
    lent: tuple[IPAddress, IPAddress]
    seen: tuple[IPAddress, int] | None = None
    """As what the host was seen outside."""
    heard: set[str] = field(default_factory=set)
    """Whose calls arrived."""
    sockets: dict[str, socket.socket] = field(default_factory=dict)

    def open(self, lab: Lab, stack: ExitStack) -> None:
        allowed = list((self.router.nat.udp_ports if self.router.nat else None) or ())
        first, second, mine, idle = random.sample([port for port in _PORTS if port not in allowed], 4)
        first = allowed[0] if allowed else first
        one, other = self.lent
        places = {
            "host": (self.host, self.own, mine),
            "idle": (self.host, self.own, idle),
            "known": (self.outside, one, first),
            "other port": (self.outside, one, second),
            "other address": (self.outside, other, first),
        }
        for name, (node, address, port) in places.items():
            family = socket.AF_INET if self.version == 4 else socket.AF_INET6
            opened = stack.enter_context(lab.socket(node, family, socket.SOCK_DGRAM))
            opened.setblocking(False)
            opened.bind((str(address), port))
            self.sockets[name] = opened

    def send_out(self) -> None:
        self._send("host", self.sockets["known"].getsockname()[:2])

    def look_outside(self) -> tuple[IPAddress, int] | None:
        for _, (address, port) in self._received("known"):
            self.seen = ip_address(address), port
        return self.seen

    def call(self) -> None:
        assert self.seen is not None
        address, port = str(self.seen[0]), self.seen[1]
        for name in ("other address", "other port", "known"):
            self._send(name, (address, port), name)
        self._send("other address", (address, self.sockets["idle"].getsockname()[1]), "idle")

    def look_inside(self) -> None:
        for name in ("host", "idle"):
            self.heard.update(data.decode(errors="replace") for data, _ in self._received(name))

    def _send(self, name: str, to: tuple[str, int], words: str = "") -> None:
        try:
            self.sockets[name].sendto(words.encode(), to)
        except OSError:
            return  # an ICMP error of an earlier packet, or no way: then nothing arrives

    def _received(self, name: str) -> Iterator[tuple[bytes, tuple[str, int]]]:
        while True:
            try:
                data, sender = self.sockets[name].recvfrom(100)
            except OSError:
                return
            yield data, sender[:2]

    # -- declared beside measured --------------------------------------------------------------------------------

    def findings(self) -> Iterator[Finding]:
        family = f"ipv{self.version}"
        if self.seen is None:
            yield Finding(f"{family} from {self.host}", "let out", "nothing arrives outside", False)
            return
        if self.version == 6:
            declared, seen = self._expected(), self.seen[0]
            measured = self._translation(seen)
            ok = measured is self.router.ipv6 and seen == declared
            yield Finding(
                "ipv6", f"{self.router.ipv6.value}: {self.own} is {declared}", f"{measured.value}: is {seen}", ok
            )
        declared_filtering = self._declared_filtering()
        measured_filtering = self._filtering()
        yield Finding(
            f"{family} filtering", declared_filtering, measured_filtering, declared_filtering == measured_filtering
        )

    def _expected(self) -> IPAddress:
        if self.router.ipv6 is Ipv6.MASQUERADE:
            return _of(self.router.interface(self.router.uplink or ""), 6)[0].ip
        return self.router.outwards(self.own) or self.own

    def _translation(self, seen: IPAddress) -> Ipv6:
        """By the addresses alone."""
        if seen == self.own:
            return Ipv6.ROUTE
        # The router's own may end as the host's does, by chance.
        if seen in [address.ip for address in _of(self.router.interface(self.router.uplink or ""), 6)]:
            return Ipv6.MASQUERADE
        return Ipv6.PREFIX_TRANSLATION if not (int(seen) ^ int(self.own)) & _HOST_BITS else Ipv6.MASQUERADE

    def _declared_filtering(self) -> str:
        if self.router.ipv6 is Ipv6.MASQUERADE and self.version == 6:
            return Filtering.ADDRESS_AND_PORT_DEPENDENT.value
        if not self.router.firewall:
            return OPEN
        return (self.router.filtering or Filtering.ADDRESS_AND_PORT_DEPENDENT).value

    def _filtering(self) -> str:
        if "known" not in self.heard:
            return "not even answers are let in"
        if "idle" in self.heard:
            return OPEN
        if "other address" in self.heard:
            return Filtering.ENDPOINT_INDEPENDENT.value
        kinds = Filtering.ADDRESS_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT
        return kinds["other port" not in self.heard].value
