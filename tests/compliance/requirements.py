"""What RFC 4787, 5382, 5508, 6888 and 6092 ask, in our own words, and which presets do it."""

from __future__ import annotations

from tests.compliance.requirement import Document, Requirement, State
from tests.compliance.rfc6092 import RFC_6092
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Nat, Pooling, Ports, Unsolicited

Is = Requirement


def _endpoint_independent(nat: Nat) -> bool:
    return nat.mapping is Mapping.ENDPOINT_INDEPENDENT


def _open_enough(nat: Nat) -> bool:
    return nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT


def _hairpins(nat: Nat) -> bool:
    return nat.hairpin is Hairpin.EXTERNAL


def _no_overloading(nat: Nat) -> bool:
    return not nat.overloading


RFC_4787 = Document(
    4787,
    "UDP",
    14,
    (
        Is("REQ-1", "One external port for an internal one, whomever it talks to.", _endpoint_independent),
        Is("REQ-2", "A host keeps one of several external addresses.", lambda nat: nat.pooling is Pooling.PAIRED),
        Is("REQ-3", "No external port belongs to two hosts at once.", _no_overloading),
        Is(
            "REQ-3a",
            "A port below 1024 gets one below 1024.",
            lambda nat: nat.first_port == 1,
            why="Recommended. The others give out no port below 1024.",
        ),
        Is("REQ-4", "Even ports stay even, odd ones odd.", lambda nat: nat.parity),
        Is(
            "REQ-5",
            "An idle mapping lives two minutes at least, five by default.",
            lambda nat: nat.udp_timeout_s >= 120,
        ),
        Is("REQ-6", "What goes out keeps a mapping alive; what comes in may."),
        Is(
            "REQ-7",
            "The inside works whatever addresses the outside has.",
            None,
            why="A lab whose LAN has addresses of the network above it is refused.",
        ),
        Is(
            "REQ-8",
            "Filtering is endpoint-independent, for transparency, or address-dependent, for strictness.",
            _open_enough,
        ),
        Is(
            "REQ-9",
            "Inside hosts reach each other by their external endpoints.",
            lambda nat: nat.hairpin is not Hairpin.OFF,
        ),
        Is("REQ-9a", "Such a packet shows its sender's external endpoint.", _hairpins),
        Is("REQ-10", "What programs say is not rewritten (no application-level gateways)."),
        Is(
            "REQ-11",
            "Mapping and filtering are always the same, whatever else happens.",
            _no_overloading,
            why="Plain Linux maps endpoint-independently until two hosts want one port.",
        ),
        Is("REQ-12", "No ICMP message ends a mapping; from whom one comes does not matter (12a)."),
        Is("REQ-12b", "Unreachable messages are let through."),
        Is("REQ-13", "Who sends what is too large and must not be cut is told."),
        Is("REQ-13a", "What may be cut is, and leaves in order."),
        Is("REQ-14", "Fragments arrive whole, in whatever order they came."),
    ),
)

RFC_5382 = Document(
    5382,
    "TCP",
    10,
    (
        Is("REQ-1", "One external port for an internal one, whomever it talks to.", _endpoint_independent),
        Is(
            "REQ-2",
            "All valid sequences pass: the simultaneous open, and a refused connection tried again.",
            None,
            why="Which pairs of presets meet follows from their mapping and filtering: `wanlab punch-grid`.",
        ),
        Is("REQ-3", "Filtering as for UDP.", _open_enough),
        Is(
            "REQ-4",
            "An unsolicited SYN is met with silence for six seconds; then an ICMP error, unless policy forbids it.",
            lambda nat: nat.unsolicited is Unsolicited.DROP,
            why="Policy forbids it: the silence lasts.",
        ),
        Is(
            "REQ-5",
            "An idle connection lives 2 h 4 min, a half-open or closing one 4 min.",
            lambda nat: nat.tcp_established_s >= 7440 and nat.tcp_transitory_s >= 240,
        ),
        Is("REQ-6", "What programs say is not rewritten."),
        Is("REQ-7", "No external port belongs to two hosts at once.", _no_overloading),
        Is("REQ-8", "Hairpinning, by the sender's external endpoint.", _hairpins),
        Is("REQ-9", "Unreachable messages about connections are translated."),
        Is("REQ-10", "No ICMP message ends a mapping or a connection."),
    ),
)

