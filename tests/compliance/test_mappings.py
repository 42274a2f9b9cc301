"""Mappings and filtering over TCP as well as UDP, and what others get wrong about ports (RFC 4787, RFC 5382)."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from operator import attrgetter

import pytest

from tests.compliance.packets import ECHO, ECHO_REPLY, echo
from tests.compliance.requirement import requirement
from tests.compliance.street import DNS, PRESETS, SECURE_WEB, WEB, Home, arrives, first, receive, street
from wanlab import Lab
from wanlab.topology.nat import NATS, Filtering, Hairpin, Mapping, Nat, Ports, Unsolicited

NAME = attrgetter("name")
EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering


# -- mapping ---------------------------------------------------------------------------------------------------------


@requirement("RFC 5382 REQ-1")
def test_tcp_connections_of_one_port_leave_from_one_external_port_where_the_mapping_says_so(home: Home) -> None:
    port = home.port()
    seen = {}
    for to, to_port in (("peer", WEB), ("peer", SECURE_WEB), ("stranger", WEB)):
        client, server, seen[to, to_port] = home.connect("b", port, to, to_port)
        client.close()
        server.close()
    by_port = seen["peer", WEB] != seen["peer", SECURE_WEB]
    by_address = seen["peer", WEB] != seen["stranger", WEB]
    assert (by_port, by_address) == {EIM: (False, False), ADM: (False, True), APDM: (True, True)}[home.nat.mapping]


@requirement("RFC 4787 REQ-11")
def test_a_neighbour_on_the_same_port_does_not_change_how_ports_are_mapped(home: Home) -> None:
    """RFC 4787's section 8.7: the second host, whose port is taken towards the one destination, and free elsewhere."""
    port = home.port()
    home.send_out("b", port)
    free, taken = home.send_out("c", port, "stranger"), home.send_out("c", port)
    same = home.nat.mapping is EIM and not home.nat.overloading
    assert (taken == free) == same


@requirement("RFC 5382 REQ-7")
def test_two_hosts_on_one_port_have_each_a_tcp_port_of_their_own(home: Home) -> None:
    port = home.port()
    mine, theirs = home.connect("b", port)[2], home.connect("c", port, "stranger")[2]
    shared = mine == theirs
    assert shared == home.nat.overloading


@requirement("RFC 4787 REQ-3", "RFC 5382 REQ-7")
@pytest.mark.parametrize("same", [True, False], ids=["one-destination", "two-destinations"])
def test_two_hosts_on_one_tcp_port_are_both_answered(home: Home, same: bool) -> None:
    port = home.port()
    ends = [home.connect("b", port), home.connect("c", port, "peer" if same else "stranger")]
    for number, (client, server, _) in enumerate(ends):
        server.sendall(f"for {number}".encode())
        assert client.recv(100) == f"for {number}".encode()


@requirement("RFC 4787 REQ-3a")
def test_a_port_below_1024_stays_below_only_where_such_ports_are_given_out(home: Home) -> None:
    external = home.send_out("b", 600 + home.number)
    assert (external[1] < 1024) == (home.nat.first_port == 1)


@requirement("RFC 4787 REQ-10", "RFC 5382 REQ-6")
@pytest.mark.parametrize("port", [21, 5060], ids=["ftp", "sip"])
def test_addresses_in_what_programs_say_are_left_alone(home: Home, port: int) -> None:
    if home.nat.tcp_ports is not None:
        port = WEB
    client, server, _ = home.connect("b", home.port(), "peer", port)
    inside = home.address("b")
    said = f"PORT {inside.replace('.', ',')},19,137\r\nINVITE sip:x SIP/2.0\r\nContact: <sip:b@{inside}:5060>\r\n\r\n"
    client.sendall(said.encode())
    assert server.recv(1000) == said.encode()


# -- filtering and hairpinning over TCP ------------------------------------------------------------------------------


@requirement("RFC 5382 REQ-3")
def test_who_may_connect_to_a_tcp_mapping_is_what_the_filtering_says(home: Home) -> None:
    port = home.port()
    _, _, external = home.connect("b", port)
    let_in = {name: _syn_arrives(home, name, external, port) for name in ("peer", "stranger")}
    assert let_in == {"peer": home.nat.filtering is not APDF, "stranger": home.nat.filtering is EIF}


def _syn_arrives(home: Home, name: str, external: tuple[str, int], port: int) -> bool:
    """Whether a SYN from that host's new port reaches the inside host, from its true address."""
    with home.node("b").socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as watching:
        caller = home.open(name, socket.SOCK_STREAM)
        caller.setblocking(False)
        caller.connect_ex(external)

        def syn() -> bool | None:
            packet, (source, _) = receive(watching)
            to = int.from_bytes(packet[22:24])
            return True if (source, to, packet[33] & 0x12) == (home.address(name), port, 0x02) else None

        return first(syn, 0.2, watching) is not None


HAIRPINNING = [nat for nat in PRESETS if nat.hairpin is Hairpin.EXTERNAL]


