"""Limits and blocks of a carrier's NAT, one for each subscriber (RFC 6888)."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from operator import attrgetter

import pytest

from tests.compliance.packets import HOST, UNREACHABLE
from tests.compliance.requirement import requirement
from tests.compliance.street import DNS, PRESETS, WEB, Home, expect, street
from wanlab import Lab
from wanlab.topology.nat import LINUX, NATS, Filtering, Hairpin, Mapping, Nat, Ports

MOST = 4
CARRIER = NATS["carrier"] or Nat()
LIMITED = [
    replace(CARRIER, name="carrier", limit=MOST),
    replace(LINUX, name="linux", limit=MOST),
    Nat("symmetric", Mapping.ADDRESS_AND_PORT_DEPENDENT, ports=Ports.RANDOM, hairpin=Hairpin.OFF, limit=MOST),
    Nat("by-address", Mapping.ADDRESS_DEPENDENT, ports=Ports.RANDOM, hairpin=Hairpin.OFF, limit=MOST),
]


@pytest.fixture(params=LIMITED, ids=attrgetter("name"))
def limited(request: pytest.FixtureRequest) -> Iterator[Home]:
    """A home of its own, that has given out nothing yet."""
    nat: Nat = request.param
    with Lab(street([nat])) as lab, ExitStack() as stack:
        yield Home(lab, 0, nat, stack)


def passes(home: Home, name: str, port: int, to: str = "peer", to_port: int = DNS) -> bool:
    receiver = home.udp(to, to_port)
    home.udp(name, port).sendto(b"x", (home.address(to), to_port))
    receiver.settimeout(0.15)
    try:
        receiver.recvfrom(10)
    except TimeoutError:
        return False
    return True


@requirement("RFC 6888 REQ-4", "RFC 6888 REQ-5", "RFC 6888 REQ-11", "RFC 5508 REQ-8")
def test_a_subscriber_has_so_many_mappings_and_the_next_is_refused_with_the_reason(limited: Home) -> None:
    assert [passes(limited, "b", 5000 + number) for number in range(MOST)] == [True] * MOST
    wait = limited.errors("b")
    assert not passes(limited, "b", 5000 + MOST)
    error = wait(1)
    assert error is not None
    assert (error.kind, error.code) == (UNREACHABLE, HOST)
    with limited.open("b", socket.SOCK_STREAM) as client, pytest.raises(OSError) as refused:
        client.connect((limited.address("peer"), WEB))
    assert refused.value.errno == errno.EHOSTUNREACH


@requirement("RFC 6888 REQ-4", "RFC 6888 REQ-11")
def test_what_stands_goes_on_and_other_subscribers_are_not_concerned(limited: Home) -> None:
    for number in range(MOST + 3):
        passes(limited, "b", 5000 + number)
    assert [passes(limited, "b", 5000 + number) for number in range(MOST)] == [True] * MOST
    assert [passes(limited, "c", 5000 + number) for number in range(MOST)] == [True] * MOST


@requirement("RFC 6888 REQ-4")
def test_mappings_are_counted_and_not_flows(limited: Home) -> None:
    """Each destination is a flow; whether it is a mapping depends on the NAT."""
    destinations = [(to, port) for to in ("peer", "stranger") for port in (DNS, DNS + 1, DNS + 2)]
    passed = [passes(limited, "b", 5000, *destination) for destination in destinations]
    mappings = {
        Mapping.ENDPOINT_INDEPENDENT: [True] * 6,
        Mapping.ADDRESS_DEPENDENT: [True] * 6,
        Mapping.ADDRESS_AND_PORT_DEPENDENT: [True] * MOST + [False] * (6 - MOST),
    }
    assert passed == mappings[limited.nat.mapping]


@requirement("RFC 6888 REQ-4")
def test_a_mapping_that_has_died_is_not_counted_any_more() -> None:
    nat = replace(CARRIER, name="short", limit=2, udp_timeout_s=1)
    with Lab(street([nat])) as lab, ExitStack() as stack:
        home = Home(lab, 0, nat, stack)
        assert [passes(home, "b", port) for port in (5000, 5001, 5002)] == [True, True, False]
        time.sleep(2.5)  # the timer, and a round of the kernel's cleaning
        assert passes(home, "b", 5003)


@requirement("RFC 6888 REQ-13", "RFC 6888 REQ-14", "RFC 6888 REQ-15")
def test_each_subscriber_has_a_block_whose_ports_are_all_given_out_in_no_order() -> None:
    nat = replace(CARRIER, name="small", block=8, limit=None, addresses=1, filtering=Filtering.ENDPOINT_INDEPENDENT)
    with Lab(street([nat])) as lab, ExitStack() as stack:
        home = Home(lab, 0, nat, stack)
        ports: dict[str, list[int]] = {"b": [], "c": []}
        for number in range(40):
            for name, mine in ports.items():
                receiver = home.udp("peer", DNS)
                home.udp(name, 5000 + number).sendto(b"x", (home.address("peer"), DNS))
                receiver.settimeout(0.02)
                try:
                    mine.append(expect(receiver, b"x")[1])
                except TimeoutError:
                    continue
        for mine in ports.values():
            first = (min(mine) - nat.first_port) // 8 * 8 + nat.first_port
            assert set(mine) == set(range(first, first + 8)), "a whole block: all of it, and nothing else"
            assert mine != sorted(mine)
        assert not set(ports["b"]) & set(ports["c"])


def test_the_presets_carrier_has_a_limit_below_its_block() -> None:
    assert CARRIER in PRESETS
    assert CARRIER.limit is not None
    assert CARRIER.block is not None
    assert CARRIER.limit <= CARRIER.block
