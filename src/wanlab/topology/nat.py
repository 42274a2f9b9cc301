"""What a NAT does, in RFC 4787's words, and the behaviours that a router can be given by name.

A :class:`Nat` says how a router translates, filters and forgets; how nftables is made to do it is `plan/ruleset.py`'s
business, and whether it really happens is measured (`wanlab nat`, `wanlab verify`). The defaults obey RFC 4787, 5382
and 5508.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

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
    SEQUENTIAL = "sequential"  # the next one after the last mapping's


class Hairpin(Enum):
    """What becomes of a packet from inside to an external port of another inside host (RFC 4787, section 6)."""

    OFF = "off"
    EXTERNAL = "external"  # delivered, from the sender's external address and port (REQ-9a)
    INTERNAL = "internal"  # delivered, from the sender's internal address and port


class Unsolicited(Enum):
    """What the router does with a packet to itself that nobody inside asked for."""

    DROP = "drop"
    REJECT = "reject"
    ACCEPT = "accept"  # its own kernel answers, which takes the tuple: a punch a moment later leaves from another port


class Pooling(Enum):
    """Whether an internal host keeps one external address of several (RFC 4787, REQ-2)."""

    PAIRED = "paired"
    ARBITRARY = "arbitrary"


class PortMapping(Enum):
    """By which protocols inside hosts may ask for a port that leads to them."""

    OFF = "off"
    NAT_PMP = "nat-pmp"  # RFC 6886, and PCP, which took its place and its port (RFC 6887)
    UPNP = "upnp"  # UPnP IGD
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Nat:
    """How a router treats what crosses between its LANs and its uplink."""

    name: str = "custom"
    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ADDRESS_DEPENDENT
    ports: Ports = Ports.PRESERVE
    overloading: bool = False
    """One external port for two internal endpoints while their destinations differ (REQ-3: never); plain Linux does."""
    parity: bool = True
    """An even internal port gets an even external one, an odd one an odd one (REQ-4)."""
    first_port: int = 1024
    last_port: int = 65535
    """The external ports that are given out. From 1 on, where the kernel chooses: those of each half to ports in it."""
    block: int | None = None
    """How many ports each inside host has for itself, a block of its own; None: all share all."""
    addresses: int = 1
    """How many external addresses it has."""
    pooling: Pooling = Pooling.PAIRED
    hairpin: Hairpin = Hairpin.EXTERNAL
    unsolicited: Unsolicited = Unsolicited.DROP
    udp_timeout_s: int = 300
    tcp_established_s: int = 7440
    tcp_transitory_s: int = 240
    icmp_timeout_s: int = 60
    inbound_refresh: bool = False
    """Whether a packet from outside, too, starts a mapping's timer anew (REQ-6 lets it; outbound ones always do)."""
    limit: int | None = None
    """The most mappings of one inside host at a time; who wants one more is told that the host is unreachable."""
    udp_ports: tuple[int, ...] | None = None
    """The UDP ports outside that may be talked to; None: all."""
    tcp_ports: tuple[int, ...] | None = None
    """The TCP ports outside that may be talked to; None: all."""
    port_mapping: PortMapping = PortMapping.OFF
    """Whether a port mapping server runs in the router. It refuses where the router's own address is a private one."""
    about: str = field(default="", compare=False)
    """What in the world behaves like this, in a sentence."""
    source: str = field(default="", compare=False)
    """Where that is written."""

    def __post_init__(self) -> None:
        problem = _mistyped(self) or _contradiction(self)
        if problem is not None:
            what, hint = problem
            raise TopologyError(f"nat {self.name!r}: {what}", hint=hint)

    @property
    def learns(self) -> bool:
        """Whether it needs maps of its own; else the kernel's connection tracking alone behaves like that."""
        plain = self.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT and self.hairpin is Hairpin.OFF
        kernel_ports = (self.ports is Ports.PRESERVE and self.overloading) or (
            self.ports is Ports.RANDOM and not self.parity and self.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
        )
        one_pool = (self.block, self.addresses) == (None, 1)
        return not (plain and kernel_ports and one_pool and self.inbound_refresh)


