"""What a router does with IPv6 at its uplink.

IPv6 hosts have addresses that are good everywhere, so the rule is to route, and to guard by a firewall (RFC 6092).
Where that is not so, a router translates the prefix and keeps the rest (RFC 6296), or hides all behind one address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network


class Ipv6(Enum):
    """How a router treats IPv6 between its LANs and its uplink."""

    ROUTE = "route"  # as it is
    PREFIX_TRANSLATION = "prefix-translation"  # another prefix, one address for one address (RFC 6296)
    MASQUERADE = "masquerade"  # the router's own address for all, as a NAT does with IPv4


@dataclass(frozen=True, slots=True)
class PrefixPair:
    """A subnet inside, and the prefix of the same length that stands for it outside."""

    inside: IPv6Network
    outside: IPv6Network

    def outwards(self, address: IPv4Address | IPv6Address) -> IPv6Address | None:
        """What an address inside is seen as outside; None for one that is not of this subnet."""
        return _moved(address, self.inside, self.outside)

    def inwards(self, address: IPv4Address | IPv6Address) -> IPv6Address | None:
        """The address inside that is meant by one outside; None for one that is not of this prefix."""
        return _moved(address, self.outside, self.inside)


def _moved(address: IPv4Address | IPv6Address, old: IPv6Network, new: IPv6Network) -> IPv6Address | None:
    if not isinstance(address, IPv6Address) or address not in old:
        return None
    return IPv6Address(int(new.network_address) | (int(address) & int(old.hostmask)))
