"""What never left its sender, and what has no single receiver: questions for neighbours, and broadcasts."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from wanlab import Lab, Topology
from wanlab.trace.story import Fate, Story
from wanlab.trace.trace import Trace


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three hosts of one switch."""
    topology = Topology("three")
    lan = topology.switch("lan", ["10.1.0.0/24", "fd00:1::/64"])
    for name in ("a", "b", "c"):
        topology.host(name, lan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        with Lab(topology) as lab:
            yield lab


def send(lab: Lab, node: str, to: str, payload: bytes = b"hello", family: int = socket.AF_INET) -> None:
    with lab[node].socket(family, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(str(lab[node].address)))
        one.sendto(payload, (to, 9))


def neighbours(lab: Lab, node: str) -> dict[str, list[str]]:
    told = lab[node].run(["ip", "-j", "neigh"], capture_output=True, text=True, check=True).stdout
    return {each["dst"]: each["state"] for each in json.loads(told)}


@pytest.mark.parametrize(
    ("nobody", "family", "protocol"),
    [("10.1.0.99", socket.AF_INET, "arp"), ("fd00:1::99", socket.AF_INET6, "icmp6")],
)
def test_an_address_that_nobody_has_is_asked_for_three_times_and_the_packet_dies_of_it(
    three: Lab, nobody: str, family: int, protocol: str
) -> None:
    with three.capture("b", filter=protocol) as capture, Trace(three) as trace:
        send(three, "a", nobody, family=family)
        time.sleep(3.3)
        assert neighbours(three, "a")[nobody] == ["FAILED"]
    (question,) = (story for story in trace.stories if nobody in story.question)
    assert str(question) == f"a asked three times who has {nobody}; nobody answered"
    assert (question.fate, question.header.protocol) == (Fate.NO_NEIGHBOUR, protocol)
    assert sum(socket.inet_pton(family, nobody) in packet.data for packet in capture.packets()) == 3
    (packet,) = (story for story in trace.stories if story.header.protocol == "udp")
    assert (packet.fate, packet.last) == (Fate.NO_NEIGHBOUR, "a")
    assert packet.why == f"a asked three times who has {nobody}; nobody answered"
    assert Story.from_json(json.loads(json.dumps(question.to_json()))) == question


def test_who_answered_a_question_is_told_by_name(three: Lab) -> None:
    three["a"].run(["ip", "neigh", "flush", "dev", "eth0"], check=True)
    with Trace(three, filter="arp", senders=["a"]) as trace:
        send(three, "a", str(three["b"].address))
        time.sleep(0.1)
    mac = three.network["b"].primary.mac
    assert [str(story) for story in trace.stories] == [
        f"a asked who has {three['b'].address}; b answered that it is at {mac}"
    ]


def test_a_broadcast_is_one_story_with_all_whom_it_reached(three: Lab) -> None:
    with Trace(three, filter="udp", senders=["a"]) as trace:
        send(three, "a", "10.1.0.255")
        send(three, "a", "239.1.2.3", b"to a group")
        send(three, "a", "127.0.0.1", b"to itself")
    assert [(story.fate, sorted(story.reached), story.header.info) for story in trace.stories] == [
        (Fate.DELIVERED, ["b", "c"], "5 bytes"),
        (Fate.DELIVERED, ["b", "c"], "10 bytes"),
    ]
    assert str(trace.stories[0]).startswith("a -> 10.1.0.255:9 udp 5 bytes: delivered to ")


def test_what_the_kernel_refuses_before_there_is_a_packet_has_no_story(three: Lab) -> None:
    with Trace(three) as trace, contextlib.suppress(OSError):
        send(three, "a", "9.9.9.9")
    assert not [story for story in trace.stories if story.header.protocol == "udp"]
