"""A router's nftables rules: its firewall and its NAT as text that `nft -f` reads.

What connection tracking does by itself is left to it: `masquerade` keeps a source port where it can, and lets in what
answers. Everything else a NAT may do is *learned*: a chain behind source translation sees which external endpoint the
kernel chose, and writes it into maps whose elements time out. Later rules read the maps: a mapping that stands is used
again, and a packet from outside finds whose it is.

Chains bear a prefix, since nft reserves words (`fwd`, ...). One table holds all, so one load replaces all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wanlab.plan.filtering import let_in, open_sets, opening
from wanlab.plan.ipv6 import ipv6_chains
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Nat, Pooling, PortMapping, Ports, Unsolicited
from wanlab.topology.network import IPAddress, Network, Node

TABLE = "wanlab"
MAPPED_CHAINS = MAPPED_FORWARD, MAPPED_IN, MAPPED_OUT = "wl_mapped_forward", "wl_mapped_in", "wl_mapped_out"
"""The chains that a port mapping server fills: what it lets in, where that goes, where from its answers leave."""

_PROTOCOLS = ("udp", "tcp")
_LISTED = 2048  # ports that a router's rules list at most: rootless, 8192 are more than the kernel takes at once

_DRAWS = 16  # how many ports are drawn for a new mapping before there is said to be none
_NO_CHECKSUM = "0x6e6f6e65"  # the mark of a packet that is to leave without one; no mark leaves its router
_DENSE = 0.4  # how large a part of what is drawn by its bits must lie in the range, for it to be drawn like that
_PARTS = 4  # into how many parts a range is split where it is less
_MOST_MAPPINGS = (
    262_144  # elements of a map: more than all ports of the largest pool of addresses are never needed at once
)


def ruleset(router: Node, network: Network) -> str | None:
    """The rules of *router* as nft text, or None for one that only forwards."""
    if router.uplink is None or not (router.firewall or router.translates(4) or router.translates(6)):
        return None
    nat = router.nat
    parts: list[str] = []
    if nat is not None and nat.learns:
        translation = _Learned(router, nat, network)
        parts += translation.memory()
        parts += translation.chains()
    elif nat is not None:
        parts.append(_plain(router.uplink, nat))
    parts += (_hook(name, "nat", hook, priority, rules) for name, hook, priority, rules in ipv6_chains(router))
    if nat is not None and nat.limit is not None:
        parts[:0] = _limit(router.uplink, nat, _subscribers(router, network))
    if router.firewall:
        parts[:0] = [_input(router.uplink, nat), _forward(router, router.uplink, nat), *_opening(router)]
    if nat is not None and _maps_ports(nat):
        # These are filled by the port mapping server.
        parts[:0] = [_block(f"chain {chain}", []) for chain in MAPPED_CHAINS]
    return f"table inet {TABLE} {{\n" + "\n".join(parts) + "}\n"


def _block(head: str, lines: Sequence[str]) -> str:
    return f"\t{head} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _hook(name: str, kind: str, hook: str, priority: str, lines: Sequence[str], *, policy: str = "accept") -> str:
    return _block(f"chain wl_{name}", [f"type {kind} hook {hook} priority {priority}; policy {policy};", *lines])


# -- the firewall --------------------------------------------------------------------------------------------------


def _input(wan: str, nat: Nat | None) -> str:
    # A WAN packet that the router itself accepted, or answered, would leave a conntrack entry that takes the tuple, and
    # a hole punch from the LAN a moment later would leave from another port. So the default is silence.
    unasked = nat.unsolicited if nat is not None else Unsolicited.DROP
    taken = []
    if nat is not None and _takes_tuples(nat):
        taken = [
            f'iifname "{wan}" meta nfproto ipv4 meta l4proto udp update @wl_udp_answered {{ ip saddr . udp sport }}'
        ]
    return _hook(
        "input",
        "filter",
        "input",
        "filter",
        [
            f'iifname "{wan}" ct state established,related accept',
            f'iifname "{wan}" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept',
            *taken,
            f'iifname "{wan}" {unasked.value}',
        ],
    )


def _takes_tuples(nat: Nat) -> bool:
    """Whether a flow of the router's own can stand where a mapping would have to be used again.

    Connection tracking then finds no other port, since the map leaves it no choice, and drops what the inside sends.
    """
    return nat.learns and _reuses(nat) and nat.unsolicited is Unsolicited.ACCEPT


def _maps_ports(nat: Nat) -> bool:
    return nat.port_mapping is not PortMapping.OFF


def _reuses(nat: Nat) -> bool:
    """Whether a mapping that stands says where the next flow leaves from.

    Not where two hosts may have one port: towards one destination the second needs another, and a map gives no choice.
    """
    return nat.mapping is not Mapping.ADDRESS_AND_PORT_DEPENDENT and not nat.overloading


def _forward(router: Node, wan: str, nat: Nat | None) -> str:
    lines = ["ct state established,related accept"]
    # What connection tracking cannot place is not translated either: it would leave with its private address.
    lines += (f"meta nfproto ipv{version} ct state invalid drop" for version in (4, 6) if router.translates(version))
    for protocol in _PROTOCOLS:
        ports = getattr(nat, f"{protocol}_ports", None)
        if ports is not None:
            others = f"{protocol} dport != {{ {', '.join(str(port) for port in ports)} }}" if ports else ""
            lines.append(f'oifname "{wan}" {others or f"meta l4proto {protocol}"} drop')
    lines.append(f'iifname != "{wan}" accept')
    if nat is not None and nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT:
        lines.append("meta nfproto ipv4 ct status dnat accept")
    if nat is not None and _maps_ports(nat):
        lines.append(f"jump {MAPPED_FORWARD}")
    lines += let_in(router)
    memory = "".join(_block(f"set {name}", shape) for name, shape in open_sets(router))
    return memory + _hook("forward", "filter", "forward", "filter", lines, policy="drop")


# -- how many mappings ---------------------------------------------------------------------------------------------


def _subscribers(router: Node, network: Network) -> list[IPAddress]:
    """The IPv4 addresses that are plugged in right behind the router."""
    behind = [i for i in router.interfaces if i.name != router.uplink and i.addresses]
    peers = [peer for interface in behind for peer in network.peers(interface.segment) if peer.node != router.name]
    return sorted({address.ip for peer in peers for address in peer.addresses if address.version == 4})


def _limit(wan: str, nat: Nat, subscribers: Sequence[IPAddress]) -> list[str]:
    """Chains that refuse a subscriber's mappings beyond the limit (RFC 6888 REQ-4).

    nftables counts connections, of which one mapping has many. So each subscriber has a set of what tells its mappings
    apart, with their timers, and with room for so many: what finds none is refused, and what is there already passes.
    Whoever is not plugged in right behind the router shares one more set with the others like that.
    """
    key, type_ = "meta l4proto . th sport", "inet_proto . inet_service"
    if nat.mapping is not Mapping.ENDPOINT_INDEPENDENT:
        key, type_ = f"{key} . ip daddr", f"{type_} . ipv4_addr"
    if nat.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT:
        key, type_ = f"{key} . th dport", f"{type_} . inet_service"
    names = [f"wl_held{number}" for number in range(len(subscribers))]
    parts = []
    for name in [*names, "wl_held"]:
        parts.append(_block(f"set {name}", [f"type {type_}", "flags dynamic,timeout", f"size {nat.limit}"]))
        lines = [
            f"meta l4proto {protocol} {condition} update @{name} {{ {key} timeout {timeout}s }} return"
            for protocol in _PROTOCOLS
            for condition, timeout in _timer(nat, protocol)
        ]
        # RFC 6888 REQ-11: the sender is told. What is neither UDP nor TCP is not counted.
        lines.append(f"meta l4proto {{ {', '.join(_PROTOCOLS)} }} reject with icmp type host-unreachable")
        parts.append(_block(f"chain {name}", lines))
    owners = ", ".join(f"{who} : goto {name}" for who, name in zip(subscribers, names, strict=True))
    lines = [
        f'iifname "{wan}" return',
        f'oifname != "{wan}" ct status & dnat != dnat return',
        *([f"ip saddr vmap {{ {owners} }}"] if owners else []),
        "meta nfproto ipv4 goto wl_held",
    ]
    return [*parts, _hook("limit", "filter", "forward", "filter - 1", lines)]


def _timer(nat: Nat, protocol: str) -> list[tuple[str, int]]:
    """Which packets of a protocol start a mapping's timer anew, and for how many seconds."""
    if protocol == "udp":
        return [("", nat.udp_timeout_s)]
    # RFC 5382 REQ-5: a connection that stands is kept far longer than one that opens or closes. An update gives an
    # element that is there already its new timeout.
    return [
        ("tcp flags & (fin | syn | rst) == 0", nat.tcp_established_s),
        ("tcp flags & (fin | syn | rst) != 0", nat.tcp_transitory_s),
    ]


