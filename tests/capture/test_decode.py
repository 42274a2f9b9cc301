"""The lines that frames become, and the payloads that are known."""

from __future__ import annotations

import struct

from tests.capture.test_packet_filter import ethernet, ipv4, ipv6, tcp, udp
from wanlab.capture.decode import describe

A, B = "10.1.0.1", "172.16.0.100"


def with_payload(payload: bytes, port: int = 3478) -> bytes:
    return ipv4(17, udp(5000, port, len(payload))[:8] + payload, A, B)


def test_lines_say_protocols_ends_and_what_matters() -> None:
    assert describe(ipv4(17, udp(5000, 9000, 12), A, B)) == "IP 10.1.0.1:5000 > 172.16.0.100:9000: UDP, length 12"
    assert describe(ipv6(6, tcp(5000, 80), "2001:db8::1", "2001:db8::2")) == (
        "IP6 [2001:db8::1]:5000 > [2001:db8::2]:80: TCP [S], seq 1, win 1000, length 0"
    )
    echo = struct.pack("!BBHHH", 8, 0, 0, 7, 3) + bytes(56)
    assert describe(ipv4(1, echo, A, B)) == "IP 10.1.0.1 > 172.16.0.100: ICMP echo request, id 7, seq 3, length 64"
    assert describe(ipv4(17, udp(1, 2, 9), A, B, fragment=100)) == (
        "IP 10.1.0.1 > 172.16.0.100: fragment at 800, length 17"
    )


def test_an_icmp_error_says_what_it_is_about() -> None:
    quote = ipv4(17, udp(5000, 9000, 12), A, B)[14:42]
    error = struct.pack("!BBHI", 3, 3, 0, 0) + quote
    assert describe(ipv4(1, error, B, A)) == (
        "IP 172.16.0.100 > 10.1.0.1: ICMP port unreachable for udp 10.1.0.1:5000 > 172.16.0.100:9000"
    )


def test_arp_asks_and_answers() -> None:
    addresses = bytes([2, 0, 0, 0, 0, 1, 10, 1, 0, 1]) + bytes([0, 0, 0, 0, 0, 0, 10, 1, 0, 254])
    assert describe(ethernet(0x0806, bytes([0, 1, 8, 0, 6, 4, 0, 1]) + addresses)) == (
        "ARP who-has 10.1.0.254 tell 10.1.0.1"
    )
    assert describe(ethernet(0x0806, bytes([0, 1, 8, 0, 6, 4, 0, 2]) + addresses)) == (
        "ARP 10.1.0.1 is-at 02:00:00:00:00:01"
    )


def test_stun_says_the_address_that_was_seen() -> None:
    transaction = bytes(range(12))
    head = struct.pack("!HHI", 0x0101, 12, 0x2112A442) + transaction
    port, address = 5000 ^ 0x2112, bytes(a ^ b for a, b in zip(bytes([172, 16, 0, 1]), head[4:8], strict=True))
    mapped = struct.pack("!HHBBH", 0x0020, 8, 0, 1, port) + address
    assert describe(with_payload(head + mapped)).endswith(
        "UDP, length 32 STUN binding response, mapped 172.16.0.1:5000"
    )
    request = struct.pack("!HHI", 0x0001, 0, 0x2112A442) + transaction
    assert describe(with_payload(request)).endswith(" STUN binding request")


def test_dns_says_what_is_asked() -> None:
    query = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x07example\x03org\0" + struct.pack("!HH", 28, 1)
    assert describe(with_payload(query, 53)).endswith(" DNS query AAAA example.org")
    assert describe(with_payload(query[:20], 53)).endswith("UDP, length 20")


def test_no_frame_is_too_short_for_a_line() -> None:
    frames = [ipv4(17, udp(5000, 53, 40), A, B), ipv6(58, bytes(40), "fe80::1", "fe80::2"), ipv4(6, tcp(1, 2), A, B)]
    for frame in frames:
        for size in range(len(frame)):
            assert describe(frame[:size], len(frame))
