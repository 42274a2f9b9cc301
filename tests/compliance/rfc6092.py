"""What RFC 6092 asks of a home router's IPv6 firewall. No preset is asked: it is the router's `firewall`."""

from __future__ import annotations

from tests.compliance.requirement import Document, Requirement, State

_ASKED = None
_STRICTER = "Stricter: only the very endpoint that was sent to gets in, as most home routers have it."
_NOT_OURS = State.OUT_OF_SCOPE


def _measured(number: str, asks: str, why: str = "") -> Requirement:
    return Requirement(number, asks, _ASKED, State.MEASURED, why)


def _other(number: str, asks: str, state: State, why: str) -> Requirement:
    return Requirement(number, asks, _ASKED, state, why)


RFC_6092 = Document(
    6092,
    "The IPv6 firewall",
    50,
    (
        _measured("REC-1", "What has a multicast source is not forwarded."),
        _other("REC-2", "Multicast stays within its scope.", _NOT_OURS, "A lab's routers forward no multicast at all."),
        _other(
            "REC-3",
            "Addresses that must not be on the Internet are not forwarded.",
            State.NOT_OFFERED,
            "A lab may use any addresses, those for documentation among them.",
        ),
        _other(
            "REC-4",
            "Deprecated extension headers are not forwarded.",
            State.NOT_OFFERED,
            "The firewall does not look at them.",
        ),
        _measured("REC-5", "What goes out has a source of the inside.", "Broken: nothing looks at it."),
        _other(
            "REC-6",
            "What comes in has no source of the inside.",
            State.NOT_OFFERED,
            "As REC-5; only answers come in, though.",
        ),
        _other(
            "REC-7",
            "Unique local addresses do not cross.",
            State.NOT_OFFERED,
            "A lab may have them on both sides.",
        ),
        _measured("REC-8", "DNS queries from outside are not answered."),
        _measured("REC-9", "DHCPv6 from outside is not answered."),
        _measured("REC-10", "Errors about no flow are dropped."),
        _measured("REC-11", "Filtering of other protocols is endpoint-independent, or address-dependent."),
        _other(
            "REC-12",
            "State of other protocols lives two minutes at least, five by default.",
            State.NOT_OFFERED,
            "The kernel's ten minutes (`nf_conntrack_generic_timeout`).",
        ),
        _other("REC-13", "The firmware can be updated.", State.NO_PACKETS, "There is none."),
        _other(
            "REC-14 to REC-16",
            "UDP state lives two minutes at least, and what goes out keeps it alive.",
            State.NOT_OFFERED,
            "A NAT's `udp_timeout_s` beside it holds for IPv6 too; else the kernel's 30 s, and 120 s once answered.",
        ),
        _measured("REC-17", "Filtering of UDP is endpoint-independent, or address-dependent.", _STRICTER),
        _measured("REC-18", "Errors about a UDP flow are forwarded."),
        _measured("REC-19", "No ICMPv6 message ends a UDP flow."),
        _other(
            "REC-20",
            "UDP-Lite is told apart from UDP.",
            _NOT_OURS,
            "The kernel tracks UDP-Lite as a protocol of its own.",
        ),
        _other(
            "REC-21", "AH is not prohibited.", _NOT_OURS, "Outwards everything is let through, and back what answers."
        ),
        _measured("REC-22", "ESP is not prohibited."),
        _other("REC-23", "Errors about ESP flows are forwarded.", _NOT_OURS, "Errors about any flow are: REC-18."),
        _measured("REC-24", "Key exchange (UDP port 500) is not prohibited."),
        _measured("REC-25", "ESP flows are told apart by their addresses, not by what is in them."),
        _other("REC-26", "HIP is not prohibited.", _NOT_OURS, "As REC-21."),
        _other("REC-27 to REC-30", "Mobile IPv6 passes.", _NOT_OURS, "Labs have no mobile nodes in this sense."),
        _measured("REC-31", "All valid TCP sequences pass outwards, the simultaneous open too."),
        _other(
            "REC-32",
            "Windows are not checked where the start was not seen.",
            _NOT_OURS,
            "Connection tracking does so by itself, and beside a NAT it checks none (`nf_conntrack_tcp_be_liberal`).",
        ),
        _measured("REC-33", "Filtering of TCP is endpoint-independent, or address-dependent.", _STRICTER),
        _measured("REC-34", "An unsolicited SYN is answered by an error after six seconds.", "Never: silence lasts."),
        _other(
            "REC-35",
            "An idle connection lives 2 h 4 min, a half-open one 4 min.",
            State.NOT_OFFERED,
            "With a NAT beside it, its timers hold; else the kernel's (five days, and two minutes half-open).",
        ),
        _measured("REC-36", "Errors about a TCP flow are forwarded.", "Measured over UDP: no rule tells them apart."),
        _measured("REC-37", "No ICMPv6 message ends a TCP flow.", "Measured over UDP: no rule tells them apart."),
        _other(
            "REC-38 to REC-42", "The same for SCTP.", _NOT_OURS, "Where the kernel has SCTP it tracks it by itself."
        ),
        _other(
            "REC-43 to REC-46", "The same for DCCP.", _NOT_OURS, "Where the kernel has DCCP it tracks it by itself."
        ),
        _other("REC-47", "Shim6 passes.", _NOT_OURS, "Nobody uses it."),
        _other(
            "REC-48",
            "Programs can ask for inbound traffic by a protocol.",
            State.NOT_OFFERED,
            "[Port mapping](reference/nat.md#port-mapping) is for IPv4.",
        ),
        _measured("REC-49", "There is a transparent mode.", "`firewall = false`."),
        _measured("REC-50", "Management is not offered to the outside."),
    ),
    "IPv6 is not translated but routed behind the router's stateful firewall (`firewall`, on by default).",
)