def _opening(router: Node) -> Iterator[str]:
    """Behind the chain that forwards, so that only what does leave opens anything."""
    rules = list(opening(router))
    if rules:
        yield _hook("opening", "filter", "forward", "filter + 1", rules)


# -- translation by connection tracking alone ----------------------------------------------------------------------


def _plain(wan: str, nat: Nat) -> str:
    flags = "" if nat.ports is Ports.PRESERVE else " random,persistent"
    lines = [f'oifname "{wan}" meta nfproto ipv4 masquerade{flags}']
    if (nat.first_port, nat.last_port) != (1, 65535):
        # Left to itself the kernel gives a port below 1024 for one below 1024, and one above for one above.
        ports = f"to :{nat.first_port}-{nat.last_port}"
        lines.insert(0, f'oifname "{wan}" meta nfproto ipv4 meta l4proto {{ tcp, udp }} masquerade {ports}{flags}')
    if not _maps_ports(nat):
        return _hook("postrouting", "nat", "postrouting", "srcnat", lines)
    mapped = _hook("prerouting", "nat", "prerouting", "dstnat", [_into_mapped(wan)])
    return mapped + _hook("postrouting", "nat", "postrouting", "srcnat", [f"jump {MAPPED_OUT}", *lines])


def _into_mapped(wan: str) -> str:
    return f'iifname "{wan}" jump {MAPPED_IN}'


