"""The core of tracing, in memory: events go in that nobody's kernel has made, and stories come out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from wanlab import Topology
from wanlab.kernel.nftrace import Traced
from wanlab.trace.events import Sighting
from wanlab.trace.nat_memory import NatMemory
from wanlab.trace.story import Fate, Story
from wanlab.trace.tracer import Tracer

NETWORK = Topology.load("two-lans").resolve()
ALICE, HOME, SERVER = "10.1.0.1", "172.16.0.1", "172.16.0.100"
SECOND = 1_000_000_000


def mac(node: str, interface: str) -> bytes:
    text = NETWORK[node].interface(interface).mac
    assert text is not None
    return bytes.fromhex(text.replace(":", ""))


def udp(
    to_mac: bytes, source: str, destination: str, payload: bytes = b"hello", *, ttl: int = 64, ident: int = 7
) -> bytes:
    (host, port), (other, other_port) = (end.split(":") for end in (source, destination))
    body = struct.pack("!HHHH", int(port), int(other_port), 8 + len(payload), 0) + payload
    addresses = ip_address(host).packed + ip_address(other).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ident, 0, ttl, 17, 0) + addresses
    return to_mac + bytes(6) + b"\x08\x00" + head + body


def rule_text(node: str, table: str, chain: str, handle: int) -> str:
    return f"rule {handle} of {node}"


@dataclass
class Scene:
    """A tracer, and a clock that goes on by a microsecond with each event."""

    tracer: Tracer = field(default_factory=lambda: Tracer(NETWORK, NatMemory(), rule_text))
    now: int = 1000 * SECOND

    def out(self, node: str, interface: str, frame: bytes, *, arrives: bool = True) -> None:
        """*node* sends *frame*, which comes in at the other end of the cable."""
        far = next(
            b for link in NETWORK.links for a, b in ((link.a, link.b), (link.b, link.a)) if a == (node, interface)
        )
        for name, port, outbound in ((node, interface, True), (*far, False))[: 2 if arrives else 1]:
            self.now += 1000
            self.tracer.see(Sighting(self.now, name, port, outbound, frame))

    def verdict(self, node: str, frame: bytes, verdict: str, trace: int, *, came_in: int | None = 2) -> None:
        """A rule of *node* decides about *frame*."""
        traced = Traced(trace, "inet wanlab", "wl_input", 30 + trace, verdict, frame[14:34], frame[34:54], came_in)
        self.tracer.decide(node, traced, self.now)

    def stories(self, later_s: float = 1) -> list[Story]:
        """Those that are over *later_s* seconds from now."""
        self.now += int(later_s * SECOND)
        return list(self.tracer.finished(self.now))


def from_alice(payload: bytes = b"hello") -> tuple[bytes, bytes]:
    """A packet of alice's to the server: as she sends it, and as her router does."""
    inside = udp(mac("home-a", "lan"), f"{ALICE}:5000", f"{SERVER}:9000", payload)
    outside = udp(mac("coordinator", "eth0"), f"{HOME}:6000", f"{SERVER}:9000", payload, ttl=63)
    return inside, outside


def test_a_packet_is_known_again_behind_a_nat() -> None:
    scene = Scene()
    inside, outside = from_alice()
    scene.out("alice", "eth0", inside)
    scene.out("home-a", "wan", outside)
    scene.out("wan", "coordinator", outside)
    (story,) = scene.stories()
    assert [crossing.node for crossing in story.crossings] == ["alice", "home-a", "wan", "coordinator"]
    assert story.crossings[1].translation == f"{ALICE}:5000 -> {HOME}:6000"
    assert (story.fate, story.target) == (Fate.DELIVERED, "coordinator")


def test_nothing_is_told_before_a_packet_can_be_over() -> None:
    scene = Scene()
    scene.out("alice", "eth0", from_alice()[0])
    assert scene.stories(0.1) == []
    assert [story.last for story in scene.stories(0.3 + 4)] == ["home-a"]