_ENUMS: dict[str, type[Enum]] = {
    "mapping": Mapping,
    "filtering": Filtering,
    "ports": Ports,
    "pooling": Pooling,
    "hairpin": Hairpin,
    "unsolicited": Unsolicited,
    "port_mapping": PortMapping,
}


def _mistyped(nat: Nat) -> tuple[str, str | None] | None:
    """What is of another kind than it must be, and what to say instead; None where nothing is.

    Files are checked against their schema; in Python anything may be said.
    """
    for known in fields(nat):
        value, kind = getattr(nat, known.name), _ENUMS.get(known.name)
        if kind is None:
            fits, words = _KINDS[str(known.type)]
            if not fits(value):
                return f"{known.name} must be {words}, not {value!r}", None
        elif not isinstance(value, kind):
            hint = f"take one of {kind.__name__}'s, or give a dictionary in place of a Nat"
            return f"{known.name} must be of {kind.__name__}, not {value!r}", hint
    return None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wholes(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_whole, value))


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "text"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "int": (_whole, "a whole number"),
    "int | None": (lambda value: value is None or _whole(value), "a whole number or None"),
    "tuple[int, ...] | None": (lambda value: value is None or _wholes(value), "whole numbers in a tuple or None"),
}
"""For each type of a field what is of it, and how an error calls it."""


# The kernel keeps a timer of connection tracking as ticks, in 31 bits (proc_dointvec_jiffies in kernel/sysctl.c), and
# has up to 1,000 of them a second (HZ).
_LONGEST_S = (2**31 - 1) // 1000


def _contradiction(nat: Nat) -> tuple[str, str] | None:
    """Why no NAT can be like that, and what to say instead; None where one can."""
    checks: tuple[tuple[bool, str, str], ...] = (
        (
            nat.mapping is not Mapping.ENDPOINT_INDEPENDENT and nat.ports is Ports.PRESERVE,
            f"mapping {nat.mapping.value!r} with preserved ports: every destination would see the same port, "
            "which is endpoint-independent",
            "choose ports 'random' or 'sequential'",
        ),
        (
            nat.overloading and nat.ports is not Ports.PRESERVE,
            f"overloading with ports {nat.ports.value!r}: only a preserved port can be wanted by two hosts at once",
            "leave overloading out",
        ),
        (
            nat.overloading
            and (nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT or nat.hairpin is not Hairpin.OFF),
            "overloading: a port that belongs to two hosts at once tells nothing about whose a stranger's packet is",
            "choose filtering 'address-and-port-dependent' and hairpin 'off', or leave overloading out",
        ),
        (
            nat.overloading and nat.addresses > 1 and nat.pooling is Pooling.ARBITRARY,
            "overloading with several external addresses and arbitrary pooling: of a port that may belong to two hosts "
            "nothing is remembered, so each destination would see another address",
            "choose pooling 'paired', or leave overloading out",
        ),
        (
            nat.hairpin is Hairpin.EXTERNAL
            and nat.mapping is not Mapping.ENDPOINT_INDEPENDENT
            and nat.filtering is not Filtering.ENDPOINT_INDEPENDENT,
            f"hairpin 'external' with mapping {nat.mapping.value!r} and filtering {nat.filtering.value!r}: nothing "
            "would get through, since each host would first have to send to a port of the other that no server sees",
            "choose hairpin 'off' or 'internal', or filtering 'endpoint-independent'",
        ),
        (
            nat.block is not None and nat.ports is Ports.PRESERVE,
            "blocks of ports with preserved ports: a host's own port lies in its block by chance only",
            "choose ports 'random' or 'sequential'",
        ),
        (
            not 1 <= nat.first_port <= nat.last_port <= 65535,
            f"ports {nat.first_port}-{nat.last_port} are no range",
            "use 1 to 65535",
        ),
        (
            nat.block is not None and not 1 <= nat.block <= nat.last_port - nat.first_port + 1,
            f"a block of {nat.block} ports does not fit into {nat.first_port}-{nat.last_port}",
            "make it smaller",
        ),
        (not 1 <= nat.addresses <= 16, f"{nat.addresses} external addresses", "use 1 to 16"),
        (nat.limit is not None and nat.limit < 1, f"a limit of {nat.limit} mappings", "use 1 or more, or none"),
        (
            not all(1 <= port <= 65535 for port in (*(nat.udp_ports or ()), *(nat.tcp_ports or ()))),
            "a port out of range",
            "use 1 to 65535",
        ),
        (
            any(len(set(ports)) < len(ports) for ports in (nat.udp_ports or (), nat.tcp_ports or ())),
            "a port that may be talked to is there twice",
            "name each once",
        ),
        (
            min(nat.udp_timeout_s, nat.tcp_established_s, nat.tcp_transitory_s, nat.icmp_timeout_s) < 1,
            "a timer below one second",
            "timers are whole seconds, 1 or more",
        ),
        (
            max(nat.udp_timeout_s, nat.tcp_established_s, nat.tcp_transitory_s, nat.icmp_timeout_s) > _LONGEST_S,
            f"a timer above {_LONGEST_S} seconds",
            "the kernel holds no longer ones everywhere; that is 24 days",
        ),
    )
    return next(((what, hint) for wrong, what, hint in checks if wrong), None)