@requirement("RFC 5382 REQ-8")
@pytest.mark.parametrize("home", HAIRPINNING, ids=NAME, indirect=True)
def test_a_hairpinned_tcp_connection_comes_from_the_callers_external_endpoint(home: Home) -> None:
    mine, theirs = home.port(), home.port()
    _, _, my_external = home.connect("b", mine)
    client, server, their_external = home.connect("c", theirs)
    client.close()
    server.close()
    listening = home.open("c", socket.SOCK_STREAM, port=theirs)
    if home.nat.filtering is not EIF:
        listening.setblocking(False)
        listening.connect_ex(my_external)  # it opens the way
        listening.close()
        listening = home.open("c", socket.SOCK_STREAM, port=theirs)
    listening.listen()
    caller = home.open("b", socket.SOCK_STREAM, port=mine)
    caller.connect(their_external)
    connection, source = listening.accept()
    connection.close()
    assert source == my_external


# -- unsolicited -----------------------------------------------------------------------------------------------------


@requirement("RFC 5382 REQ-4")
def test_an_unsolicited_syn_is_met_with_silence_for_six_seconds_but_by_a_router_that_answers(
    presets_lab: Lab,
) -> None:
    with ExitStack() as stack:
        homes = [Home(presets_lab, number, nat, stack) for number, nat in enumerate(PRESETS)]
        callers = {home: home.open("peer", socket.SOCK_STREAM) for home in homes}
        for home, caller in callers.items():
            caller.setblocking(False)
            caller.connect_ex((home.externals[0], 999))
        time.sleep(6.2)
        answered = {
            home.nat.name for home, caller in callers.items() if caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        }
    assert answered == {nat.name for nat in PRESETS if nat.unsolicited is not Unsolicited.DROP}


# -- time ------------------------------------------------------------------------------------------------------------

TIMED = [
    replace(nat, name=f"timed-{nat.name}", tcp_established_s=5, tcp_transitory_s=2, icmp_timeout_s=2)
    for nat in (NATS["home"], NATS["symmetric"], NATS["linux"])
    if nat is not None
]


@requirement("RFC 5382 REQ-5", "RFC 5508 REQ-2")
def test_connections_half_open_ones_and_queries_live_as_long_as_their_timers_say() -> None:
    with Lab(street(TIMED)) as lab, ExitStack() as stack:
        homes = [Home(lab, number, nat, stack) for number, nat in enumerate(TIMED)]
        short = {home: home.connect("b", 5000, to_port=8000 + home.number) for home in homes}
        long = {home: home.connect("c", 6000, to_port=8000 + home.number) for home in homes}
        identifiers = {home: _ask(home) for home in homes}
        time.sleep(1)
        assert [_reply(home, *identifiers[home]) for home in homes] == [True] * len(homes)
        time.sleep(2.2)  # 3.2 s: established connections live, queries do not
        assert [_reply(home, *identifiers[home]) for home in homes] == [False] * len(homes)
        assert [_through(*short[home][:2]) for home in homes] == [True] * len(homes)
        time.sleep(3)  # 6.2 s after it was last used
        assert [_through(*long[home][:2]) for home in homes] == [False] * len(homes)


def _ask(home: Home) -> tuple[socket.socket, int, str, int]:
    """Ask `peer`, whose kernel answers; the socket, and the identifier inside and outside."""
    arriving = home.open("peer", socket.SOCK_RAW, socket.IPPROTO_ICMP)
    asking = home.open("b", socket.SOCK_RAW, socket.IPPROTO_ICMP)
    identifier = home.port()
    asking.sendto(echo(ECHO, identifier), (home.address("peer"), 0))

    def request() -> tuple[str, int] | None:
        packet, (source, _) = receive(arriving)
        return (source, int.from_bytes(packet[24:26])) if packet[20] == ECHO and source in home.externals else None

    seen = first(request, 1, arriving)
    assert seen is not None
    return asking, identifier, *seen


def _reply(home: Home, asking: socket.socket, identifier: int, address: str, external: int) -> bool:
    text = str(time.monotonic()).encode()
    with home.node("peer").socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.sendto(echo(ECHO_REPLY, external, text), (address, 0))

    def reply() -> bool | None:
        packet, _ = receive(asking)
        return True if packet[24:26] == identifier.to_bytes(2) and packet[28:] == text else None

    return first(reply, 0.2, asking) is not None


def _through(client: socket.socket, server: socket.socket) -> bool:
    """Whether the server's data reaches the client."""
    server.sendall(b"alive")
    client.settimeout(0.2)
    try:
        return client.recv(100) == b"alive"
    except TimeoutError:
        return False


# -- several addresses -----------------------------------------------------------------------------------------------


@requirement("RFC 6888 REQ-3")
def test_a_pool_may_be_any_addresses_that_do_not_follow_each_other() -> None:
    nat = Nat("scattered", ports=Ports.RANDOM, addresses=3)
    topology = street([])
    home = topology.router("home0", "wan", nat=nat, address=["5.0.3.3", "5.0.77.1", "5.0.200.9"])
    for name in ("b0", "c0"):
        topology.host(name, home)
    with Lab(topology) as lab, ExitStack() as stack:
        it = Home(lab, 0, nat, stack)
        assert it.externals == ["5.0.3.3", "5.0.77.1", "5.0.200.9"]
        external = it.send_out("b", 5000)
        assert external[0] in it.externals
        assert {it.send_out("b", port)[0] for port in range(5001, 5020)} == {external[0]}, "paired"
        it.udp("peer", DNS).sendto(b"in", external)
        assert arrives(it.udp("b", 5000), b"in")