RFC_5508 = Document(
    5508,
    "ICMP",
    11,
    (
        Is("REQ-1", "Queries of inside hosts, and their answers, pass."),
        Is(
            "REQ-1a",
            "A query has one external identifier, whomever it asks.",
            lambda nat: nat.learns or nat.ports is Ports.PRESERVE,
            why="Where the kernel draws ports anew for each flow, it draws identifiers too.",
        ),
        Is("REQ-2", "A query's mapping lives 60 s at least.", lambda nat: nat.icmp_timeout_s >= 60),
        Is("REQ-3", "An error with a wrong checksum is dropped."),
        Is(
            "REQ-3a",
            "An error that quotes an IP header with a wrong checksum is dropped.",
            None,
            State.IMPOSSIBLE,
            "Connection tracking does not look at the quoted header's checksum, and nftables sees no quoted packet.",
        ),
        Is("REQ-3b", "IP options in the quoted packet are passed over."),
        Is("REQ-3c", "The quoted packet's transport checksum is not looked at."),
        Is(
            "REQ-4",
            "An error from outside reaches the host whose packet it quotes, which is quoted as that host sent it; "
            "about what nobody sent it is dropped in silence.",
        ),
        Is("REQ-5", "An error from inside shows external endpoints, in the quoted packet too."),
        Is("REQ-6", "Errors neither end nor refresh what they are about."),
        Is(
            "REQ-7", "Errors about hairpinned packets go back the same way.", lambda nat: nat.hairpin is not Hairpin.OFF
        ),
        Is(
            "REQ-8",
            "Who gets no mapping is told (code 13, communication prohibited).",
            lambda nat: nat.limit is not None,
            why="Beyond a `limit` the sender is told, with code 1 as RFC 6888 REQ-11 has it. In silence: where all "
            "ports are taken, since nftables cannot answer after routing; and to destination ports that are closed "
            "(`udp_ports`, `tcp_ports`), as guest networks do.",
        ),
        Is(
            "REQ-9",
            "It may hold back ICMP messages by policy.",
            None,
            State.OUT_OF_SCOPE,
            "A permission; no preset uses it.",
        ),
        Is("REQ-10", "It makes and forwards what traceroute, ping and path MTU discovery need."),
        Is(
            "REQ-11",
            "It may drop what is neither query nor error.",
            None,
            State.OUT_OF_SCOPE,
            "A permission. Redirects are dropped by the kernel, the rest is left to connection tracking.",
        ),
    ),
)


def _is_carrier(nat: Nat) -> bool:
    return nat.limit is not None and nat.block is not None


RFC_6888 = Document(
    6888,
    "Carrier-grade NAT",
    15,
    (
        Is("REQ-1", "It obeys the RFCs above for each protocol that it translates.", _is_carrier),
        Is("REQ-2", "A subscriber keeps one of the external addresses.", _is_carrier),
        Is("REQ-3", "Any external addresses do.", None, why="16 at most, in any order."),
        Is("REQ-4", "Each subscriber may have so many ports, which an administrator sets.", _is_carrier),
        Is("REQ-5", "Each subscriber may take so much memory.", _is_carrier, why="By the limit of REQ-4."),
        Is(
            "REQ-6",
            "Translation can be turned off for some destinations.",
            None,
            State.NOT_OFFERED,
            "A NAT's description has no list of exceptions.",
        ),
        Is("REQ-7", "Filtering is endpoint-independent.", _is_carrier),
        Is(
            "REQ-8",
            "A port that was given back is not given out for 120 s.",
            None,
            State.NOT_OFFERED,
            "A port is free as soon as its mapping is dead. With random ports it is hardly the next one.",
        ),
        Is(
            "REQ-9",
            "Subscribers make mappings by a protocol, best by PCP.",
            None,
            why="Where `port_mapping` says so ([NATs](reference/nat.md#port-mapping)); the preset `carrier` does not.",
        ),
        Is("REQ-10", "It can be managed by a standard.", None, State.NO_PACKETS, "A lab is managed by its file."),
        Is(
            "REQ-11",
            "Who gets no mapping is told (code 1), and nobody else's mapping is taken away for it.",
            _is_carrier,
        ),
        Is("REQ-12", "Destinations are not logged.", None, State.NO_PACKETS, "Nothing is logged."),
        Is("REQ-13", "Ports are used well.", _is_carrier, why="A subscriber gets every port of its block."),
        Is("REQ-14", "Little needs to be logged.", _is_carrier, why="A block belongs to one subscriber for good."),
        Is("REQ-15", "Ports are hard to guess.", _is_carrier, why="Drawn from the block at random."),
    ),
)

DOCUMENTS = (RFC_4787, RFC_5382, RFC_5508, RFC_6888, RFC_6092)