_APDM = Mapping.ADDRESS_AND_PORT_DEPENDENT
_EIF, _ADF, _APDF = Filtering

# Linux's own timers (net/netfilter/nf_conntrack_proto_*.c): UDP 30 s, 120 s once a flow has answered both ways. One
# timer for all mappings cannot tell the two; a NAT that leaves everything to the kernel keeps the kernel's.
_KERNEL = {"udp_timeout_s": 30, "tcp_established_s": 432000, "tcp_transitory_s": 120, "icmp_timeout_s": 30}

LINUX = Nat(
    "linux",
    filtering=_APDF,
    overloading=True,
    hairpin=Hairpin.OFF,
    first_port=1,
    inbound_refresh=True,
    **_KERNEL,  # type: ignore[arg-type]
    about="a Linux router with nftables' plain `masquerade`: endpoint-independent until two hosts want one port",
    source="nft(8), MASQUERADE; net/netfilter/nf_nat_core.c",
)

ARTICLE = Nat(
    "article",
    _APDM,
    _APDF,
    Ports.RANDOM,
    parity=False,
    hairpin=Hairpin.OFF,
    first_port=1,
    inbound_refresh=True,
    **_KERNEL,  # type: ignore[arg-type]
    about="`masquerade random,persistent`: every flow leaves from a port of its own",
    source="nft(8), MASQUERADE; net/netfilter/nf_nat_core.c",
)

