"""The ICMP core against packets that others have made, and against whatever bytes there may be."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from wanlab.measure.icmp import Echo, Problem, Reply, build_request, checksum, describe, parse

# 10.0.0.1 > 10.0.0.2, ICMP, TTL 63, with no options
HEADER = bytes.fromhex("45000054 00004000 3f010000 0a000001 0a000002".replace(" ", ""))


def test_the_checksum_is_that_of_rfc_1071s_example() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=200))
def test_a_request_with_its_checksum_sums_to_nothing(identifier: int, sequence: int, payload: bytes) -> None:
    message = build_request(4, Echo(identifier, sequence, payload))
    assert checksum(message) == 0
    assert message[:2] == b"\x08\x00"


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=200))
def test_what_is_echoed_is_what_was_sent(identifier: int, sequence: int, payload: bytes) -> None:
    echo = Echo(identifier, sequence, payload)
    reply = b"\x00" + build_request(4, echo)[1:]
    assert parse(4, HEADER + reply) == Reply(echo, 63, 8 + len(payload))
    reply = b"\x81" + build_request(6, echo)[1:]
    assert parse(6, reply, 64) == Reply(echo, 64, 8 + len(payload))


def test_a_header_with_options_is_skipped() -> None:
    reply = b"\x00" + build_request(4, Echo(7, 1, b"x"))[1:]
    assert parse(4, b"\x46" + HEADER[1:] + b"\x01\x01\x01\x00" + reply) == Reply(Echo(7, 1, b"x"), 63, 9)


def test_a_request_is_no_answer() -> None:
    assert parse(4, HEADER + build_request(4, Echo(7, 1))) is None
    assert parse(6, build_request(6, Echo(7, 1))) is None


def test_an_error_tells_which_request_it_is_about() -> None:
    quoted = HEADER + build_request(4, Echo(7, 3))
    assert parse(4, HEADER + bytes([3, 1, 0, 0, 0, 0, 0, 0]) + quoted) == Problem(
        7, 3, IPv4Address("10.0.0.2"), 3, 1, "Destination Host Unreachable"
    )
    six = bytes.fromhex("6000000000083a40") + IPv6Address("fd00::1").packed + IPv6Address("fd00::2").packed
    assert parse(6, bytes([2, 0, 0, 0, 0, 0, 5, 0]) + six + build_request(6, Echo(7, 3))) == Problem(
        7, 3, IPv6Address("fd00::2"), 2, 0, "Packet too big: mtu=1280"
    )


def test_an_error_about_something_else_is_none_of_ours() -> None:
    udp = HEADER[:9] + b"\x11" + HEADER[10:] + bytes(8)
    assert parse(4, HEADER + bytes([3, 3, 0, 0, 0, 0, 0, 0]) + udp) is None
    reply = b"\x00" + build_request(4, Echo(7, 1))[1:]
    assert parse(4, HEADER + bytes([3, 3, 0, 0, 0, 0, 0, 0]) + HEADER + reply) is None


def test_the_words_are_pings() -> None:
    assert describe(4, 3, 13, 0) == "Packet filtered"
    assert describe(4, 3, 4, 1400) == "Frag needed and DF set (mtu = 1400)"
    assert describe(4, 11, 0, 0) == "Time to live exceeded"
    assert describe(6, 1, 0, 0) == "Destination unreachable: No route"
    assert describe(4, 8, 0, 0) is None


@given(st.binary(max_size=120), st.sampled_from([4, 6]))
def test_no_bytes_are_too_strange(packet: bytes, version: int) -> None:
    parse(version, packet, 64)


@given(st.binary(max_size=60), st.sampled_from([3, 4, 11, 12]), st.integers(0, 255))
def test_no_quoted_bytes_are_too_strange(quoted: bytes, kind: int, code: int) -> None:
    parse(4, HEADER + bytes([kind, code, 0, 0, 0, 0, 0, 0]) + quoted)
    parse(6, bytes([kind % 5, code, 0, 0, 0, 0, 0, 0]) + quoted)