# -- learned translation -------------------------------------------------------------------------------------------


class _Learned:
    """The maps and chains of a NAT whose mappings outlive the kernel's own."""

    def __init__(self, router: Node, nat: Nat, network: Network) -> None:
        assert router.uplink is not None
        self.wan = router.uplink
        self.nat = nat
        self.external = [a.ip for a in router.interface(router.uplink).addresses if a.version == 4]
        inside = [i for i in router.interfaces if i.name != router.uplink and i.addresses]
        self.lans = [str(a.network) for i in inside for a in i.addresses if a.version == 4]
        self.subscribers = _subscribers(router, network)
        self.reuses = _reuses(nat)
        self.hairpins = nat.hairpin is not Hairpin.OFF
        self.lets_in = nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT
        self.to_address = nat.mapping is Mapping.ADDRESS_DEPENDENT

    # -- what is remembered --------------------------------------------------------------------------------------

    def memory(self) -> Iterator[str]:
        """The maps. An element is a mapping, and its timeout the mapping's timer."""
        for protocol in _PROTOCOLS:
            shape = ["flags dynamic,timeout", f"size {_MOST_MAPPINGS}", f"timeout {self._longest(protocol)}s"]
            endpoint = "ipv4_addr . inet_service"
            if self.reuses:
                key = endpoint + (" . ipv4_addr" if self.to_address else "")
                yield _block(f"map wl_{protocol}_mapping", [f"type {key} : {endpoint}", *shape])
            yield _block(f"map wl_{protocol}_external", [f"type {endpoint} : {endpoint}", *shape])
            for number in range(len(self.external)):
                yield _block(f"set wl_{protocol}_live{number}", ["type inet_service", *shape])
            if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
                yield _block(f"set wl_{protocol}_permitted", [f"type {endpoint} . ipv4_addr", *shape])
            if self.hairpins and self.nat.filtering is not Filtering.ENDPOINT_INDEPENDENT:
                yield _block(f"set wl_{protocol}_inside", [f"type {endpoint} . {self._peer_type}", *shape])
        if _takes_tuples(self.nat):
            shape = ["flags dynamic,timeout", f"size {_MOST_MAPPINGS}", f"timeout {self.nat.udp_timeout_s}s"]
            yield _block("set wl_udp_answered", ["type ipv4_addr . inet_service", *shape])

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
        inbound = [line for protocol in _PROTOCOLS for line in self._inbound(protocol)]
        if _maps_ports(self.nat):
            inbound.insert(0, _into_mapped(self.wan))
        if inbound:
            yield _hook("prerouting", "nat", "prerouting", "dstnat", inbound)
        for protocol in _PROTOCOLS:
            yield from self._draws(protocol)
            for number in range(len(self.external)):
                yield from self._choices(protocol, number)
                if len(self.external) > 1:
                    yield _block(f"chain wl_{protocol}_from{number}", list(self._new_mapping(protocol, number)))
            yield _block(f"chain wl_{protocol}", list(self._translate(protocol)))
        yield _hook("postrouting", "nat", "postrouting", "srcnat", list(self._postrouting()))
        for protocol in _PROTOCOLS:
            yield _block(f"chain wl_{protocol}_asked", list(self._learn(protocol, asked=True)))
            yield _block(f"chain wl_{protocol}_called", list(self._learn(protocol, asked=False)))
        if self.nat.inbound_refresh:
            yield _hook("refresh", "filter", "forward", "filter + 1", list(self._refresh()))
        yield _hook("learn", "filter", "postrouting", "srcnat + 1", list(self._learn_hook()))

    def _expiry(self) -> str:
        """Packets from outside keep no mapping alive: connection tracking would let them."""
        lines = [
            f'iifname "{self.wan}" ct direction reply ip daddr {address} udp dport != @wl_udp_live{number} drop'
            for number, address in enumerate(self.external)
        ]
        return _hook("expiry", "filter", "prerouting", "mangle", lines)

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
        if _maps_ports(self.nat):
            yield f"jump {MAPPED_OUT}"
        if self.hairpins and self.nat.hairpin is Hairpin.EXTERNAL and self.lans:
            # The LAN is named as source: else the address of every outside peer that is let in would be hidden as well.
            for protocol in _PROTOCOLS:
                yield (
                    f'oifname != "{self.wan}" ip saddr {self._any_lan} ct status dnat meta l4proto {protocol}'
                    f" goto wl_{protocol}"
                )
        yield f'oifname != "{self.wan}" return'
        for protocol in _PROTOCOLS:
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
        if protocol == "udp" and _takes_tuples(self.nat):
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

    def _blocks(self) -> Iterator[tuple[int, tuple[IPAddress, range]]]:
        """The subscribers that have a block of ports, numbered, and their blocks."""
        if self.nat.block is not None:
            firsts = range(self.nat.first_port, self.nat.last_port - self.nat.block + 2, self.nat.block)
            blocks = (range(first, first + self.nat.block) for first in firsts)
            yield from enumerate(zip(self.subscribers, blocks, strict=False))

    def _choices(self, protocol: str, number: int) -> Iterator[str]:
        """The chains that choose a port for a new mapping at the how-manieth external address.

        They draw until a port is free: for the kernel, the port of a mapping that leads elsewhere is, and where it is
        given just one port that is taken, it drops the packet. What is drawn is put into the packet, the only place
        that a rule can look it up from, and where translation puts it next.
        """
        sport = f"{protocol} sport"
        take = f"{sport} > 1 {sport} != @wl_{protocol}_live{number} snat ip to {self.external[number]} : {sport}"
        yield _block(f"chain wl_{protocol}_try{number}", [f"jump wl_{protocol}_draw", take])
        # A datagram may have no checksum (RFC 768). With a port nft writes one all the same, and a wrong one.
        note = [f"udp checksum 0 meta mark set {_NO_CHECKSUM}"] if protocol == "udp" else []
        tries = [f"jump wl_{protocol}_try{number}"] * _DRAWS
        yield _block(f"chain wl_{protocol}_choose{number}", [*note, *tries, "drop"])

    def _draws(self, protocol: str) -> Iterator[str]:
        """The chains that put a port into the packet of which nobody knows yet whether it is free; 0 or 1: none."""
        every = range(self.nat.first_port, self.nat.last_port + 1)
        blocks = list(self._blocks())
        yield from self._draw(protocol, "any", every, 1 + len(blocks))
        for place, (_, ports) in blocks:
            yield from self._draw(protocol, str(place), ports, 1 + len(blocks))
        owners = ", ".join(f"{subscriber} : goto wl_{protocol}_draw_{place}" for place, (subscriber, _) in blocks)
        lines = [f"ip saddr vmap {{ {owners} }}"] if owners else []
        yield _block(f"chain wl_{protocol}_draw", [*lines, f"goto wl_{protocol}_draw_any"])

    def _draw(self, protocol: str, name: str, ports: range, ranges: int) -> Iterator[str]:
        """The chain that draws from one of so many ranges of ports."""
        sport, chain = f"{protocol} sport", f"wl_{protocol}_draw_{name}"
        if self.nat.ports is Ports.SEQUENTIAL:
            yield _block(f"chain {chain}", list(self._next_port(sport, ports, ranges)))
            return
        bits = (ports[0] ^ ports[-1]).bit_length()
        around = range(ports[0] >> bits << bits, (ports[0] >> bits << bits) + (1 << bits))
        if len(ports) >= _DENSE * len(around):
            lines = list(self._random_port(sport, around))
            if around != ports:
                lines.append(f"{sport} != {ports[0]}-{ports[-1]} {sport} set {sport} & 1")
            yield _block(f"chain {chain}", lines)
            return
        parts = sorted(_aligned(ports), key=len, reverse=True)[:_PARTS]
        for place, part in enumerate(parts):
            yield _block(f"chain {chain}_{place}", list(self._random_port(sport, part)))
        choice = ", ".join(f"{place} : goto {chain}_{place}" for place in range(len(parts)))
        yield _block(f"chain {chain}", [f"numgen random mod {len(parts)} vmap {{ {choice} }}"])

    def _next_port(self, sport: str, ports: range, ranges: int) -> Iterator[str]:
        most = max(1, _LISTED // (ranges * len(_PROTOCOLS) * (1 + self.nat.parity)))
        for whose, fitting in self._by_parity(sport, ports):
            middle = len(fitting) // 2  # far from the low ports, which much software has a use for
            chosen = fitting if len(fitting) <= most else fitting[middle : middle + most]
            elements = ", ".join(f"{place} : {port}" for place, port in enumerate(chosen))
            yield f"{whose}{sport} set numgen inc mod {len(chosen)} map {{ {elements} }}"

    def _random_port(self, sport: str, ports: range) -> Iterator[str]:
        """From ports that have all values of their lower bits: 32 random bits, of which nft takes any 16."""
        for whose, fitting in self._by_parity(sport, ports):
            kept = len(ports) - 1 if len(fitting) == len(ports) else (len(ports) - 1) & ~1
            yield f"{whose}{sport} set numgen random mod 4294967295 {sport} set {sport} & {kept} | {fitting[0]}"

    def _by_parity(self, sport: str, ports: range) -> Iterator[tuple[str, Sequence[int]]]:
        """Which packets may get which of the ports."""
        for odd in (0, 1) if self.nat.parity else (None,):
            whose = "" if odd is None else f"{sport} & 1 == {odd} "
            yield whose, [port for port in ports if odd is None or port % 2 == odd] or ports

    # -- learning ------------------------------------------------------------------------------------------------

    def _learn_hook(self) -> Iterator[str]:
        """A filter chain: a nat chain sees a flow's first packet only, and timers there would never start anew."""
        yield f"meta mark {_NO_CHECKSUM} udp checksum set 0"
        if self.hairpins:
            # The source as it was: by now it may be the external one.
            inside = f'oifname != "{self.wan}" ct original ip saddr {self._any_lan} ct status dnat'
            for protocol in _PROTOCOLS:
                if self.nat.hairpin is Hairpin.EXTERNAL:
                    yield f"{inside} ct direction original meta l4proto {protocol} jump wl_{protocol}_asked"
                yield from self._filter_inside(protocol, inside)
        yield f'oifname != "{self.wan}" return'
        for protocol in _PROTOCOLS:
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
        for protocol in _PROTOCOLS:
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
        for condition, timeout in _timer(self.nat, protocol):
            is_it = f"meta l4proto {protocol} {condition}".rstrip()
            if self.reuses:
                key = internal + (f" . {peer}" if self.to_address else "")
                yield f"{is_it} update @wl_{protocol}_mapping {{ {key} timeout {timeout}s : {external} }}"
            yield f"{is_it} update @wl_{protocol}_external {{ {external} timeout {timeout}s : {internal} }}"
            for number, own in enumerate(self.external):
                yield f"{is_it} {address} {own} update @wl_{protocol}_live{number} {{ {port} timeout {timeout}s }}"
            if self.nat.filtering is Filtering.ADDRESS_DEPENDENT:
                yield f"{is_it} update @wl_{protocol}_permitted {{ {external} . {peer} timeout {timeout}s }}"


def _aligned(ports: range) -> Iterator[range]:
    """The range cut into such as have all values of their lower bits."""
    first, end = ports[0], ports[-1] + 1
    while first < end:
        size = first & -first or 1 << 16
        while first + size > end:
            size >>= 1
        yield range(first, first + size)
        first += size
