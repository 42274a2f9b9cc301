"""What a NAT does, in RFC 4787's words, and the behaviours that a router can be given by name.

A :class:`Nat` says how a router translates; how nftables is made to do it is `plan/ruleset.py`'s business, and whether
it really happens is measured by `wanlab verify`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wanlab.errors import TopologyError, did_you_mean


class Mapping(Enum):
    """Which destinations share one external port of an internal endpoint (RFC 4787, section 4.1)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(Enum):
    """From whom a mapping lets packets in (RFC 4787, section 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Ports(Enum):
    """How the external port of a new mapping is chosen (RFC 4787, section 4.2)."""

    PRESERVE = "preserve"  # the internal port, while it is free
    RANDOM = "random"  # any, anew for each mapping


@dataclass(frozen=True, slots=True)
class Nat:
    """How a router translates the addresses of what it forwards from its LANs to its uplink."""

    name: str
    mapping: Mapping
    filtering: Filtering
    ports: Ports
    about: str
    """What in the world behaves like this, in a sentence."""


LINUX = Nat(
    "linux",
    # Endpoint-independent until two hosts want one port: then the later flow gets another (measured; see docs).
    Mapping.ENDPOINT_INDEPENDENT,
    Filtering.ADDRESS_AND_PORT_DEPENDENT,
    Ports.PRESERVE,
    "a Linux router with nftables' plain `masquerade`",
)

ARTICLE = Nat(
    "article",
    Mapping.ADDRESS_AND_PORT_DEPENDENT,
    Filtering.ADDRESS_AND_PORT_DEPENDENT,
    Ports.RANDOM,
    "`masquerade random,persistent`: every flow leaves from a port of its own",
)

NATS: dict[str, Nat | None] = {"none": None, LINUX.name: LINUX, ARTICLE.name: ARTICLE}


def nat_named(name: str) -> Nat | None:
    """The behaviour called *name*; None for "none".

    Raises TopologyError for a name that is not in :data:`NATS`.
    """
    try:
        return NATS[name]
    except KeyError:
        raise TopologyError(f"nat {name!r} is not known", hint=did_you_mean(name, NATS)) from None
