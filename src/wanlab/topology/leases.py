"""Addresses as somebody who leases them gives them out: another one of the same subnet."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from wanlab.errors import UsageError
from wanlab.topology.network import Interface, IPAddress, IPInterface, Network
from wanlab.topology.numbering import reserved


def another_address(network: Network, interface: Interface) -> list[str]:
    """For each address of an interface the next one of its subnet that nobody has, or had there just now.

    An address that was made of a router advertisement is no lease, and is left out. Raises UsageError.
    """
    leased = [address for address in interface.addresses if not (address.version == 6 and interface.slaac)]
    if not leased:
        raise UsageError(f"{interface.node}:{interface.name} has no address that could be another one")
    used = {address.ip for peer in network.peers(interface.segment) for address in peer.addresses}
    found = []
    for present in leased:
        chosen = _next_free(present, used)
        if chosen is None:
            raise UsageError(
                f"{interface.node}:{interface.name}: all addresses of {present.network} are taken",
                hint="give the subnet more room, or another host another address",
            )
        used.add(chosen)
        found.append(f"{chosen}/{present.network.prefixlen}")
    return found


def with_length(text: str, interface: Interface) -> str:
    """An address with the prefix length of the interface's subnet that it is in; as it is where it is in none."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return next((f"{text}/{a.network.prefixlen}" for a in interface.addresses if address in a.network), text)


def _next_free(present: IPInterface, used: Collection[IPAddress]) -> IPAddress | None:
    subnet = present.network
    place = int(present.ip) - int(subnet.network_address)
    for step in range(1, subnet.num_addresses):
        ip = subnet[(place + step) % subnet.num_addresses]
        if ip not in used and reserved(ip, subnet) is None:
            return ip
    return None
