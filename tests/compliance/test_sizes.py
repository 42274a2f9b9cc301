"""Packets that are too large for the next cable, and fragments, through NATs (RFC 4787 REQ-13, REQ-14)."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.compliance.packets import TOO_BIG, UNREACHABLE, fragments
from tests.compliance.requirement import requirement
from tests.compliance.street import DNS, FAR, LAST_MILE, NARROW, WIDE, Home, expect

IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_MTU = 10, 2, 0, 14  # include/uapi/linux/in.h
ETH_P_IP = 0x0800
HEADERS = 28  # of IPv4 and UDP


def discovering(home: Home, name: str, port: int, to: tuple[str, int]) -> socket.socket:
    """A connected socket whose packets are never fragmented."""
    opened = home.udp(name, port)
    opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    opened.connect(to)
    return opened


# -- too large -------------------------------------------------------------------------------------------------------


@requirement("RFC 4787 REQ-13")
def test_a_packet_too_large_for_the_uplink_that_must_not_be_cut_is_told_of(home: Home) -> None:
    wait, port = home.errors("b"), home.port()
    opened = discovering(home, "b", port, (home.address("peer"), DNS))
    opened.send(b"x" * (WIDE - HEADERS))
    error = wait(1)
    assert error is not None
    assert (error.kind, error.code, error.mtu) == (UNREACHABLE, TOO_BIG, LAST_MILE)
    assert error.about_source == (home.address("b"), port)
    assert opened.getsockopt(socket.IPPROTO_IP, IP_MTU) == LAST_MILE


@requirement("RFC 4787 REQ-13a")
def test_a_packet_too_large_for_the_uplink_that_may_be_cut_is_and_its_parts_leave_in_order(home: Home) -> None:
    port, receiver = home.port(), home.udp("peer", DNS)
    sender = home.udp("b", port)
    sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    with home.node("peer").socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as watching:
        watching.settimeout(2)
        text = bytes(range(256)) * 5 + b"x" * (WIDE - HEADERS - 1280)
        sender.sendto(text, (home.address("peer"), DNS))
        assert expect(receiver, text)[0] in home.externals
        offsets: list[tuple[bool, int]] = []
        while not offsets or offsets[-1][0]:
            packet = watching.recv(65536)
            if packet[9] == socket.IPPROTO_UDP:
                word = struct.unpack("!H", packet[6:8])[0]
                offsets.append((bool(word & 0x2000), (word & 0x1FFF) * 8))
    assert len(offsets) > 1
    assert [offset for _, offset in offsets] == sorted(offset for _, offset in offsets)


@requirement("RFC 4787 REQ-13", "RFC 4787 REQ-12b")
def test_a_narrow_cable_far_outside_is_told_to_the_inside_host(home: Home) -> None:
    """A router on the way says it to the NAT, and the NAT to the host whose packet it was."""
    wait, port = home.errors("b"), home.port()
    opened = discovering(home, "b", port, (home.address("distant"), DNS))
    receiver = home.udp("distant", DNS)
    opened.send(b"x" * (LAST_MILE - HEADERS))
    error = wait(1)
    assert error is not None
    assert (error.kind, error.code, error.mtu) == (UNREACHABLE, TOO_BIG, FAR)
    assert error.about_source == (home.address("b"), port)
    assert opened.getsockopt(socket.IPPROTO_IP, IP_MTU) == FAR
    assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE
    with pytest.raises(OSError, match="Message too long"):
        opened.send(b"x" * (FAR - HEADERS + 1))
    opened.send(b"x" * (FAR - HEADERS))
    expect(receiver, b"x" * (FAR - HEADERS))


@requirement("RFC 4787 REQ-13", "RFC 5508 REQ-5")
def test_a_narrow_cable_inside_is_told_to_the_peer_outside(home: Home) -> None:
    port, wait = home.port(), home.errors("peer")
    external = home.send_out("a", port)
    opened = discovering(home, "peer", DNS, external)
    opened.send(b"x" * (LAST_MILE - HEADERS))
    error = wait(1)
    assert error is not None
    assert (error.kind, error.code, error.mtu) == (UNREACHABLE, TOO_BIG, NARROW)
    assert error.source in home.externals
    assert error.about_destination == external
    assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE
    opened.send(b"x" * (NARROW - HEADERS))
    expect(home.udp("a", port), b"x" * (NARROW - HEADERS))


@requirement("RFC 4787 REQ-13", "RFC 5382 REQ-9")
@pytest.mark.parametrize("upward", [True, False], ids=["upward", "downward"])
@pytest.mark.parametrize(("inside", "outside"), [("b", "distant"), ("a", "peer")])
def test_tcp_finds_the_path_mtu_through_the_nat(home: Home, inside: str, outside: str, upward: bool) -> None:
    client, server, _ = home.connect(inside, home.port(), outside)
    sender, receiver = (client, server) if upward else (server, client)
    text = bytes(range(256)) * 400

    def send() -> None:
        sender.sendall(text)
        sender.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    assert b"".join(parts(receiver)) == text
    thread.join()


def parts(receiver: socket.socket) -> Iterator[bytes]:
    while part := receiver.recv(65536):
        yield part


# -- fragments -------------------------------------------------------------------------------------------------------

PAYLOAD = bytes(range(256)) * 12
ORDERS = {"in-order": [0, 1, 2, 3], "reversed": [3, 2, 1, 0], "shuffled": [2, 0, 3, 1], "doubled": [1, 1, 0, 3, 2]}


@requirement("RFC 4787 REQ-14")
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_fragments_in_any_order_from_inside_arrive_as_one_packet_from_the_mapping(home: Home, order: list[int]) -> None:
    port = home.port()
    external = home.send_out("b", port)
    inside, server = (home.address("b"), port), (home.address("peer"), DNS)
    pieces = fragments(inside, server, PAYLOAD, 800, identification=port)
    for place in order:
        home.inject("b", pieces[place])
    assert expect(home.udp("peer", DNS), PAYLOAD) == external


@requirement("RFC 4787 REQ-14")
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_fragments_in_any_order_from_outside_arrive_as_one_packet_at_the_host(home: Home, order: list[int]) -> None:
    port = home.port()
    external = home.send_out("b", port)
    server = home.address("peer"), DNS
    pieces = fragments(server, external, PAYLOAD, 800, identification=port)
    for place in order:
        home.inject("peer", pieces[place])
    assert expect(home.udp("b", port), PAYLOAD) == server


@requirement("RFC 4787 REQ-14")
def test_fragments_of_a_packet_that_nobody_asked_for_are_dropped(home: Home) -> None:
    external = home.send_out("b", home.port())
    wait = home.errors("stranger")
    for piece in fragments((home.address("stranger"), 9), (external[0], 9), PAYLOAD, 800, identification=7):
        home.inject("stranger", piece)
    error = wait(0.15)
    assert (error is not None) == (home.nat.name == "answering")
