"""The firewall that IPv6 is routed behind (RFC 6092): stateful, and silent to whoever was not asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address

import pytest

from tests.compliance.packets import checksum
from tests.compliance.requirement import requirement
from tests.compliance.street import arrives, first, receive
from tests.support.labs import eventually
from wanlab import Lab, Topology

DESTINATION_UNREACHABLE, TOO_BIG, TIME_EXCEEDED = 1, 2, 3
ECHO, ECHO_REPLY, ESP, NO_SUCH_PROTOCOL = 128, 129, 50, 253
NARROW = 1280


def homes() -> Topology:
    """A home behind the firewall, and one whose router lets everything through."""
    t = Topology("homes")
    wan = t.switch("wan", ["5.0.0.0/24", "2001:470:1::/64"])
    t.router("isp").connect(wan)
    t.host("peer", wan)
    t.host("stranger", wan)
    home = t.router("home", wan, lan=["192.168.1.0/24", "2001:470:2::/64"])
    t.host("inside", home)
    narrow = t.switch("narrow", ["192.168.2.0/24", "2001:470:3::/64"], mtu=NARROW)
    home.connect(narrow)
    t.host("cramped", narrow)
    t.host("open", t.router("transparent", wan, lan=["192.168.3.0/24", "2001:470:4::/64"], firewall=False))
    return t


class Firewall:
    """The lab, and its sockets."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab, self.stack = lab, stack

    def address(self, name: str) -> str:
        interfaces = self.lab[name].interfaces
        return str(next(a.ip for i in interfaces for a in i.addresses if a.version == 6))

    def udp(self, name: str, port: int) -> socket.socket:
        return self.open(name, socket.SOCK_DGRAM, port=port)

    def open(self, name: str, kind: int, protocol: int = 0, *, port: int = 0) -> socket.socket:
        made = self.stack.enter_context(self.lab[name].socket(socket.AF_INET6, kind, protocol))
        made.settimeout(2)
        if kind != socket.SOCK_RAW:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("::", port))
        return made

    def errors(self, name: str) -> Callable[[], tuple[int, int, bytes] | None]:
        """Listen for ICMPv6 errors: type, code, and the packet that they quote."""
        listening = self.open(name, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)

        def error() -> tuple[int, int, bytes] | None:
            message, _ = receive(listening)
            return (message[0], message[1], message[8:]) if message[0] < ECHO else None

        return lambda: first(error, 0.3, listening)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(homes()) as lab:
        # A router forwards once its link-local addresses are its own, of which the kernel makes sure for a second.
        ping = [
            "ping",
            "-6",
            "-c1",
            "-W1",
            str(next(a.ip for a in lab["peer"].interfaces[0].addresses if a.version == 6)),
        ]
        for name in ("inside", "cramped", "open"):
            eventually(lambda name=name: lab[name].run(ping, capture_output=True).returncode == 0)  # type: ignore[misc]
        yield lab


@pytest.fixture
def firewall(lab: Lab) -> Iterator[Firewall]:
    with ExitStack() as stack:
        yield Firewall(lab, stack)


def udp_packet(source: tuple[str, int], destination: tuple[str, int], payload: bytes = b"out") -> bytes:
    """A UDP packet over IPv6."""
    length = 8 + len(payload)
    ends = IPv6Address(source[0]).packed + IPv6Address(destination[0]).packed
    head = struct.pack("!HHHH", source[1], destination[1], length, 0)
    value = checksum(ends + struct.pack("!II", length, socket.IPPROTO_UDP) + head + payload)
    return (
        struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64)
        + ends
        + head[:6]
        + struct.pack("!H", value)
        + payload
    )