_PRESETS = (
    LINUX,
    ARTICLE,
    Nat(
        "home",
        about="a home router that obeys every MUST and the stricter SHOULDs: endpoint-independent mapping, "
        "address-dependent filtering, hairpinning",
        source="RFC 4787 REQ-1 to REQ-14, RFC 5382",
    ),
    Nat(
        "full",
        filtering=_EIF,
        about="endpoint-independent mapping and filtering: whoever knows the external port gets in ('full')",
        source="RFC 4787 REQ-8, for transparency; consumer routers with 'open NAT'",
    ),
    Nat(
        "address-restricted",
        about="endpoint-independent mapping, and only hosts that were sent to get in",
        source="RFC 4787, section 5",
    ),
    Nat(
        "port-restricted",
        filtering=_APDF,
        about="endpoint-independent mapping, and only endpoints that were sent to get in",
        source="RFC 4787, section 5; most home routers",
    ),
    Nat(
        "symmetric",
        _APDM,
        _APDF,
        Ports.RANDOM,
        parity=False,
        hairpin=Hairpin.OFF,
        about="another random port for every destination",
        source="RFC 4787, section 4.1; enterprise firewalls",
    ),
    Nat(
        "symmetric-sequential",
        _APDM,
        _APDF,
        Ports.SEQUENTIAL,
        parity=False,
        hairpin=Hairpin.OFF,
        about="another port for every destination, each the one after the last: it can be predicted",
        source="RFC 5128, section 3.5",
    ),
    Nat(
        "carrier",
        filtering=_EIF,
        ports=Ports.RANDOM,
        parity=False,
        block=1024,
        addresses=2,
        limit=512,
        about="a carrier-grade NAT: subscribers share two addresses, each with a block of ports and a limit",
        source="RFC 6888 REQ-1 to REQ-9",
    ),
    Nat(
        "cloud",
        _APDM,
        _APDF,
        Ports.RANDOM,
        parity=False,
        hairpin=Hairpin.OFF,
        udp_timeout_s=350,
        tcp_established_s=350,
        inbound_refresh=True,
        about="a cloud provider's NAT gateway: another port for every destination, idle flows forgotten after 350 s",
        source="Amazon VPC User Guide, 'NAT gateway basics': idle timeout of 350 seconds",
    ),
    Nat(
        "hotel",
        filtering=_APDF,
        ports=Ports.RANDOM,
        parity=False,
        hairpin=Hairpin.OFF,
        udp_ports=(53,),
        tcp_ports=(80, 443),
        about="a hotel's or a company's guest network: the web and DNS, and nothing else",
        source="RFC 8445 appendix B.5, RFC 8656 section 1: why relays listen on TCP 443",
    ),
    Nat(
        "answering",
        filtering=_APDF,
        overloading=True,
        hairpin=Hairpin.OFF,
        unsolicited=Unsolicited.ACCEPT,
        first_port=1,
        inbound_refresh=True,
        **_KERNEL,  # type: ignore[arg-type]
        about="a Linux router whose WAN side answers: a peer's early packet takes the port that the punch needs",
        source="RFC 5382 REQ-4, from its other side",
    ),
)

NATS: dict[str, Nat | None] = {"none": None} | {nat.name: nat for nat in _PRESETS}


def nat_named(name: str) -> Nat | None:
    """The behaviour called *name*; None for "none".

    Raises TopologyError for a name that is not in :data:`NATS`.
    """
    try:
        return NATS[name]
    except KeyError:
        raise TopologyError(f"nat {name!r} is not known", hint=did_you_mean(name, NATS)) from None


def nat_from(table: MappingType[str, Any]) -> Nat:
    """The behaviour that a file's table describes: `preset` (else "home") and what differs from it.

    Raises TopologyError for unknown keys and values, and for what no NAT can be.
    """
    given = dict(table)
    base = nat_named(str(given.pop("preset", "home")))
    if base is None:
        raise TopologyError(
            "nat: a table starts from a preset that translates", hint="leave preset out, or name another"
        )
    kinds = [known.name for known in fields(Nat) if known.compare]
    changes: dict[str, Any] = {}
    for key, value in given.items():
        if key not in kinds:
            raise TopologyError(f"nat: unknown key {key!r}", hint=did_you_mean(str(key), kinds))
        changes[key] = _value(key, value, getattr(base, key))
    changes.setdefault("name", "custom")
    return replace(base, **changes, about="", source="")


def _value(key: str, value: Any, default: object) -> Any:
    kind = _ENUMS.get(key)
    if kind is not None:
        words = [str(member.value) for member in kind]
        if value not in words:
            raise TopologyError(f"nat: {key} {value!r} is not known", hint=did_you_mean(str(value), words))
        return kind(value)
    if isinstance(value, list):
        return tuple(value)
    return value


def to_table(nat: Nat) -> str | dict[str, Any]:
    """The inverse of :func:`nat_named` and :func:`nat_from`: what a file would say."""
    if NATS.get(nat.name) == nat:
        return nat.name
    base = NATS["home"]
    table: dict[str, Any] = {}
    for known in fields(Nat):
        value = getattr(nat, known.name)
        if not known.compare or value == getattr(base, known.name):
            continue
        table[known.name] = (
            value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
        )
    return table
