"""ICMP through NATs: queries have mappings, errors reach whom they concern, and end nothing (RFC 5508, 4787, 5382)."""

from __future__ import annotations

import socket
import struct
from operator import attrgetter

import pytest

from tests.compliance.packets import (
    ECHO,
    ECHO_REPLY,
    HOST,
    NET,
    PARAMETER_PROBLEM,
    PORT,
    PROHIBITED,
    TIME_EXCEEDED,
    TOO_BIG,
    UNREACHABLE,
    checksum,
    echo,
    icmp,
    ip,
    tcp_start,
    udp_packet,
)
from tests.compliance.requirement import requirement
from tests.compliance.street import DNS, PRESETS, WEB, Home, arrives, first, receive
from wanlab.measure.stun import Endpoint
from wanlab.topology.nat import Filtering, Hairpin, Ports

NAME = attrgetter("name")
ERRORS = [
    (UNREACHABLE, NET),
    (UNREACHABLE, HOST),
    (UNREACHABLE, 2),  # protocol
    (UNREACHABLE, PORT),
    (UNREACHABLE, TOO_BIG),
    (UNREACHABLE, PROHIBITED),
    (TIME_EXCEEDED, 0),
    (PARAMETER_PROBLEM, 0),
]
"""Of each type and code that a network makes."""


def send_error(home: Home, node: str, to: str, error: tuple[int, int], about: bytes, *, damaged: bool = False) -> None:
    """Send an ICMP error, of that type and code, about a packet."""
    rest = struct.pack("!HH", 0, 1500) if error == (UNREACHABLE, TOO_BIG) else bytes(4)
    message = icmp(*error, rest, about, damaged=damaged)
    home.inject(node, ip(home.address(node), to, socket.IPPROTO_ICMP, message))