@requirement("RFC 6092 REC-11", "RFC 6092 REC-17")
def test_udp_comes_back_from_the_very_endpoint_that_was_asked_and_from_no_other(firewall: Firewall) -> None:
    inside, peer = firewall.udp("inside", 5000), firewall.udp("peer", 53)
    inside.sendto(b"out", (firewall.address("peer"), 53))
    assert receive(peer)[1][0] == firewall.address("inside"), "no translation"
    inside_at = firewall.address("inside"), 5000
    peer.sendto(b"in", inside_at)
    assert arrives(inside, b"in")
    for name, port in (("peer", 54), ("stranger", 53)):
        firewall.udp(name, port).sendto(b"unasked", inside_at)
    assert not arrives(inside, b"unasked")


@requirement("RFC 6092 REC-31", "RFC 6092 REC-33")
def test_tcp_goes_out_and_nobody_connects_in(firewall: Firewall) -> None:
    servers = {name: firewall.open(name, socket.SOCK_STREAM, port=80) for name in ("peer", "inside")}
    for server in servers.values():
        server.listen()
    client = firewall.open("inside", socket.SOCK_STREAM)
    client.connect((firewall.address("peer"), 80))
    connection, _ = servers["peer"].accept()
    connection.sendall(b"in")
    assert client.recv(10) == b"in"
    connection.close()
    caller = firewall.open("peer", socket.SOCK_STREAM)
    caller.settimeout(0.3)
    with pytest.raises(TimeoutError):
        caller.connect((firewall.address("inside"), 80))


@requirement("RFC 6092 REC-31")
def test_two_that_connect_to_each_other_at_once_meet(firewall: Firewall) -> None:
    """From outside first, whose SYN is dropped and sent again."""
    ends = [firewall.open(name, socket.SOCK_STREAM, port=7000) for name in ("peer", "inside")]
    for end, other in zip(ends, ("inside", "peer"), strict=True):
        end.setblocking(False)
        end.connect_ex((firewall.address(other), 7000))
    for end, text in zip(ends, (b"in", b"out"), strict=True):
        end.settimeout(5)
        _until_connected(end)
        end.sendall(text)
    assert [end.recv(10) for end in ends] == [b"out", b"in"]


def _until_connected(opened: socket.socket) -> None:
    import select

    assert select.select([], [opened], [], 5)[1]
    assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@requirement("RFC 6092 REC-34")
def test_an_unsolicited_syn_is_met_with_silence(firewall: Firewall) -> None:
    caller = firewall.open("peer", socket.SOCK_STREAM)
    caller.settimeout(6.5)
    with pytest.raises(TimeoutError):
        caller.connect((firewall.address("inside"), 81))


@requirement("RFC 6092 REC-18", "RFC 6092 REC-19", "RFC 6092 REC-36", "RFC 6092 REC-37")
@pytest.mark.parametrize("kind", [DESTINATION_UNREACHABLE, TOO_BIG, TIME_EXCEEDED])
def test_an_error_about_a_flow_reaches_its_host_and_does_not_end_it(firewall: Firewall, kind: int) -> None:
    port = 5100 + kind
    inside, peer = firewall.udp("inside", port), firewall.udp("peer", 53)
    inside.sendto(b"out", (firewall.address("peer"), 53))
    receive(peer)
    wait = firewall.errors("inside")
    _send_error(firewall, kind, (firewall.address("inside"), port))
    error = wait()
    assert error is not None
    assert error[0] == kind
    peer.sendto(b"in", (firewall.address("inside"), port))
    assert arrives(inside, b"in")


@requirement("RFC 6092 REC-10")
@pytest.mark.parametrize("kind", [DESTINATION_UNREACHABLE, TOO_BIG])
def test_an_error_about_no_flow_is_dropped(firewall: Firewall, kind: int) -> None:
    wait = firewall.errors("inside")
    _send_error(firewall, kind, (firewall.address("inside"), 5999))
    assert wait() is None


def _send_error(firewall: Firewall, kind: int, about: tuple[str, int]) -> None:
    """From the stranger, as a router on the way would; the kernel fills in the checksum."""
    quoted = udp_packet(about, (firewall.address("peer"), 53))
    rest = struct.pack("!I", 1500 if kind == TOO_BIG else 0)
    with firewall.lab["stranger"].socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.sendto(struct.pack("!BBH", kind, 0, 0) + rest + quoted, (about[0], 0))


