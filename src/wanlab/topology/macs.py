"""MAC addresses, and the IPv6 addresses that follow from them."""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address, IPv6Network

EUI64_PREFIX = 64
"""How long a prefix must be for a host to complete it by its MAC (RFC 4862, section 5.5.3)."""


def mac_of(node: str, interface: str) -> str:
    """A locally administered address that follows from the names alone: adding a node changes no other's."""
    digest = hashlib.blake2s(f"{node}/{interface}".encode(), digest_size=5).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest))


def eui64(subnet: IPv6Network, mac: str) -> IPv6Address:
    """The address that a host with that MAC gives itself in a /64 (RFC 4291, appendix A)."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([first ^ 0x02, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return IPv6Address(int(subnet.network_address) | int.from_bytes(identifier, "big"))