def query(home: Home, name: str, identifier: int, to: str = "peer", text: bytes = b"query") -> int:
    """Send an echo request from inside; the identifier with which it arrives."""
    arriving = home.open(to, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    home.open(name, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(echo(ECHO, identifier, text), (home.address(to), 0))

    def request() -> int | None:
        packet, (source, _) = receive(arriving)
        kind, found = packet[20], struct.unpack("!H", packet[24:26])[0]
        return found if kind == ECHO and packet[28:] == text and source in home.externals else None

    found = first(request, 1, arriving)
    assert found is not None
    return found


def answered(opened: socket.socket, identifier: int, text: bytes, seconds: float = 0.5) -> bool:
    """Whether an echo reply arrives."""

    def reply() -> bool | None:
        packet, _ = receive(opened)
        right = packet[20] == ECHO_REPLY and struct.unpack("!H", packet[24:26])[0] == identifier
        return True if right and packet[28:] == text else None

    return first(reply, seconds, opened) is not None


# -- queries ---------------------------------------------------------------------------------------------------------


@requirement("RFC 5508 REQ-1", "RFC 5508 REQ-10")
def test_a_ping_from_inside_is_answered(home: Home) -> None:
    asking = home.open("b", socket.SOCK_RAW, socket.IPPROTO_ICMP)
    asking.sendto(echo(ECHO, home.port(), b"ping"), (home.address("peer"), 0))
    asking.sendto(echo(ECHO, identifier := home.port(), b"pong"), (home.address("distant"), 0))
    assert answered(asking, identifier, b"pong")


@requirement("RFC 5508 REQ-1a")
def test_a_query_keeps_its_external_identifier_whomever_it_asks(home: Home) -> None:
    """Not where the kernel draws a port for each flow: it draws an identifier as well."""
    identifier = home.port()
    seen = [query(home, "b", identifier, to) for to in ("peer", "stranger")]
    assert (seen[0] == seen[1]) == (home.nat.learns or home.nat.ports is Ports.PRESERVE)


@requirement("RFC 5508 REQ-1")
def test_two_hosts_ping_with_one_identifier_and_each_is_answered_its_own(home: Home) -> None:
    identifier = home.port()
    asking = {name: home.open(name, socket.SOCK_RAW, socket.IPPROTO_ICMP) for name in ("b", "c")}
    for name, opened in asking.items():
        opened.sendto(echo(ECHO, identifier, name.encode()), (home.address("peer"), 0))
    for name, opened in asking.items():
        assert answered(opened, identifier, name.encode())


# -- errors from outside ---------------------------------------------------------------------------------------------


@requirement("RFC 4787 REQ-12", "RFC 5508 REQ-4")
@pytest.mark.parametrize("kind", [UNREACHABLE, TIME_EXCEEDED])
def test_an_error_from_outside_reaches_the_host_whose_packet_it_is_about(home: Home, kind: int) -> None:
    """From a router on the way, whom the host has never sent to (RFC 4787 REQ-12a)."""
    inside = home.address("b"), home.port()
    external, server = home.send_out("b", inside[1]), (home.address("peer"), DNS)
    wait = home.errors("b")
    send_error(home, "stranger", external[0], (kind, 1), udp_packet(external, server))
    error = wait()
    assert error is not None
    assert (error.source, error.destination) == (home.address("stranger"), inside[0])
    assert (error.kind, error.code) == (kind, 1)
    assert (error.about_source, error.about_destination) == (inside, server)
    assert checksum(error.about[:20]) == 0, "the quoted header was written anew with its checksum"
    assert error.about == udp_packet(inside, server), "and the checksum of what it carries"


@requirement("RFC 5382 REQ-9")
def test_an_error_about_a_connection_reaches_the_host_that_made_it(home: Home) -> None:
    inside = home.address("b"), home.port()
    _, _, external = home.connect("b", inside[1])
    wait = home.errors("b")
    send_error(home, "stranger", external[0], (UNREACHABLE, HOST), tcp_start(external, (home.address("peer"), WEB)))
    error = wait()
    assert error is not None
    assert (error.kind, error.code) == (UNREACHABLE, HOST)
    assert (error.about_source, error.about_destination) == (inside, (home.address("peer"), WEB))


@requirement("RFC 5382 REQ-9")
def test_a_connection_that_a_router_on_the_way_refuses_fails_with_the_reason(home: Home) -> None:
    client = home.open("b", socket.SOCK_STREAM)
    reject = "nft add table ip refuse; nft add chain ip refuse c '{ type filter hook input priority 0; }'; "
    reject += "nft add rule ip refuse c tcp dport 443 reject with icmp type host-unreachable"
    home.node("peer").run(["sh", "-c", reject], check=True)
    try:
        with pytest.raises(OSError, match="No route to host"):
            client.connect((home.address("peer"), 443))
    finally:
        home.node("peer").run(["nft", "delete", "table", "ip", "refuse"], check=True)


@requirement("RFC 5508 REQ-4")
def test_an_error_about_a_ping_reaches_the_host_that_sent_it(home: Home) -> None:
    identifier = home.port()
    external = query(home, "b", identifier)
    request = ip(home.externals[0], home.address("peer"), socket.IPPROTO_ICMP, echo(ECHO, external, b"query"))
    if home.nat.addresses > 1:  # whichever of them it was
        request = b""
    wait = home.errors("b")
    for address in home.externals:
        about = request or ip(address, home.address("peer"), socket.IPPROTO_ICMP, echo(ECHO, external, b"query"))
        send_error(home, "stranger", address, (TIME_EXCEEDED, 0), about)
    error = wait()
    assert error is not None
    assert error.destination == home.address("b")
    assert error.about_source == (home.address("b"), identifier)


@requirement("RFC 5508 REQ-4")
def test_an_error_about_what_nobody_sent_is_dropped(home: Home) -> None:
    waiting = [home.errors(name) for name in ("a", "b", "c")]
    returned = home.errors("stranger")
    for address in home.externals:
        about = udp_packet((address, 999), (home.address("peer"), DNS))
        send_error(home, "stranger", address, (UNREACHABLE, PORT), about)
    assert [wait(0.1) for wait in waiting] == [None, None, None]
    assert returned(0.1) is None, "in silence"


@requirement("RFC 5508 REQ-3")
def test_an_error_with_a_wrong_checksum_is_dropped(home: Home) -> None:
    external = home.send_out("b", home.port())
    about = udp_packet(external, (home.address("peer"), DNS))
    wait = home.errors("b")
    send_error(home, "stranger", external[0], (UNREACHABLE, HOST), about, damaged=True)
    assert wait(0.15) is None


@requirement("RFC 5508 REQ-3b")
def test_an_error_about_a_packet_with_ip_options_is_understood(home: Home) -> None:
    port = home.port()
    external, server = home.send_out("b", port), (home.address("peer"), DNS)
    wait = home.errors("b")
    about = udp_packet(external, server, options=b"\x07\x07\x04\0\0\0\0\0")  # record route
    send_error(home, "stranger", external[0], (UNREACHABLE, HOST), about)
    error = wait()
    assert error is not None
    assert error.about_source == (home.address("b"), port)


@requirement("RFC 5508 REQ-3c")
def test_an_error_that_quotes_a_wrong_transport_checksum_is_delivered(home: Home) -> None:
    external, server = home.send_out("b", home.port()), (home.address("peer"), DNS)
    wait = home.errors("b")
    about = udp_packet(external, server)
    send_error(home, "stranger", external[0], (UNREACHABLE, HOST), about[:26] + b"\x12\x34" + about[28:])
    assert wait() is not None


@requirement("RFC 4787 REQ-12", "RFC 5508 REQ-6")
def test_errors_of_all_kinds_leave_a_udp_mapping_as_it_was(home: Home) -> None:
    port = home.port()
    external, server = home.send_out("b", port), (home.address("peer"), DNS)
    for error in ERRORS:
        send_error(home, "stranger", external[0], error, udp_packet(external, server))
        send_error(home, "peer", external[0], error, udp_packet(external, server))
    home.udp("peer", DNS).sendto(b"in", external)
    assert arrives(home.udp("b", port), b"in")
    assert home.send_out("b", port) == external


@requirement("RFC 5382 REQ-10")
def test_errors_of_all_kinds_leave_a_tcp_connection_as_it_was(home: Home) -> None:
    client, server, external = home.connect("b", home.port())
    for error in ERRORS:
        # An old sequence number: the host itself takes no notice, as RFC 5927 asks. It is the router that is tried.
        about = tcp_start(external, (home.address("peer"), WEB), sequence=0)
        send_error(home, "stranger", external[0], error, about)
    for sender, receiver, text in ((client, server, b"out"), (server, client, b"in")):
        sender.sendall(text)
        assert receiver.recv(100) == text


@requirement("RFC 5508 REQ-6")
def test_errors_leave_a_query_as_it_was(home: Home) -> None:
    identifier = home.port()
    before = query(home, "b", identifier)
    for error in ERRORS:
        for address in home.externals:
            about = ip(address, home.address("peer"), socket.IPPROTO_ICMP, echo(ECHO, before, b"query"))
            send_error(home, "stranger", address, error, about)
    asking = home.open("b", socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for address in home.externals:  # a reply that comes only now
        reply = echo(ECHO_REPLY, before, b"late")
        home.inject("peer", ip(home.address("peer"), address, socket.IPPROTO_ICMP, reply))
    assert answered(asking, identifier, b"late")
    assert query(home, "b", identifier) == before


# -- errors from inside ----------------------------------------------------------------------------------------------


@requirement("RFC 5508 REQ-5")
def test_an_error_from_inside_shows_the_external_endpoint(home: Home) -> None:
    """The inside host's own kernel says that nobody listens any more."""
    port = home.port()
    external = home.send_out("b", port)
    home.opened.pop(("b", socket.IPPROTO_UDP, port)).close()
    wait = home.errors("peer")
    home.udp("peer", DNS).sendto(b"anybody?", external)
    error = wait(1)
    assert error is not None
    assert (error.kind, error.code) == (UNREACHABLE, PORT)
    assert error.source in home.externals
    assert error.about_source == (home.address("peer"), DNS)
    assert error.about_destination == external
    assert checksum(error.about[:20]) == 0


@requirement("RFC 5508 REQ-5")
def test_an_error_from_inside_about_what_nobody_sent_is_dropped(home: Home) -> None:
    wait = home.errors("peer")
    about = udp_packet((home.address("peer"), DNS), (home.address("b"), 999))
    send_error(home, "b", home.address("peer"), (UNREACHABLE, PORT), about)
    assert wait(0.15) is None


@requirement("RFC 5508 REQ-7")
@pytest.mark.parametrize("home", [nat for nat in PRESETS if nat.hairpin is not Hairpin.OFF], ids=NAME, indirect=True)
def test_an_error_about_a_hairpinned_packet_goes_back_the_same_way(home: Home) -> None:
    port = home.port()
    mine = home.send_out("b", port)
    theirs = _closed(home, reached_by=mine)
    wait = home.errors("b")
    home.udp("b", port).sendto(b"anybody?", theirs)
    error = wait(1)
    assert error is not None
    assert (error.kind, error.code, error.source) == (UNREACHABLE, PORT, theirs[0])
    assert (error.about_source, error.about_destination) == ((home.address("b"), port), theirs)


@requirement("RFC 5508 REQ-10")
@pytest.mark.parametrize("home", [nat for nat in PRESETS if nat.hairpin is not Hairpin.OFF], ids=NAME, indirect=True)
def test_who_has_sent_a_hairpinned_packet_is_still_told_of_errors_at_once(home: Home) -> None:
    """The kernel counts a redirect, which it makes and drops, as the error of that second."""
    sender = home.udp("b", home.port())
    sender.sendto(b"hairpinned", home.send_out("c", home.port()))
    wait = home.errors("b")
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
    sender.sendto(b"trace", (home.address("peer"), DNS))
    error = wait(0.5)
    assert error is not None
    assert error.kind == TIME_EXCEEDED


def _closed(home: Home, reached_by: Endpoint) -> Endpoint:
    """The external endpoint of a mapping of `c` whose socket is closed."""
    port = home.port()
    external = home.send_out("c", port)
    if home.nat.filtering is not Filtering.ENDPOINT_INDEPENDENT:
        home.udp("c", port).sendto(b"open the way", reached_by)
    home.opened.pop(("c", socket.IPPROTO_UDP, port)).close()
    return external


# -- errors of the router itself -------------------------------------------------------------------------------------


@requirement("RFC 5508 REQ-10")
def test_traceroute_sees_the_router_and_what_is_beyond_it(home: Home) -> None:
    wait = home.errors("b")
    port = home.port()
    sender = home.udp("b", port)
    for hops, router in ((1, str(home.node("home").lan.addresses[0].ip)), (2, None)):
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        sender.sendto(b"trace", (home.address("distant"), DNS))
        error = wait(1)
        assert error is not None, hops
        assert error.kind == TIME_EXCEEDED
        assert error.about_source == (home.address("b"), port)
        if router is not None:
            assert error.source == router
