"""What a person writes as text, in Python or in a file: addresses, subnets, names of behaviours. Checked one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

from wanlab.errors import Source, TopologyError, did_you_mean
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.nat import Filtering, Nat, nat_from, nat_named
from wanlab.topology.network import IPAddress, IPInterface, IPNetwork, LinkState

Address = IPAddress | IPInterface
"""An address as declared: with a prefix length, or without one (then its segment's subnet gives it)."""

Texts = str | Iterable[str] | None
"""One text, several, or none: most labs have one address an interface, dual-stack ones have two."""

# RFC 6890 and RFC 4291; link-local IPv6 is the kernel's own to give.
_SPECIAL: tuple[tuple[IPNetwork, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "this network"),
    (IPv4Network("127.0.0.0/8"), "the machine itself"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "everybody"),
    (IPv6Network("::/128"), "no address"),
    (IPv6Network("::1/128"), "the machine itself"),
    (IPv6Network("::ffff:0:0/96"), "an IPv4 address"),
    (IPv6Network("fe80::/10"), "one link only"),
    (IPv6Network("ff00::/8"), "multicast"),
)

MIN_MTU, MAX_MTU = 68, 65535  # RFC 791's minimum; what veth takes at the most


def parse_nat(router: str, nat: str | Mapping[str, Any] | Nat | None, where: Source | None) -> Nat | None:
    """The NAT of that name, or of a table; "linux" where nothing is said."""
    try:
        match nat:
            case Nat():
                return nat
            case Mapping():
                return nat_from(nat)
            case None | str():
                return nat_named("linux" if nat is None else nat)
        raise TopologyError(f"nat {nat!r} is no NAT", hint="name one, or give a dictionary or a Nat")
    except TopologyError as error:
        raise TopologyError(f"router {router!r}: {error.what}", where=where, hint=error.hint) from None


def parse_firewall(
    router: str, said: bool | str | Filtering | None, where: Source | None
) -> tuple[bool, Filtering | None]:
    """Whether there is a firewall, and from whom it lets packets in, where that was said."""
    if said is None or isinstance(said, bool):
        return said is not False, None
    words = [word.value for word in Filtering]
    if not isinstance(said, Filtering) and said not in words:
        raise TopologyError(
            f"router {router!r}: firewall {said!r} is not known",
            where=where,
            hint=f"use true, false, or {', '.join(words)}",
        )
    return True, Filtering(said)


def parse_ipv6(router: str, said: str | Ipv6 | None, where: Source | None) -> Ipv6:
    """What becomes of IPv6 at an uplink; it is routed where nothing is said."""
    words = [word.value for word in Ipv6]
    if said is not None and not isinstance(said, Ipv6) and said not in words:
        raise TopologyError(
            f"router {router!r}: ipv6 {said!r} is not known", where=where, hint=did_you_mean(said, words)
        )
    return Ipv6.ROUTE if said is None else Ipv6(said)


def parse_ipv6_prefix(router: str, text: str | None, ipv6: Ipv6, where: Source | None) -> IPv6Network | None:
    """The prefix that is to stand for the inside."""
    if text is None:
        return None
    if ipv6 is not Ipv6.PREFIX_TRANSLATION:
        raise TopologyError(
            f"router {router!r}: ipv6_prefix {text!r}, and no prefix is translated",
            where=where,
            hint='say ipv6 = "prefix-translation", or leave ipv6_prefix out',
        )
    (prefix,) = parse_subnets(text, where)
    if not isinstance(prefix, IPv6Network):
        raise TopologyError(
            f"router {router!r}: ipv6_prefix {text!r} is not IPv6", where=where, hint="write it like 2a00:5:1::/48"
        )
    return prefix


def parse_addresses(texts: Texts, where: Source | None) -> tuple[Address, ...]:
    """Addresses, each with or without a prefix length."""
    found: list[Address] = []
    for text in _several(texts):
        try:
            if "%" in text:  # a scope: `fe80::1%eth0`
                raise ValueError
            address: Address = ip_interface(text) if "/" in text else ip_address(text)
        except ValueError:
            raise TopologyError(
                f"{text!r} is no IP address", where=where, hint="write it like 10.1.0.1 or 10.1.0.1/24"
            ) from None
        _check_range(ip_network(text, strict=False), where)
        found.append(address)
    return tuple(found)


def parse_subnets(texts: Texts, where: Source | None) -> tuple[IPNetwork, ...]:
    """Subnets, at most one for each family."""
    found: list[IPNetwork] = []
    for text in _several(texts):
        try:
            network = ip_network(text)
        except ValueError:
            raise TopologyError(_no_subnet(text), where=where, hint="write it like 10.1.0.0/24") from None
        if any(network.version == other.version for other in found):
            raise TopologyError(
                f"two IPv{network.version} subnets on one segment: {text}", where=where, hint="give one for each family"
            )
        if network.num_addresses < 2:
            raise TopologyError(
                f"subnet {text} has no room for two interfaces", where=where, hint="write it like 10.1.0.0/24"
            )
        _check_range(network, where)
        found.append(network)
    return tuple(found)


def parse_lan(name: str, lan: Texts, source: Source | None) -> tuple[tuple[IPInterface, ...], tuple[IPNetwork, ...]]:
    """A router's own addresses in its LAN, and the LAN's subnets."""
    addresses: list[IPInterface] = []
    subnets: list[str] = []
    for text in _several(lan):
        try:
            if "/" not in text:
                raise ValueError
            interface = ip_interface(text)
        except ValueError:
            raise TopologyError(
                f"router {name!r}: lan {text!r} is no subnet",
                where=source,
                hint="write the LAN's subnet (10.1.0.0/24) or the router's address in it (10.1.0.254/24)",
            ) from None
        if interface.network.num_addresses > 1 and interface.ip == interface.network.network_address:
            subnets.append(text)
        else:
            addresses.append(interface)
            subnets.append(str(interface.network))
    return tuple(addresses), parse_subnets(subnets, source)


def check_mtu(mtu: int | None, where: Source | None) -> int | None:
    """Refuse an MTU that no veth takes."""
    if mtu is not None and not MIN_MTU <= mtu <= MAX_MTU:
        raise TopologyError(f"mtu {mtu} is out of range", where=where, hint=f"use {MIN_MTU} to {MAX_MTU} bytes")
    return mtu


def check_metric(metric: int | None, where: Source | None) -> int | None:
    """Refuse a metric that no route has."""
    if metric is not None and not 0 <= metric < 1 << 31:
        raise TopologyError(f"metric {metric} is out of range", where=where, hint="use 0 or more; the lowest wins")
    return metric


def parse_state(state: str | LinkState | None, where: Source | None) -> LinkState:
    """What became of an interface; it is up where nothing is said."""
    if state is None or isinstance(state, LinkState):
        return state or LinkState.UP
    words = [word.value for word in LinkState]
    if state not in words:
        raise TopologyError(f"state {state!r} is not known", where=where, hint=f"use {', '.join(words)}")
    return LinkState(state)


def _check_range(network: IPNetwork, where: Source | None) -> None:
    """Refuse what Linux delivers to itself, to groups or to nobody: no interface of a lab can use it."""
    for special, meaning in _SPECIAL:
        if network.version == special.version and network.overlaps(special):
            raise TopologyError(
                f"{network if network.num_addresses > 1 else network.network_address} is of no use in a lab: "
                f"{special} means {meaning}",
                where=where,
                hint="take addresses from 10.0.0.0/8 or fd00::/8, or public ones",
            )


def _no_subnet(text: str) -> str:
    try:
        inside = ip_interface(text)
    except ValueError:
        return f"{text!r} is no subnet"
    return f"{text!r} is an address inside {inside.network}, not a subnet"


def _several(texts: Texts) -> tuple[str, ...]:
    if texts is None:
        return ()
    return (texts,) if isinstance(texts, str) else tuple(texts)