def test_of_two_alike_the_dropped_one_is_dropped_and_the_other_arrives() -> None:
    scene = Scene()
    frame = udp(mac("home-a", "wan"), f"{SERVER}:9000", f"{HOME}:777", ident=0)
    for trace, verdict in enumerate(("drop", "accept")):
        scene.out("coordinator", "eth0", frame)
        scene.out("wan", "home-a", frame)
        scene.verdict("home-a", frame, verdict, trace)
    first, second = scene.stories()
    assert (first.fate, first.crossings[-1].rules[0].text) == (Fate.DROPPED, "rule 30 of home-a")
    assert (second.fate, second.crossings[-1].rules[0].text) == (Fate.DELIVERED, "rule 31 of home-a")


def test_an_answer_that_repeats_the_question_is_another_packet() -> None:
    scene = Scene()
    there = udp(mac("home-a", "wan"), f"{SERVER}:9000", f"{HOME}:7", ident=0)
    back = udp(mac("coordinator", "eth0"), f"{HOME}:7", f"{SERVER}:9000", ident=0)
    scene.out("coordinator", "eth0", there)
    scene.out("wan", "home-a", there)
    scene.out("home-a", "wan", back)
    scene.out("wan", "coordinator", back)
    assert [(story.sender, story.last) for story in scene.stories()] == [
        ("coordinator", "home-a"), ("home-a", "coordinator"),
    ]  # fmt: skip


def test_a_switchs_copy_to_a_port_that_did_not_need_it_has_no_story() -> None:
    scene = Scene()
    _, outside = from_alice()
    scene.out("home-a", "wan", outside)
    scene.out("wan", "home-b", outside)
    scene.out("wan", "coordinator", outside)
    (story,) = scene.stories()
    assert [crossing.node for crossing in story.crossings] == ["home-a", "wan", "coordinator"]


def test_what_does_not_come_in_at_the_other_end_is_lost_on_the_link() -> None:
    scene = Scene()
    scene.out("alice", "eth0", from_alice()[0], arrives=False)
    (story,) = scene.stories()
    assert (story.fate, story.why) == (Fate.LOST, "on the link from alice:eth0 to home-a:lan")


def test_what_a_sender_drops_itself_is_told_though_nobody_saw_it() -> None:
    scene = Scene()
    scene.verdict("alice", from_alice()[0], "drop", 1, came_in=None)
    (story,) = scene.stories(2)
    assert (story.sender, story.fate, story.header.info) == ("alice", Fate.DROPPED, "5 bytes")


@pytest.mark.parametrize("lost", [0, 3])
def test_many_alike_keep_their_order_through_a_queue(lost: int) -> None:
    scene = Scene()
    inside, outside = from_alice()
    for _ in range(10):
        scene.out("alice", "eth0", inside)
    for _ in range(10 - lost):
        scene.out("home-a", "wan", outside)
    stories = scene.stories(5)
    assert len(stories) == 10
    left = [story.crossings[1].left_ns for story in stories]
    assert [one for one in left if one is not None] == sorted(one for one in left if one is not None)
    assert left.count(None) == lost


def test_broadcasts_and_arp_have_no_stories() -> None:
    scene = Scene()
    inside, _ = from_alice()
    scene.out("alice", "eth0", b"\xff" * 6 + inside[6:])
    scene.out("alice", "eth0", mac("home-a", "lan") + bytes(6) + b"\x08\x06" + bytes(28))
    assert scene.stories(5) == []


def test_only_what_is_wanted_is_told() -> None:
    scene = Scene(Tracer(NETWORK, NatMemory(), rule_text, wanted=lambda sender, frame: frame.endswith(b"wanted")))
    for payload in (b"wanted", b"other"):
        scene.out("alice", "eth0", from_alice(payload)[0])
    assert [story.header.info for story in scene.stories(5)] == ["6 bytes"]


def test_nothing_is_remembered_of_what_is_told() -> None:
    scene = Scene()
    for number in range(100):
        inside, outside = from_alice(b"%d" % number)
        scene.out("alice", "eth0", inside)
        scene.verdict("home-a", inside, "accept", number)
        scene.out("home-a", "wan", outside, arrives=number % 2 == 0)
    assert len(scene.stories(10)) == 100
    tracer = scene.tracer
    left = (tracer._tales, tracer._waiting, tracer._on_link, tracer._inside, tracer._verdicts, tracer._met)
    assert [len(each) for each in left] == [0] * len(left)