@requirement("RFC 6092 REC-18")
def test_a_narrow_cable_inside_is_told_to_the_peer_outside(firewall: Firewall) -> None:
    inside, peer = firewall.udp("cramped", 5000), firewall.udp("peer", 53)
    inside.sendto(b"out", (firewall.address("peer"), 53))
    receive(peer)
    wait = firewall.errors("peer")
    peer.setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG
    peer.sendto(b"x" * 1400, (firewall.address("cramped"), 5000))
    error = wait()
    assert error is not None
    assert error[0] == TOO_BIG


@requirement("RFC 6092 REC-11", "RFC 6092 REC-22", "RFC 6092 REC-25")
@pytest.mark.parametrize("protocol", [ESP, NO_SUCH_PROTOCOL], ids=["esp", "unknown"])
def test_other_protocols_go_out_and_come_back_from_whom_was_sent_to(firewall: Firewall, protocol: int) -> None:
    inside, peer, stranger = (firewall.open(name, socket.SOCK_RAW, protocol) for name in ("inside", "peer", "stranger"))
    here, there = firewall.address("inside"), firewall.address("peer")
    stranger.sendto(b"unasked!", (here, 0))
    assert not arrives(inside, b"unasked!", 0.15)
    inside.sendto(b"outwards", (there, 0))
    assert arrives(peer, b"outwards")
    peer.sendto(b"and back", (here, 0))
    assert arrives(inside, b"and back")
    stranger.sendto(b"unasked!", (here, 0))
    assert not arrives(inside, b"unasked!", 0.15)


@requirement("RFC 6092 REC-24")
def test_key_exchange_is_not_prohibited(firewall: Firewall) -> None:
    inside, peer = firewall.udp("inside", 500), firewall.udp("peer", 500)
    inside.sendto(b"initiate", (firewall.address("peer"), 500))
    assert arrives(peer, b"initiate")
    peer.sendto(b"respond", (firewall.address("inside"), 500))
    assert arrives(inside, b"respond")


@requirement("RFC 6092 REC-8", "RFC 6092 REC-9", "RFC 6092 REC-50")
@pytest.mark.parametrize("port", [53, 547, 22, 80, 161])
def test_the_router_itself_serves_nobody_outside(firewall: Firewall, port: int) -> None:
    """Not even a server of its own, which listens."""
    wan = next(a.ip for a in firewall.lab["home"].wan.addresses if a.version == 6)
    listening = firewall.udp("home", port)
    firewall.udp("peer", 6000).sendto(b"query", (str(wan), port))
    assert not arrives(listening, b"query", 0.15)
    firewall.udp("inside", 6000).sendto(b"from inside", (str(wan), port))
    assert arrives(listening, b"from inside")


@requirement("RFC 6092 REC-49")
def test_a_router_without_firewall_is_transparent(firewall: Firewall) -> None:
    receiver = firewall.udp("open", 5000)
    firewall.udp("stranger", 53).sendto(b"unasked", (firewall.address("open"), 5000))
    assert arrives(receiver, b"unasked")


@requirement("RFC 6092 REC-1")
def test_a_packet_from_a_multicast_address_is_not_forwarded(firewall: Firewall) -> None:
    assert not _spoofed_arrives(firewall, "ff02::1", b"multicast")


@requirement("RFC 6092 REC-5")
def test_a_packet_with_a_source_of_somewhere_else_is_forwarded(firewall: Firewall) -> None:
    """What REC-5 forbids: the firewall looks at who asked, and not at which addresses are whose."""
    assert _spoofed_arrives(firewall, "2001:470:99::1", b"spoofed")


def _spoofed_arrives(firewall: Firewall, source: str, text: bytes) -> bool:
    receiver = firewall.udp("peer", 53)
    packet = udp_packet((source, 9999), (firewall.address("peer"), 53), text)
    with firewall.lab["inside"].socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        sender.sendto(packet, (firewall.address("peer"), 0))
    return arrives(receiver, text)
