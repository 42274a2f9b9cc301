"""A mapping's timers start anew with every packet that leaves, though not every packet writes them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.compliance.requirement import requirement
from wanlab import Lab, Topology, TopologyError
from wanlab.topology.nat import LINUX, NATS, Filtering, Hairpin, Mapping, Nat, Ports

PORT = 7000
LATE_S = 1.1  # how much longer than it has to a mapping may live
SHORT = 30  # the shortest timer that may be late
LEARNED = [nat for nat in NATS.values() if nat is not None and nat.learns and nat.udp_ports is None]
Endpoint = tuple[str, int]


def home(*nats: Nat) -> Topology:
    topology = Topology("timers")
    wan = topology.switch("wan", "5.0.0.0/16")
    topology.host("server", wan)
    topology.host("stranger", wan)
    for number, nat in enumerate(nats):
        topology.host(f"inside{number}", topology.router(f"router{number}", wan, nat=nat))
    return topology


@contextmanager
def udp(lab: Lab, node: str, port: int = 0) -> Iterator[socket.socket]:
    with lab[node].socket(type=socket.SOCK_DGRAM) as made:
        made.bind(("", port))
        made.settimeout(3)
        yield made


def lives(lab: Lab, router: str = "router0") -> dict[str, list[float]]:
    """For how many seconds more the elements of each map and set live that a flow has made."""
    listed = lab[router].run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, body in re.findall(r"^\t(?:map|set) wl_(\w+) \{\n(.*?)^\t\}", listed, re.MULTILINE | re.DOTALL):
        if name != "fresh" and "expires" in body:
            found[name] = [seconds(words) for words in re.findall(r"expires (\w+)", body)]
    return found


def seconds(words: str) -> float:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([a-z]+)", words))


@requirement("RFC 4787 REQ-5", "RFC 4787 REQ-6")
@pytest.mark.parametrize("nat", LEARNED, ids=lambda nat: nat.name)
def test_all_that_is_remembered_of_a_mapping_lives_as_long_behind_the_last_packet_as_declared(nat: Nat) -> None:
    with Lab(home(nat)) as lab, udp(lab, "server", PORT) as server, udp(lab, "inside0") as inside:
        inside.connect((str(lab["server"].address), PORT))
        before = time.monotonic()
        stop = before + 3
        while before < stop:
            for _ in range(20):
                before = time.monotonic()
                inside.send(b"here")
                server.recv(64)
            remaining = lives(lab)
            since = time.monotonic() - before
            assert {name.split("_")[0] for name in remaining} <= {"udp", "held0"}
            for name, found in remaining.items():
                (left,) = found
                assert nat.udp_timeout_s - since <= left <= nat.udp_timeout_s + LATE_S, name


TIMERS = ("udp_timeout_s", "tcp_established_s", "tcp_transitory_s", "icmp_timeout_s")
LONGEST_S = 2_147_483


def _all_timers(seconds: int) -> dict[str, Any]:
    return dict.fromkeys(TIMERS, seconds)


def test_timers_may_be_as_long_as_the_kernel_has_them() -> None:
    """Those of an hour, of days (that of Linux for TCP is five), and the longest that is taken."""
    shapes: list[dict[str, Any]] = [{}, {"limit": 5}, {"mapping": Mapping.ADDRESS_DEPENDENT, "ports": Ports.RANDOM}]
    nats = [
        Nat(inbound_refresh=refresh, hairpin=Hairpin.OFF, **shape, **_all_timers(timer))
        for timer in (3_600, 86_399, 86_400, 99_999, 432_000, LONGEST_S)
        for shape in shapes
        for refresh in (False, True)
    ]
    with Lab(home(*nats, replace(LINUX, name="mine", inbound_refresh=False))) as lab:
        for number, nat in enumerate(nats):
            timeout = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
            rules = (
                lab[f"router{number}"]
                .run(
                    ["sh", "-c", f"nft list map inet wanlab wl_tcp_mapping; cat {timeout}"],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                .stdout
            )
            (declared,) = re.findall(r"^\t\ttimeout (\w+)", rules, re.MULTILINE)
            assert seconds(declared) == nat.tcp_established_s
            assert int(rules.split()[-1]) == nat.tcp_established_s


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_that_no_kernel_holds_is_refused(timer: str) -> None:
    t = Topology("long")
    with pytest.raises(TopologyError, match="a timer above 2147483 seconds"):
        t.router("r", t.switch("wan"), nat={timer: LONGEST_S + 1})


@pytest.mark.parametrize("nat", LEARNED, ids=lambda nat: nat.name)
def test_most_packets_of_a_busy_flow_write_no_timer(nat: Nat) -> None:
    with Lab(home(nat), count_rules=True) as lab, udp(lab, "server", PORT) as server, udp(lab, "inside0") as inside:
        inside.connect((str(lab["server"].address), PORT))
        for _ in range(100):
            inside.send(b"here")
            server.recv(64)
        rules = lab["router0"].run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    skipped = re.findall(r"l4proto udp ct mark @wl_fresh counter packets (\d+) bytes \d+ accept", rules)
    assert int(skipped[-1]) > 50


AGING = [
    replace(nat, name=name, udp_timeout_s=SHORT)
    for name, nat in {
        "open": Nat(filtering=Filtering.ENDPOINT_INDEPENDENT),
        "home": Nat(),
        "symmetric": NATS["symmetric"],
        "random": Nat(ports=Ports.RANDOM, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT),
    }.items()
    if nat is not None
]


@requirement("RFC 4787 REQ-5", "RFC 4787 REQ-6")
def test_a_mapping_dies_on_time_behind_packets_that_wrote_no_timer_whatever_comes_in() -> None:
    with Lab(home(*AGING)) as lab, udp(lab, "server", PORT) as server, ExitStack() as stack:
        insides = [stack.enter_context(udp(lab, f"inside{number}", 6000)) for number in range(len(AGING))]
        to = str(lab["server"].address), PORT
        seen: list[Endpoint] = []
        sent = time.monotonic()
        stop = sent + 2.5
        while time.monotonic() < stop:  # whole seconds and some, so that the last packets fall into one
            seen = []
            for inside in insides:
                sent = time.monotonic()
                inside.sendto(b"here", to)
                seen.append(server.recvfrom(64)[1])
        last = time.monotonic()
        for after in (SHORT / 2, SHORT - 1):  # what comes in starts no timer anew
            time.sleep(max(0.0, sent + after - time.monotonic()))
            arrived = [reached(server, endpoint, inside) for endpoint, inside in zip(seen, insides, strict=True)]
            if time.monotonic() < sent + SHORT:  # else the machine was too busy to tell
                assert arrived == [True] * len(AGING), after
        time.sleep(max(0.0, last + SHORT + LATE_S + 0.2 - time.monotonic()))
        for inside in insides:
            inside.settimeout(0.3)
        assert [reached(server, *ends) for ends in zip(seen, insides, strict=True)] == [False] * len(AGING)


def reached(server: socket.socket, at: Endpoint, inside: socket.socket) -> bool:
    server.sendto(b"there", at)
    try:
        return inside.recv(64) == b"there"
    except TimeoutError:
        return False


@requirement("RFC 5382 REQ-5")
@pytest.mark.parametrize("nat", LEARNED, ids=lambda nat: nat.name)
def test_a_connection_that_closes_gets_the_shorter_timer_at_once(nat: Nat) -> None:
    with Lab(home(nat)) as lab, lab["server"].socket() as listening, lab["inside0"].socket() as client:
        listening.bind(("", PORT))
        listening.listen()
        client.connect((str(lab["server"].address), PORT))
        connection, _ = listening.accept()
        with connection:
            for _ in range(20):
                client.sendall(b"x")
                assert connection.recv(1) == b"x"
            assert all(left > nat.tcp_transitory_s for found in lives(lab).values() for left in found)
            for _ in range(20):
                client.sendall(b"x")
                assert connection.recv(1) == b"x"
            client.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
            remaining = lives(lab)
    assert remaining
    assert all(left <= nat.tcp_transitory_s for found in remaining.values() for left in found)


@pytest.mark.parametrize("name", ["home", "port-restricted"])
def test_within_no_packet_is_let_through_that_was_not_asked_for_however_many_come(name: str) -> None:
    topology = home(NATS[name] or Nat())
    topology.host("beside", "router0")
    with (
        Lab(topology) as lab,
        udp(lab, "server", PORT) as server,
        udp(lab, "inside0") as inside,
        udp(lab, "beside") as beside,
    ):
        to = str(lab["server"].address), PORT
        external = {}
        for each in (inside, beside):
            each.sendto(b"here", to)
            external[each] = server.recvfrom(64)[1]
        for _ in range(20):
            inside.sendto(b"unasked", external[beside])
            time.sleep(0.01)
        beside.settimeout(0.3)
        with pytest.raises(TimeoutError):
            beside.recv(64)
