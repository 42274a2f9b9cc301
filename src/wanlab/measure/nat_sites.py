"""Where a router's NAT is measured from: two addresses outside of it, two places inside."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface

from wanlab.plan.steps import AddAddress, AddCable, AddNamespace, AddRoute, End, Enslave, SetSysctl, SetUp, Step
from wanlab.topology.journey import Atlas
from wanlab.topology.nat import Nat
from wanlab.topology.network import Interface, Kind, Network, Node


@dataclass(frozen=True, slots=True)
class Place:
    """Where sockets are made: a node, and the address that they are bound to."""

    node: str
    address: str


@dataclass(slots=True)
class Site:
    """A router, and the places around it."""

    router: Node
    nat: Nat
    external: tuple[str, ...]
    server: tuple[Place, Place] | None = None
    inside: list[Place] = field(default_factory=list)
    guests: bool = False
    """Whether a place inside is none of the lab's own hosts."""
    one_host: bool = False
    """Whether both places inside are one host."""
    notes: list[str] = field(default_factory=list)


class Sites:
    """Finds places around routers, and collects the steps that make those which are not there."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps: list[Step] = []
        self._token = os.urandom(3).hex()
        self._made = 0
        self._given: set[IPv4Address] = set()
        self._servers: list[tuple[Interface, Interface]] = []
        """Who was plugged in, to be all routers' server there, and beside whom."""

    @cached_property
    def _atlas(self) -> Atlas:
        return Atlas(self.network)

    def around(self, router: Node) -> Site:
        assert router.nat is not None
        wan = router.interface(router.uplink or "")
        site = Site(router, router.nat, tuple(str(a.ip) for a in wan.addresses if a.version == 4))
        if not site.external:
            site.notes.append("not measured: no IPv4 at its uplink")
            return site
        outside = self._free(wan, 2)
        if len(outside) < 2:
            site.notes.append("not measured: no two addresses are free outside of it")
            return site
        node = self._put_outside(wan, outside)
        if node is None:
            site.notes.append("not measured: nobody could be put outside of it")
            return site
        first, second = (Place(node, str(address.ip)) for address in outside)
        site.server = first, second
        self._find_inside(site, outside[0].ip)
        if not site.inside:
            site.notes.append("not measured: no host is behind it, and none could be put there")
        return site

    def _put_outside(self, wan: Interface, addresses: Sequence[IPv4Interface]) -> str | None:
        known = next((each for each, beside in self._servers if self._atlas.joined(beside, wan)), None)
        if known is not None:
            return self._lodge(known, addresses)
        node = self._plug_in(wan, addresses)
        if node is None:
            return self._lodge(self._far_end(wan), addresses)
        self._servers.append((Interface(node, "eth0", wan.segment), wan))
        return node

    def _find_inside(self, site: Site, outside: IPv4Address) -> None:
        router = site.router
        lans = [i for i in router.interfaces if i.name != router.uplink and _ipv4(i)]
        for lan in lans:
            for peer in self.network.peers(lan.segment):
                if len(site.inside) < 2 and self._leaves_by(peer, router, outside):
                    site.inside.append(Place(peer.node, str(_ipv4(peer)[0].ip)))
        # The hosts that are there first, since they have blocks of ports and routes that were given to them.
        bridged = [lan for lan in lans if self._bridge(lan) is not None]
        while len(site.inside) < 2 and bridged:
            node = self._plug_in(bridged[0], address := self._free(bridged[0], 1), _ipv4(bridged[0])[0].ip)
            if node is None:
                break
            site.inside.append(Place(node, str(address[0].ip)))
            site.guests = True
        if len(site.inside) == 1:
            lan = next(lan for lan in lans if any(p.node == site.inside[0].node for p in self._peers(lan)))
            node = self._lodge(self._far_end(lan), address := self._free(lan, 1))
            if node is not None:
                site.inside.append(Place(node, str(address[0].ip)))
                site.one_host = True

    def _leaves_by(self, peer: Interface, router: Node, outside: IPv4Address) -> bool:
        """Whether that host sends by that router what is for outside of it."""
        if self.network[peer.node].kind is not Kind.HOST or not _ipv4(peer):
            return False
        return self._atlas.journey(peer.node, outside).path[:2] == (peer.node, router.name)

    def _peers(self, interface: Interface) -> Iterator[Interface]:
        peers = (p for p in self.network.peers(interface.segment) if p.node != interface.node and p.carrier)
        return (peer for peer in peers if self._atlas.joined(peer, interface))

    def _far_end(self, interface: Interface) -> Interface | None:
        return next((peer for peer in self._peers(interface) if _ipv4(peer)), None)

    def _bridge(self, beside: Interface) -> Interface | None:
        bridges = (i for node in self.network for i in node.interfaces if i.bridge and i.segment == beside.segment)
        return next((bridge for bridge in bridges if self._atlas.joined(bridge, beside)), None)

    def _free(self, interface: Interface, count: int) -> list[IPv4Interface]:
        """Addresses that nobody has; fewer where there are no more."""
        subnet = _ipv4(interface)[0].network
        taken = {a.ip for peer in self.network.peers(interface.segment) for a in _ipv4(peer)} | self._given
        first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
        # By chance: who measures here at the same time hardly finds the same ones, and no NAT knows them from before.
        numbers = random.sample(range(first, last + 1), min(max(0, last - first + 1), len(taken) + 64))
        found = [IPv4Address(number) for number in numbers if IPv4Address(number) not in taken][:count]
        self._given.update(found)
        return [IPv4Interface(f"{address}/{subnet.prefixlen}") for address in found]

    def _plug_in(
        self, beside: Interface, addresses: Sequence[IPv4Interface], gateway: IPv4Address | None = None
    ) -> str | None:
        """Put a host beside that interface; None where there is no bridge to plug it into, or no address for it."""
        bridge = self._bridge(beside)
        if bridge is None or not addresses:
            return None
        self._made += 1
        node, port = f"_{self._token}-{self._made}", f"wl{self._token}{self._made}"
        # A bridge takes the lowest of its ports' addresses for its own: this one is high, and so nothing changes.
        mac = ":".join(f"{byte:02x}" for byte in (0xFE, 0xFF, *os.urandom(4)))
        self.steps += [
            AddNamespace(node),
            SetSysctl(node, "net.ipv6.conf.default.disable_ipv6", "1"),
            AddCable(End(node, "eth0", None, bridge.mtu), End(bridge.node, port, mac, bridge.mtu)),
            Enslave(bridge.node, port, bridge.name),
            SetUp(bridge.node, port),
            *(AddAddress(node, "eth0", str(address)) for address in addresses),
            SetUp(node, "eth0"),
        ]
        if gateway is not None:
            self.steps.append(AddRoute(node, "0.0.0.0/0", str(gateway), "eth0"))
        return node

    def _lodge(self, interface: Interface | None, addresses: Sequence[IPv4Interface]) -> str | None:
        """Give the addresses to a node that is there."""
        if interface is None or not addresses:
            return None
        self.steps += [AddAddress(interface.node, interface.name, str(address)) for address in addresses]
        return interface.node


def _ipv4(interface: Interface) -> list[IPv4Interface]:
    return [address for address in interface.addresses if isinstance(address, IPv4Interface)]
