"""What a link's impairment and queue drop: each packet's fate, against the numbers that arrived, and the counters."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.impairment.conftest import refusal
from wanlab import Lab, Topology
from wanlab.capture.decode import parse_ip
from wanlab.capture.headers import Endpoint, Header
from wanlab.runtime.counters import Counters
from wanlab.trace.drops import Drops, DropWatch
from wanlab.trace.nat_memory import NatMemory
from wanlab.trace.reasons import Reasons
from wanlab.trace.story import Crossing, Fate
from wanlab.trace.trace import Trace

MANY = 30


@pytest.fixture
def wire() -> str:
    """What impairs links: the one that counts by chance and by queue. Skips where a machine does not let it."""
    if refusal("wire"):
        pytest.skip(refusal("wire"))
    return "wire"


def home(impairment: Any) -> Topology:
    topology = Topology("home")
    wan = topology.switch("wan")
    topology.host("server", wan)
    topology.host("alice", topology.router("home", wan, nat="linux", impairment=impairment))
    return topology


@contextlib.contextmanager
def talking(lab: Lab) -> Iterator[tuple[socket.socket, socket.socket, Any, Any]]:
    """Sockets of alice and the server, and where each finds the other."""
    with (
        lab["alice"].socket(socket.AF_INET, socket.SOCK_DGRAM) as alice,
        lab["server"].socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        alice.bind(("", 5000))
        server.bind(("", 9000))
        server.settimeout(0.3)
        to_server = (str(lab["server"].address), 9000)
        for _ in range(40):
            alice.sendto(b"here I am", to_server)
            with contextlib.suppress(TimeoutError):
                yield alice, server, server.recvfrom(99)[1], to_server
                return
        pytest.fail("nothing ever arrived")


def arrived(one: socket.socket) -> int:
    one.settimeout(0.2)
    count = 0
    with contextlib.suppress(TimeoutError):
        while one.recv(999):
            count += 1
    return count


def impaired(lab: Lab, end: str) -> int:
    return next(each.impaired for each in lab.counters() if f"{each.node}:{each.interface}" == end)


def number_in(why: str) -> int:
    (number,) = re.findall(r" (\d+) ", why)
    return int(number)


def without_number(why: str) -> str:
    return re.sub(r" \d+ ", " N ", why)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize(
    ("impairment", "fate", "said"),
    [
        ({"rate": "100kbit", "queue": 3}, Fate.QUEUE, "the queue of {} was full: {} dropped in this trace"),
        ({"loss": "50%"}, Fate.LOST, "by chance, as the impairment of {} asks: {} lost in this trace"),
    ],
)
def test_a_full_queue_is_told_from_loss_that_was_asked_for(
    impairment: dict[str, Any], fate: Fate, said: str, direction: str, wire: str
) -> None:
    end = "home:wan" if direction == "up" else "wan:home"
    with Lab(home({direction: impairment}), impairment=wire) as lab, talking(lab) as talk:
        alice, server, to_alice, to_server = talk
        arrived(server)
        before = impaired(lab, end)
        with Trace(lab, filter="udp") as trace:
            for number in range(MANY):
                if direction == "up":
                    alice.sendto(bytes(200 + number), to_server)
                else:
                    server.sendto(bytes(200 + number), to_alice)
            got = arrived(server if direction == "up" else alice)
        counted = impaired(lab, end) - before
    dropped = [story for story in trace.stories if not story.delivered]
    assert len(trace.stories) == MANY
    assert 0 < got == MANY - len(dropped) < MANY
    assert {(story.fate, without_number(story.why)) for story in dropped} == {(fate, said.format(end, "N"))}
    # The kernel's own multicasts are dropped, too, and counted.
    assert all(len(dropped) <= number_in(story.why) <= counted for story in dropped)


def test_where_both_happen_it_is_said_how_often_and_not_guessed(wire: str) -> None:
    bad = home({"up": {"rate": "100kbit", "queue": 3, "loss": "40%"}})
    with Lab(bad, impairment=wire) as lab, talking(lab) as talk:
        alice, server, _, to_server = talk
        arrived(server)
        with Trace(lab, filter="udp") as trace:
            for number in range(MANY):
                alice.sendto(bytes(200 + number), to_server)
            arrived(server)
        counted = next(each for each in lab.counters() if (each.node, each.interface) == ("home", "wan"))
    dropped = [story for story in trace.stories if not story.delivered]
    assert counted.lost is not None
    assert counted.impaired >= len(dropped) > 0
    assert {story.fate for story in dropped} == {Fate.LOST}
    assert {re.sub(r"\d+", "N", story.why) for story in dropped} == {
        "dropped at home:wan: N by chance and N by a full queue in this trace"
    }


def test_what_waits_in_a_queue_is_not_told_before_it_has_left(wire: str) -> None:
    with (
        Lab(home({"up": {"rate": "20kbit"}}), impairment=wire) as lab,
        talking(lab) as talk,
        Trace(lab, filter="udp") as trace,
    ):
        for _ in range(10):
            talk[0].sendto(bytes(200), talk[3])  # 0.1 s each
        time.sleep(1.2)
    assert [(story.fate, story.sender, story.last) for story in trace.stories] == [
        (Fate.DELIVERED, "alice", "server")
    ] * 10


def test_what_the_senders_own_full_queue_drops_is_told(wire: str) -> None:
    topology = Topology("slow")
    lan = topology.switch("lan")
    topology.host("server", lan)
    topology.host("alice", lan, impairment={"up": {"rate": "100kbit", "queue": 3}})
    with Lab(topology, impairment=wire) as lab, talking(lab) as (alice, server, _, to_server):
        arrived(server)
        with Trace(lab, filter="udp") as trace:
            for _ in range(MANY):
                alice.sendto(bytes(400), to_server)
            got = arrived(server)
    lost = [story for story in trace.stories if story.fate is Fate.QUEUE]
    assert len(trace.stories) == MANY
    assert {(story.last, without_number(story.why)) for story in lost} == {
        ("alice", "the queue of alice:eth0 was full: N dropped in this trace")
    }
    assert all(number_in(story.why) >= len(lost) for story in lost)
    assert 0 < got == MANY - len(lost)


def test_packets_are_seen_at_link_ends_only_where_a_link_is_impaired(wire: str) -> None:
    delayed = home({"up": {"delay": "5ms"}})
    with Lab(delayed, impairment=wire) as lab, talking(lab) as talk, lab.capture(filter="udp") as capture:
        talk[0].sendto(b"hello", talk[3])
        talk[1].recv(99)
    assert [packet.end for packet in capture.packets()] == [
        "alice:eth0", "home:lan", "home:wan", "wan:home", "wan:server", "server:eth0",
    ]  # fmt: skip


def counters(**counted: Any) -> Counters:
    return Counters("home", "wan", 0, 0, 0, 0, **counted)


def test_counters_are_compared_with_those_of_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wanlab.trace.drops._FRESH_S", 0)
    now = [counters(impaired=9, lost=5, overflowed=4, refused=1)]
    watch = DropWatch(lambda: now)
    assert watch.since("home", "wan") == Drops()
    now[0] = counters(impaired=12, lost=6, overflowed=6, refused=2, waiting=3)
    assert watch.since("home", "wan") == Drops(lost=1, overflowed=2, refused=1, waiting=3)
    now[0] = counters(impaired=1, lost=0, overflowed=1)  # it was impaired anew
    assert watch.since("home", "wan") == Drops(overflowed=1)
    assert watch.since("home", "lan") == Drops()


@pytest.mark.parametrize(
    ("impairment", "fate", "said"),
    [
        ({"rate": "1mbit"}, Fate.QUEUE, "the queue of home:wan was full"),
        ({"loss": "1%"}, Fate.LOST, "by chance"),
        ({"rate": "1mbit", "loss": "1%"}, Fate.LOST, "by chance or as the queue was full: 7 in this trace"),
    ],
)
def test_netem_tells_only_the_sum_which_is_one_or_the_other_where_only_one_can_be(
    impairment: dict[str, Any], fate: Fate, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wanlab.trace.drops._FRESH_S", 0)
    network = home({"up": impairment}).resolve()
    now = [counters(impaired=2)]
    watch = DropWatch(lambda: now)
    now[0] = counters(impaired=9)
    reasons = Reasons(network, NatMemory(), watch.since)
    ends = Endpoint(network["alice"].address, 5000), Endpoint(network["server"].address, 9000)
    crossing = Crossing("home", "lan", None, 1, None, Header("udp", *ends, 64, 128), None)
    frame = bytes(12) + b"\x08\x00" + bytes([0x45]) + bytes(7) + bytes([64, 17]) + bytes(10)
    ip = parse_ip(frame)
    assert ip is not None
    ending = reasons.ending([crossing], None, ip)
    assert ending.fate is fate
    assert said in ending.why
