"""What IPv6 hosts behind a router are seen as, and who reaches them: by sockets on both sides, and frames between."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import shapes
from tests.support.labs import eventually
from wanlab import Lab, Topology

UDP = socket.SOCK_DGRAM
TCP = socket.SOCK_STREAM
QUIET = 0.3  # seconds after which what has not arrived will not


def dual(ipv6: str, firewall: bool | str = True, *, mtu: int = 1500) -> Topology:
    """A home with two hosts, and a server, on a WAN of that MTU."""
    t = Topology("dual")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"], mtu=mtu)
    t.host("server", wan, address="2001:470:1::100")
    home = t.router("home", wan, lan=["192.168.1.0/24", "fd00:1::/64"], ipv6=ipv6, firewall=firewall)
    t.host("laptop", home, address="fd00:1::abcd")
    t.host("phone", home, address="fd00:1::beef")
    return t


@contextmanager
def bound(lab: Lab, node: str, port: int, kind: int = UDP) -> Iterator[socket.socket]:
    with lab[node].socket(socket.AF_INET6, kind) as opened:
        opened.settimeout(3)
        opened.bind(("::", port))
        yield opened


def silent(opened: socket.socket) -> bool:
    """Whether nothing arrives."""
    opened.settimeout(QUIET)
    try:
        opened.recvfrom(100)
    except TimeoutError:
        return True
    finally:
        opened.settimeout(3)
    return False


@pytest.mark.parametrize(
    ("ipv6", "seen"),
    [
        ("route", "fd00:1::abcd"),
        ("prefix-translation", "2a00:5:1::abcd"),
        ("masquerade", "2001:470:1::1"),
    ],
)
@pytest.mark.parametrize("kind", [UDP, TCP])
def test_a_server_sees_the_address_that_the_router_makes_of_the_host_s(ipv6: str, seen: str, kind: int) -> None:
    with Lab(dual(ipv6)) as lab, bound(lab, "server", 4000, kind) as server, bound(lab, "laptop", 5000, kind) as laptop:
        if kind == UDP:
            laptop.sendto(b"hello", ("2001:470:1::100", 4000))
            _, peer = server.recvfrom(100)
            server.sendto(b"back", peer)
            assert laptop.recvfrom(100)[1][:2] == ("2001:470:1::100", 4000)
        else:
            server.listen()
            laptop.connect(("2001:470:1::100", 4000))
            connection, peer = server.accept()
            connection.sendall(b"back")
            assert laptop.recv(4) == b"back"
            connection.close()
        assert peer[:2] == (seen, 5000)


def test_the_frame_on_the_wan_bears_the_external_prefix() -> None:
    """By the wire itself, since the kernel that translates also tells sockets whom they talk to."""
    with (
        Lab(dual("prefix-translation")) as lab,
        lab["server"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as tap,
        bound(lab, "server", 4000) as server,
        bound(lab, "laptop", 5000) as laptop,
    ):
        tap.bind(("eth0", 0x86DD))
        tap.settimeout(3)
        laptop.sendto(b"hello", ("2001:470:1::100", 4000))
        server.recvfrom(100)
        frames = (tap.recv(2000) for _ in range(50))
        frame = next(frame for frame in frames if frame[20] == socket.IPPROTO_UDP)
        assert socket.inet_ntop(socket.AF_INET6, frame[22:38]) == "2a00:5:1::abcd"
        assert struct.unpack("!HH", frame[54:58]) == (5000, 4000)


@pytest.mark.parametrize("kind", [UDP, TCP])
def test_without_a_firewall_the_outside_reaches_a_host_by_the_external_prefix(kind: int) -> None:
    with (
        Lab(dual("prefix-translation", firewall=False)) as lab,
        bound(lab, "server", 4000, kind) as server,
        bound(lab, "laptop", 5000, kind) as laptop,
    ):
        if kind == UDP:
            server.connect(("2a00:5:1::abcd", 5000))
            server.send(b"unasked")
            data, peer = laptop.recvfrom(100)
            laptop.sendto(b"back", peer)
            assert (data, server.recv(100)) == (b"unasked", b"back")  # from the address that was sent to
        else:
            laptop.listen()
            server.connect(("2a00:5:1::abcd", 5000))
            connection, peer = laptop.accept()
            connection.close()
        assert peer[:2] == ("2001:470:1::100", 4000)


@pytest.mark.parametrize("ipv6", ["route", "prefix-translation", "masquerade"])
def test_with_a_firewall_nobody_gets_in_unasked(ipv6: str) -> None:
    with Lab(dual(ipv6)) as lab, bound(lab, "server", 4000) as server, bound(lab, "laptop", 5000) as laptop:
        for address in ("2a00:5:1::abcd", "fd00:1::abcd", "2001:470:1::1"):
            try:
                server.sendto(b"unasked", (address, 5000))
            except OSError:
                assert address != "2001:470:1::1"  # no route
        assert silent(laptop)


def test_hosts_behind_one_prefix_translation_reach_each_other_by_their_outsides() -> None:
    with (
        Lab(dual("prefix-translation")) as lab,
        bound(lab, "laptop", 5000) as laptop,
        bound(lab, "phone", 6000) as phone,
    ):
        laptop.connect(("2a00:5:1::beef", 6000))
        laptop.send(b"hello")
        data, peer = phone.recvfrom(100)
        assert (data, peer[:2]) == (b"hello", ("2a00:5:1::abcd", 5000))  # RFC 6296, section 4.3
        phone.sendto(b"back", peer)
        assert laptop.recv(100) == b"back"


@pytest.mark.parametrize("ipv6", ["route", "prefix-translation", "masquerade"])
def test_a_packet_that_is_too_big_for_the_wan_is_said_so_to_the_host(ipv6: str) -> None:
    with Lab(dual(ipv6, mtu=1280)) as lab, bound(lab, "laptop", 5000) as laptop:
        laptop.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IP_PMTUDISC_DO
        laptop.connect(("2001:470:1::100", 4000))
        laptop.send(bytes(1400))
        eventually(lambda: laptop.getsockopt(socket.IPPROTO_IPV6, 24) == 1280)  # IPV6_MTU, since ICMPv6 told it so
        with pytest.raises(OSError, match="Message too long"):
            laptop.send(bytes(1400))


@pytest.mark.parametrize("ipv6", ["route", "prefix-translation", "masquerade"])
def test_an_error_from_outside_reaches_the_host_that_it_is_about(ipv6: str) -> None:
    """The port is closed: the server says so, quoting the packet as it saw it."""
    with Lab(dual(ipv6)) as lab, bound(lab, "laptop", 5000) as laptop:
        laptop.connect(("2001:470:1::100", 4000))
        laptop.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            laptop.recv(100)


def test_a_narrow_place_beyond_a_prefix_translation_is_found() -> None:
    """Packet Too Big from a router outside, quoting the translated packet."""
    t = Topology("narrow")
    wan = t.switch("wan", "2001:470:1::/64")
    site = t.router("site", wan, lan="fd00:1::/64", ipv6="prefix-translation", nat="none")
    t.host("laptop", site, address="fd00:1::abcd")
    far = t.switch("far", "2001:470:2::/64", mtu=1300)
    core = t.router("core")
    core.connect(wan)
    core.connect(far)
    t.host("server", far, address="2001:470:2::100")
    with Lab(t) as lab, bound(lab, "server", 4000, TCP) as server, bound(lab, "laptop", 5000, TCP) as laptop:
        server.listen()
        laptop.connect(("2001:470:2::100", 4000))
        connection, peer = server.accept()
        assert peer[0] == "2a00:5:1::abcd"
        laptop.sendall(bytes(100_000))
        received = 0
        connection.settimeout(5)
        while received < 100_000:
            received += len(connection.recv(65536))
        connection.close()
        assert lab.verify().ok


def test_nothing_waits_for_duplicate_address_detection() -> None:
    """A router asks for its neighbours by its link-local address: until it has one, what it forwards waits."""
    with Lab(dual("route")) as lab:
        for node in ("server", "home", "laptop"):
            listed = lab[node].run(["ip", "-6", "address"], capture_output=True, text=True, check=True).stdout
            assert "fe80::" in listed
            assert "tentative" not in listed


# -- tampering -------------------------------------------------------------------------------------------------------

TAMPERED = {
    "translation flushed": ("home", "nft flush chain inet wanlab wl_postrouting6", "nat", "laptop"),
    "not let in by the prefix": ("office", "nft flush chain inet wanlab wl_prerouting6", "reach", "desk by"),
    "let in": ("home", "nft chain inet wanlab wl_forward '{ policy accept; }'", "reach", "laptop by"),
    "the route to the prefix gone": ("server", "ip -6 route del 2001:470:3::/60", "reach", "desk by"),
    "host bits changed": (
        "office",
        "nft flush chain inet wanlab wl_postrouting6;"
        " nft add rule inet wanlab wl_postrouting6 oifname wan snat ip6 to 2001:470:3::77",
        "nat",
        "desk",
    ),
}


@pytest.mark.parametrize(("node", "command", "group", "culprit"), TAMPERED.values(), ids=TAMPERED.keys())
def test_tampering_turns_the_right_line_red(node: str, command: str, group: str, culprit: str) -> None:
    with Lab(shapes.prefix_translation()) as lab:
        lab[node].run(["sh", "-ec", command], check=True)
        report = lab.verify()
    red = [check for check in report.failed if check.group == group]
    assert any(culprit in check.subject for check in red), [str(check) for check in report.failed]


@pytest.mark.parametrize("nat", ["full", "home", "symmetric", "carrier"])
def test_a_nat_that_has_nobody_inside_to_translate_is_no_hindrance(nat: str) -> None:
    t = Topology("only-six-inside")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"])
    t.host("server", wan)
    given = {"preset": nat, "inbound_refresh": True}
    t.host("laptop", t.router("home", wan, lan="fd00:1::/64", nat=given, ipv6="masquerade"))
    with Lab(t) as lab:
        assert lab.verify().ok
