"""Translation whose mappings outlive the kernel's own: what it remembers, and the chains that learn and use it.

A chain behind source translation sees which external endpoint the kernel chose, and writes it into maps whose elements
time out. Later rules read the maps: a mapping that stands is used again, and a packet from outside finds whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wanlab.plan.limit import subscribers
from wanlab.plan.mappings import (
    NO_CHECKSUM,
    fresh,
    maps_ports,
    marking,
    reuses,
    takes_tuples,
    update_timers,
)
from wanlab.plan.nft_text import MAPPED_OUT, PROTOCOLS, block, duration, hook, into_mapped
from wanlab.plan.ports import Draws
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Nat, Pooling, Ports
from wanlab.topology.network import Network, Node

_PORTS = 65_536  # of an address: the most mappings that it has for a protocol
_MOST = 262_144  # elements of a set that no number of ports bounds

# For so many elements the kernel makes room at once, and need not move all to a larger table time and again while they
# come. It takes the lower 16 bits of a set's size for that (nelem_hint in struct rhashtable_params).
_ROOM = 12_288


class Learned:
    """The maps and chains of a NAT whose mappings outlive the kernel's own."""

    def __init__(self, router: Node, nat: Nat, network: Network) -> None:
        assert router.uplink is not None
        self.wan = router.uplink
        self.nat = nat
        self.external = [a.ip for a in router.interface(router.uplink).addresses if a.version == 4]
        inside = [i for i in router.interfaces if i.name != router.uplink and i.addresses]
        lans = [str(a.network) for i in inside for a in i.addresses if a.version == 4]
        self.has_inside = bool(lans)
        self.lans = _one_of(lans)
        self.draws = Draws(nat, self.external, subscribers(router, network))
        self.reuses = reuses(nat)
        self.hairpins = nat.hairpin is not Hairpin.OFF and self.has_inside
        self.leads_back = self.hairpins or nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT
        self.to_address = nat.mapping is Mapping.ADDRESS_DEPENDENT
        self.filters_inside = nat.hairpin is Hairpin.EXTERNAL and nat.filtering is not Filtering.ENDPOINT_INDEPENDENT
        self.restarts = bool(fresh(nat))

    # -- what is remembered --------------------------------------------------------------------------------------

    def memory(self) -> Iterator[str]:
        """The maps. An element is a mapping, and its timeout the mapping's timer."""
        for protocol in PROTOCOLS:
            timeout = self.nat.udp_timeout_s if protocol == "udp" else self.nat.tcp_established_s
            endpoint = "ipv4_addr . inet_service"
            if self.reuses:
                key = endpoint + (" . ipv4_addr" if self.to_address else "")
                most = _PORTS * len(self.external) + _ROOM
                yield _memory("map", f"{protocol}_mapping", f"{key} : {endpoint}", most, timeout)
            for number in range(len(self.external)):
                # Each external port that is taken, and whose it is where anybody may ask.
                kind, type_ = ("map", f"inet_service : {endpoint}") if self.leads_back else ("set", "inet_service")
                yield _memory(kind, f"{protocol}_external{number}", type_, _PORTS + _ROOM, timeout)
                if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
                    type_ = "inet_service . ipv4_addr"
                    yield _memory("set", f"{protocol}_permitted{number}", type_, _MOST + _ROOM, timeout)
            if self.filters_inside:
                yield _memory("set", f"{protocol}_inside", f"{endpoint} . {self._peer_type}", _MOST, timeout)
        if takes_tuples(self.nat):
            yield _memory("set", "udp_answered", "ipv4_addr . inet_service", _MOST, self.nat.udp_timeout_s)

    @property
    def _peer_type(self) -> str:
        return "ipv4_addr" if self.nat.filtering is Filtering.ADDRESS_DEPENDENT else "ipv4_addr . inet_service"

    # -- chains --------------------------------------------------------------------------------------------------

    def chains(self) -> Iterator[str]:
        """All chains, each behind those that it leads to."""
        for protocol in PROTOCOLS:
            if self.leads_back:
                for number in range(len(self.external)):
                    yield block(f"chain wl_{protocol}_back{number}", list(self._back(protocol, number)))
        yield hook("prerouting", "nat", "prerouting", "dstnat", list(self._prerouting()))
        for protocol in PROTOCOLS:
            yield from self.draws.draws(protocol)
            for number in range(len(self.external)):
                yield from self.draws.choices(protocol, number)
                if len(self.external) > 1:
                    yield block(f"chain wl_{protocol}_from{number}", list(self._new_mapping(protocol, number)))
            yield block(f"chain wl_{protocol}", list(self._translate(protocol)))
        yield hook("postrouting", "nat", "postrouting", "srcnat", list(self._postrouting()))
        yield from marking(self.nat)
        for protocol in PROTOCOLS:
            yield block(f"chain wl_{protocol}_asked", list(self._learn(protocol, asked=True)))
            yield block(f"chain wl_{protocol}_called", list(self._learn(protocol, asked=False)))
        yield block("chain wl_leaves", list(self._leaves()))
        if self.hairpins and self.nat.hairpin is Hairpin.EXTERNAL:
            yield block("chain wl_hairpin", list(self._hairpin()))
        yield hook("learn", "filter", "postrouting", "srcnat + 1", list(self._learn_hook()))

    def _prerouting(self) -> Iterator[str]:
        if maps_ports(self.nat):
            yield into_mapped(self.wan)
        # Connection tracking looks for a free port at the destination, too, unless it is told one.
        for protocol in PROTOCOLS:
            outwards = f"ip daddr != {_one_of(self.external)} meta l4proto {protocol}"
            yield f"{outwards} dnat ip to ip daddr : {protocol} dport"
        if self.leads_back:
            places = (
                f"{address} . {protocol} : goto wl_{protocol}_back{number}"
                for number, address in enumerate(self.external)
                for protocol in PROTOCOLS
            )
            yield f"ip daddr . meta l4proto vmap {{ {', '.join(places)} }}"

    def _back(self, protocol: str, number: int) -> Iterator[str]:
        """Where what comes to an external address is led to."""
        from_wan = f'iifname "{self.wan}"'
        if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
            yield f"{from_wan} {protocol} dport . ip saddr != @wl_{protocol}_permitted{number} return"
        elif self.nat.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT:
            yield f"{from_wan} return"
        if not self.hairpins:
            yield f'iifname != "{self.wan}" return'
        yield f"dnat ip addr . port to {protocol} dport map @wl_{protocol}_external{number}"

    def _postrouting(self) -> Iterator[str]:
        if maps_ports(self.nat):
            yield f"jump {MAPPED_OUT}"
        yield "meta nfproto != ipv4 return"
        for protocol in PROTOCOLS:
            yield f'oifname "{self.wan}" meta l4proto {protocol} goto wl_{protocol}'
        if self.hairpins and self.nat.hairpin is Hairpin.EXTERNAL:
            # The LAN is named as source: else the address of every outside peer that is let in would be hidden as well.
            for protocol in PROTOCOLS:
                inside = f'oifname != "{self.wan}" ip saddr {self.lans} ct status dnat'
                yield f"{inside} meta l4proto {protocol} goto wl_{protocol}"
        yield f'oifname "{self.wan}" {self._any_port()}'

    def _any_port(self) -> str:
        """For what has no ports: ICMP's queries keep their identifiers where they can (RFC 5508 REQ-1)."""
        if len(self.external) == 1:
            return f"snat ip to {self.external[0]}"
        choices = ", ".join(f"{number} : {address}" for number, address in enumerate(self.external))
        return f"snat ip to {self._which} map {{ {choices} }}"

    @property
    def _which(self) -> str:
        """An expression that picks one of several external addresses."""
        count = len(self.external)
        return f"jhash ip saddr mod {count}" if self.nat.pooling is Pooling.PAIRED else f"numgen random mod {count}"

    def _translate(self, protocol: str) -> Iterator[str]:
        if protocol == "udp" and takes_tuples(self.nat):
            # Towards whom the router itself has answered, a mapping's own port is taken.
            yield "ip daddr . udp dport @wl_udp_answered goto wl_udp_choose0"
        if self.reuses:
            key = f"ip saddr . {protocol} sport" + (" . ct original ip daddr" if self.to_address else "")
            yield f"meta l4proto {protocol} snat ip addr . port to {key} map @wl_{protocol}_mapping"
        if len(self.external) == 1:
            yield from self._new_mapping(protocol, 0)
        else:
            choices = ", ".join(f"{number} : goto wl_{protocol}_from{number}" for number in range(len(self.external)))
            yield f"{self._which} vmap {{ {choices} }}"

    def _new_mapping(self, protocol: str, number: int) -> Iterator[str]:
        nat = self.nat
        if nat.ports is Ports.PRESERVE:
            # Within its range a port is kept; the port of somebody else's mapping is not free, wherever that one leads.
            taken = "" if nat.overloading else f" {protocol} sport != @wl_{protocol}_external{number}"
            yield f"{protocol} sport {nat.first_port}-{nat.last_port}{taken} snat ip to {self.external[number]}"
        yield f"goto wl_{protocol}_choose{number}"

    # -- learning ------------------------------------------------------------------------------------------------

    def _learn_hook(self) -> Iterator[str]:
        """A filter chain: a nat chain sees a flow's first packet only, and timers there would never start anew."""
        yield from (f"{which} accept" for which in fresh(self.nat))
        yield f"meta mark {NO_CHECKSUM} udp checksum set 0"
        yield f'oifname "{self.wan}" goto wl_leaves'
        yield "meta nfproto != ipv4 return"
        if self.hairpins and self.nat.hairpin is Hairpin.EXTERNAL:
            # The source as it was: by now it is the external one.
            yield f"ct direction original ct status dnat ct original ip saddr {self.lans} goto wl_hairpin"
        yield from self._comes_in()

    def _leaves(self) -> Iterator[str]:
        yield "meta nfproto != ipv4 return"
        for protocol in PROTOCOLS:
            yield f"ct direction original meta l4proto {protocol} goto wl_{protocol}_asked"
        # Only what was let in to somebody: a reset of the router's own would permit whom it answers.
        for protocol in PROTOCOLS:
            yield f"ct direction reply ct status dnat meta l4proto {protocol} goto wl_{protocol}_called"

    def _comes_in(self) -> Iterator[str]:
        """Packets from outside start timers anew; or go nowhere once it is too late, for connection tracking lets them.

        By now their destination is the one inside. That they come from outside is told by what of their flow was
        translated: of one within, both ends or only the destination.
        """
        answer = "ct direction reply ct status & (snat | dnat) == snat"
        if not self.nat.inbound_refresh:
            for number, address in enumerate(self.external):
                dead = f"ct reply proto-dst != @wl_udp_external{number}"
                yield f"{answer} meta l4proto udp ct reply ip daddr {address} {dead} drop"
            return
        for protocol in PROTOCOLS:
            yield f"{answer} meta l4proto {protocol} goto wl_{protocol}_asked"
            if self.has_inside and (self.leads_back or maps_ports(self.nat)):
                call = f"ct direction original ct status dnat ct original ip saddr != {self.lans}"
                yield f"{call} meta l4proto {protocol} goto wl_{protocol}_called"

    def _hairpin(self) -> Iterator[str]:
        for protocol in PROTOCOLS:
            yield f"meta l4proto {protocol} jump wl_{protocol}_asked"
            if self.filters_inside:
                yield from self._filter_inside(protocol)

    def _filter_inside(self, protocol: str) -> Iterator[str]:
        """What goes from inside to inside is filtered as from outside, by the external endpoints of both."""
        mine, other = "ct reply ip daddr . ct reply proto-dst", "ct original ip daddr . ct original proto-dst"
        i, he = (
            (f"{mine} . ct original ip daddr", f"{other} . ct reply ip daddr")
            if self.nat.filtering is Filtering.ADDRESS_DEPENDENT
            else (f"{mine} . {other}", f"{other} . {mine}")
        )
        yield f"meta l4proto {protocol} update @wl_{protocol}_inside {{ {i} }}"
        yield f"meta l4proto {protocol} {he} != @wl_{protocol}_inside drop"

    def _learn(self, protocol: str, *, asked: bool) -> Iterator[str]:
        """Note a mapping, from a flow that the inside began (*asked*), or that it was called by.

        Connection tracking has all four endpoints in both cases; which are inside, and which external, differs.
        """
        if asked:
            internal = "ct original ip saddr . ct original proto-src"
            peer, address, port = "ct original ip daddr", "ct reply ip daddr", "ct reply proto-dst"
        else:
            internal = "ct reply ip saddr . ct reply proto-src"
            peer, address, port = "ct original ip saddr", "ct original ip daddr", "ct original proto-dst"
        for condition, timeout in update_timers(self.nat, protocol):
            is_it = f"meta l4proto {protocol} {condition}".rstrip()
            if self.reuses:
                key = internal + (f" . {peer}" if self.to_address else "")
                element = f"{key} timeout {timeout} : {address} . {port}"
                yield f"{is_it} update @wl_{protocol}_mapping {{ {element} }}"
            for number, own in enumerate(self.external):
                here = f"{is_it} {address} {own}" if len(self.external) > 1 else is_it
                element = f"{port} timeout {timeout}" + (f" : {internal}" if self.leads_back else "")
                yield f"{here} update @wl_{protocol}_external{number} {{ {element} }}"
                if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
                    yield f"{here} update @wl_{protocol}_permitted{number} {{ {port} . {peer} timeout {timeout} }}"
        if self.restarts:
            yield "goto wl_started"


def _memory(kind: str, name: str, type_: str, size: int, timeout_s: int) -> str:
    timeout = duration(1000 * timeout_s)
    return block(f"{kind} wl_{name}", [f"type {type_}", "flags dynamic,timeout", f"size {size}", f"timeout {timeout}"])


def _one_of(values: Sequence[object]) -> str:
    """An expression that matches any of them, the plainest."""
    return str(values[0]) if len(values) == 1 else f"{{ {', '.join(map(str, values))} }}"
