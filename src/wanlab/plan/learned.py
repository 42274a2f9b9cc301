"""Translation whose mappings outlive the kernel's own: what it remembers, and the chains that learn and use it.

A chain behind source translation sees which external endpoint the kernel chose, and writes it into maps whose elements
time out. Later rules read the maps: a mapping that stands is used again, and a packet from outside finds whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.limit import subscribers
from wanlab.plan.mappings import NO_CHECKSUM, maps_ports, reuses, takes_tuples, update_timers
from wanlab.plan.nft_text import MAPPED_OUT, PROTOCOLS, block, hook, into_mapped
from wanlab.plan.ports import Draws
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Nat, Pooling, Ports
from wanlab.topology.network import Network, Node

_MOST_MAPPINGS = (
    262_144  # elements of a map: more than all ports of the largest pool of addresses are never needed at once
)


class Learned:
    """The maps and chains of a NAT whose mappings outlive the kernel's own."""

    def __init__(self, router: Node, nat: Nat, network: Network) -> None:
        assert router.uplink is not None
        self.wan = router.uplink
        self.nat = nat
        self.external = [a.ip for a in router.interface(router.uplink).addresses if a.version == 4]
        inside = [i for i in router.interfaces if i.name != router.uplink and i.addresses]
        self.lans = [str(a.network) for i in inside for a in i.addresses if a.version == 4]
        self.draws = Draws(nat, self.external, subscribers(router, network))
        self.reuses = reuses(nat)
        self.hairpins = nat.hairpin is not Hairpin.OFF
        self.lets_in = nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT
        self.to_address = nat.mapping is Mapping.ADDRESS_DEPENDENT

    # -- what is remembered --------------------------------------------------------------------------------------

    def memory(self) -> Iterator[str]:
        """The maps. An element is a mapping, and its timeout the mapping's timer."""
        for protocol in PROTOCOLS:
            shape = ["flags dynamic,timeout", f"size {_MOST_MAPPINGS}", f"timeout {self._longest(protocol)}s"]
            endpoint = "ipv4_addr . inet_service"
            if self.reuses:
                key = endpoint + (" . ipv4_addr" if self.to_address else "")
                yield block(f"map wl_{protocol}_mapping", [f"type {key} : {endpoint}", *shape])
            yield block(f"map wl_{protocol}_external", [f"type {endpoint} : {endpoint}", *shape])
            for number in range(len(self.external)):
                yield block(f"set wl_{protocol}_live{number}", ["type inet_service", *shape])
            if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
                yield block(f"set wl_{protocol}_permitted", [f"type {endpoint} . ipv4_addr", *shape])
            if self.hairpins and self.nat.filtering is not Filtering.ENDPOINT_INDEPENDENT:
                yield block(f"set wl_{protocol}_inside", [f"type {endpoint} . {self._peer_type}", *shape])
        if takes_tuples(self.nat):
            shape = ["flags dynamic,timeout", f"size {_MOST_MAPPINGS}", f"timeout {self.nat.udp_timeout_s}s"]
            yield block("set wl_udp_answered", ["type ipv4_addr . inet_service", *shape])

    def _longest(self, protocol: str) -> int:
        return self.nat.udp_timeout_s if protocol == "udp" else self.nat.tcp_established_s

    @property
    def _peer_type(self) -> str:
        return "ipv4_addr" if self.nat.filtering is Filtering.ADDRESS_DEPENDENT else "ipv4_addr . inet_service"

    # -- chains --------------------------------------------------------------------------------------------------

    def chains(self) -> Iterator[str]:
        """All chains, in the order in which a packet meets them."""
        if not self.nat.inbound_refresh:
            yield self._expiry()
        inbound = [line for protocol in PROTOCOLS for line in self._inbound(protocol)]
        if maps_ports(self.nat):
            inbound.insert(0, into_mapped(self.wan))
        if inbound:
            yield hook("prerouting", "nat", "prerouting", "dstnat", inbound)
        for protocol in PROTOCOLS:
            yield from self.draws.draws(protocol)
            for number in range(len(self.external)):
                yield from self.draws.choices(protocol, number)
                if len(self.external) > 1:
                    yield block(f"chain wl_{protocol}_from{number}", list(self._new_mapping(protocol, number)))
            yield block(f"chain wl_{protocol}", list(self._translate(protocol)))
        yield hook("postrouting", "nat", "postrouting", "srcnat", list(self._postrouting()))
        for protocol in PROTOCOLS:
            yield block(f"chain wl_{protocol}_asked", list(self._learn(protocol, asked=True)))
            yield block(f"chain wl_{protocol}_called", list(self._learn(protocol, asked=False)))
        if self.nat.inbound_refresh:
            yield hook("refresh", "filter", "forward", "filter + 1", list(self._refresh()))
        yield hook("learn", "filter", "postrouting", "srcnat + 1", list(self._learnhook()))

    def _expiry(self) -> str:
        """Packets from outside keep no mapping alive: connection tracking would let them."""
        lines = [
            f'iifname "{self.wan}" ct direction reply ip daddr {address} udp dport != @wl_udp_live{number} drop'
            for number, address in enumerate(self.external)
        ]
        return hook("expiry", "filter", "prerouting", "mangle", lines)

    def _inbound(self, protocol: str) -> Iterator[str]:
        find = f"dnat ip addr . port to ip daddr . {protocol} dport map @wl_{protocol}_external"
        if self.nat.filtering is Filtering.ENDPOINT_INDEPENDENT:
            yield f'iifname "{self.wan}" meta l4proto {protocol} {find}'
        elif self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
            yield f'iifname "{self.wan}" ip daddr . {protocol} dport . ip saddr @wl_{protocol}_permitted {find}'
        if self.hairpins:
            yield f'iifname != "{self.wan}" ip daddr {self._any_external} meta l4proto {protocol} {find}'

    @property
    def _any_external(self) -> str:
        return "{ " + ", ".join(str(address) for address in self.external) + " }"

    @property
    def _any_lan(self) -> str:
        return "{ " + ", ".join(self.lans) + " }"

    def _postrouting(self) -> Iterator[str]:
        if maps_ports(self.nat):
            yield f"jump {MAPPED_OUT}"
        if self.hairpins and self.nat.hairpin is Hairpin.EXTERNAL and self.lans:
            # The LAN is named as source: else the address of every outside peer that is let in would be hidden as well.
            for protocol in PROTOCOLS:
                yield (
                    f'oifname != "{self.wan}" ip saddr {self._any_lan} ct status dnat meta l4proto {protocol}'
                    f" goto wl_{protocol}"
                )
        yield f'oifname != "{self.wan}" return'
        for protocol in PROTOCOLS:
            yield f"meta nfproto ipv4 meta l4proto {protocol} goto wl_{protocol}"
        yield f"meta nfproto ipv4 {self._any_port()}"

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
            taken = "" if nat.overloading else f" {protocol} sport != @wl_{protocol}_live{number}"
            yield f"{protocol} sport {nat.first_port}-{nat.last_port}{taken} snat ip to {self.external[number]}"
        yield f"goto wl_{protocol}_choose{number}"

    # -- learning ------------------------------------------------------------------------------------------------

    def _learnhook(self) -> Iterator[str]:
        """A filter chain: a nat chain sees a flow's first packet only, and timers there would never start anew."""
        yield f"meta mark {NO_CHECKSUM} udp checksum set 0"
        if self.hairpins:
            # The source as it was: by now it may be the external one.
            inside = f'oifname != "{self.wan}" ct original ip saddr {self._any_lan} ct status dnat'
            for protocol in PROTOCOLS:
                if self.nat.hairpin is Hairpin.EXTERNAL:
                    yield f"{inside} ct direction original meta l4proto {protocol} jump wl_{protocol}_asked"
                yield from self._filter_inside(protocol, inside)
        yield f'oifname != "{self.wan}" return'
        for protocol in PROTOCOLS:
            yield f"meta nfproto ipv4 meta l4proto {protocol} ct direction original goto wl_{protocol}_asked"
            # Only what was let in to somebody: a reset of the router's own would permit whom it answers.
            called = f"ct direction reply ct status dnat goto wl_{protocol}_called"
            yield f"meta nfproto ipv4 meta l4proto {protocol} {called}"

    def _filter_inside(self, protocol: str, inside: str) -> Iterator[str]:
        """What goes from inside to inside is filtered as from outside, by the external endpoints of both."""
        if self.nat.filtering is Filtering.ENDPOINT_INDEPENDENT or self.nat.hairpin is not Hairpin.EXTERNAL:
            return
        mine, other = "ct reply ip daddr . ct reply proto-dst", "ct original ip daddr . ct original proto-dst"
        i, he = (
            (f"{mine} . ct original ip daddr", f"{other} . ct reply ip daddr")
            if self.nat.filtering is Filtering.ADDRESS_DEPENDENT
            else (f"{mine} . {other}", f"{other} . {mine}")
        )
        first = f"{inside} ct direction original meta l4proto {protocol}"
        yield f"{first} update @wl_{protocol}_inside {{ {i} }}"
        yield f"{first} {he} != @wl_{protocol}_inside drop"

    def _refresh(self) -> Iterator[str]:
        for protocol in PROTOCOLS:
            is_it = f'iifname "{self.wan}" meta nfproto ipv4 meta l4proto {protocol}'
            yield f"{is_it} ct direction reply jump wl_{protocol}_asked"
            yield f"{is_it} ct direction original jump wl_{protocol}_called"

    def _learn(self, protocol: str, *, asked: bool) -> Iterator[str]:
        """Note a mapping, from a flow that the inside began (*asked*), or that it was called by.

        Connection tracking has all four endpoints in both cases; which are inside, and which external, differs.
        """
        if asked:
            internal, external = (
                "ct original ip saddr . ct original proto-src",
                "ct reply ip daddr . ct reply proto-dst",
            )
            peer, address, port = "ct original ip daddr", "ct reply ip daddr", "ct reply proto-dst"
        else:
            internal, external = (
                "ct reply ip saddr . ct reply proto-src",
                "ct original ip daddr . ct original proto-dst",
            )
            peer, address, port = "ct original ip saddr", "ct original ip daddr", "ct original proto-dst"
        for condition, timeout in update_timers(self.nat, protocol):
            is_it = f"meta l4proto {protocol} {condition}".rstrip()
            if self.reuses:
                key = internal + (f" . {peer}" if self.to_address else "")
                yield f"{is_it} update @wl_{protocol}_mapping {{ {key} timeout {timeout}s : {external} }}"
            yield f"{is_it} update @wl_{protocol}_external {{ {external} timeout {timeout}s : {internal} }}"
            for number, own in enumerate(self.external):
                yield f"{is_it} {address} {own} update @wl_{protocol}_live{number} {{ {port} timeout {timeout}s }}"
            if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
                yield f"{is_it} update @wl_{protocol}_permitted {{ {external} . {peer} timeout {timeout}s }}"
