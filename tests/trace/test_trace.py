"""Traces of real packets: what is told of them, against what tcpdump sees, what was sent, and what nft says."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from wanlab import KernelError, Lab, NoSuchNode, UsageError
from wanlab.trace.story import Fate, Story
from wanlab.trace.trace import Trace

COORDINATOR, HOME_A = "172.16.0.100", "172.16.0.1"


@pytest.fixture(scope="module")
def two_lans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        with Lab("two-lans") as lab:
            lab.change("home-a", nat="linux")
            yield lab


@contextlib.contextmanager
def udp(lab: Lab, node: str, port: int) -> Iterator[socket.socket]:
    with lab[node].socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("0.0.0.0", port))
        one.settimeout(10)
        yield one


def the(stories: list[Story], info: str) -> Story:
    found = [story for story in stories if story.header.info == info]
    assert len(found) == 1, [str(story) for story in stories]
    return found[0]


def test_a_packet_is_one_story_across_a_nat_and_back(two_lans: Lab) -> None:
    with (
        udp(two_lans, "alice", 5001) as alice,
        udp(two_lans, "coordinator", 9001) as server,
        Trace(two_lans, filter="udp") as trace,
    ):
        alice.sendto(bytes(101), (COORDINATOR, 9001))
        _, seen = server.recvfrom(500)
        server.sendto(bytes(102), seen)
        alice.recv(500)
    there, back = the(trace.stories, "101 bytes"), the(trace.stories, "102 bytes")
    assert [crossing.node for crossing in there.crossings] == ["alice", "home-a", "wan", "coordinator"]
    assert [(c.came_in, c.went_out) for c in there.crossings] == [
        (None, "eth0"), ("lan", "wan"), ("home-a", "coordinator"), ("eth0", None),
    ]  # fmt: skip
    assert there.fate is Fate.DELIVERED
    assert there.crossings[1].translation == "10.1.0.1:5001 -> 172.16.0.1:5001"
    assert [rule.chain for rule in there.crossings[1].rules] == ["wl_forward", "wl_postrouting"]
    assert "masquerade" in there.crossings[1].rules[1].text
    assert [c.before.ttl for c in there.crossings] == [64, 64, 63, 63]
    assert (back.sender, back.target, back.last) == ("coordinator", "home-a", "alice")
    assert back.crossings[2].translation == "172.16.0.1:5001 -> 10.1.0.1:5001"
    times = [t for c in there.crossings for t in (c.time_ns, c.left_ns) if t is not None]
    assert times == sorted(times)
    assert (trace.lost_packets, trace.lost_verdicts) == (0, 0)


def test_deaths_are_told_with_their_reasons(two_lans: Lab) -> None:
    with (
        udp(two_lans, "alice", 5002) as alice,
        udp(two_lans, "coordinator", 9002) as server,
        udp(two_lans, "coordinator", 9003) as stranger,
        Trace(two_lans, filter="udp") as trace,
    ):
        alice.sendto(bytes(1), (COORDINATOR, 9002))
        server.recv(500)
        stranger.sendto(bytes(2), (HOME_A, 5002))
        stranger.sendto(bytes(3), (HOME_A, 777))
        with udp(two_lans, "alice", 5012) as lost:
            lost.sendto(bytes(4), ("9.9.9.9", 1))
        with udp(two_lans, "alice", 5013) as refused:
            refused.sendto(bytes(5), (COORDINATOR, 9999))
        with udp(two_lans, "alice", 5003) as short:
            short.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            short.sendto(bytes(6), (COORDINATOR, 9002))
        with udp(two_lans, "alice", 5004) as unheard:
            unheard.sendto(bytes(7), ("172.16.0.77", 1))
            time.sleep(4)  # the kernel asks for 3 s whether anybody has that address
    stories = trace.stories
    filtered = the(stories, "2 bytes")
    assert str(filtered) == (
        f"coordinator -> home-a {HOME_A}:5002 udp 2 bytes: dropped by home-a (filtering is address- and port-dependent;"
        f" alice has sent to {COORDINATOR}:9002, this came from {COORDINATOR}:9003)"
    )
    assert filtered.crossings[-1].rules[-1].text == 'iifname "wan" drop'
    assert the(stories, "3 bytes").why == f"no mapping has {HOME_A}:777: nobody inside sends from there"
    assert (the(stories, "4 bytes").fate, the(stories, "4 bytes").answer) == (
        Fate.NO_ROUTE,
        "home-a: network unreachable",
    )
    assert (the(stories, "5 bytes").fate, the(stories, "5 bytes").answer) == (
        Fate.REFUSED,
        "coordinator: port unreachable",
    )
    assert (the(stories, "6 bytes").fate, the(stories, "6 bytes").last) == (Fate.EXPIRED, "home-a")
    assert (the(stories, "7 bytes").fate, the(stories, "7 bytes").last) == (Fate.NO_NEIGHBOUR, "home-a")


def test_the_rule_that_drops_is_nfts_own_and_a_senders_own_rule_is_told_too(two_lans: Lab) -> None:
    nft = ["nft", "table inet mine { chain c { type filter hook output priority 0; udp dport 1234 counter drop; }; }"]
    two_lans["alice"].run(nft, check=True)
    try:
        with (
            udp(two_lans, "alice", 5005) as alice,
            Trace(two_lans, filter="udp") as trace,
            contextlib.suppress(PermissionError),  # the kernel tells the sender
        ):
            alice.sendto(bytes(8), (COORDINATOR, 1234))
        story = the(trace.stories, "8 bytes")
        assert (story.fate, story.sender, story.last) == (Fate.DROPPED, "alice", "alice")
        (rule,) = story.crossings[0].rules
        listed = two_lans["alice"].run(["nft", "-a", "list", "table", "inet", "mine"], capture_output=True, text=True)
        assert f"drop # handle {rule.handle}\n" in listed.stdout
        assert rule.table == "inet mine"
        assert rule.text.startswith("udp dport 1234 counter packets")
    finally:
        two_lans["alice"].run(["nft", "delete", "table", "inet", "mine"], check=True)


def test_a_refused_tcp_connection_is_told(two_lans: Lab) -> None:
    with (
        Trace(two_lans, filter="tcp", senders=["alice"]) as trace,
        two_lans["alice"].socket() as one,
        pytest.raises(ConnectionRefusedError),
    ):
        one.connect((COORDINATOR, 81))
    (story,) = trace.stories
    assert (story.fate, story.why) == (Fate.REFUSED, "nobody listens on TCP port 81")


def test_only_what_was_asked_for_is_told(two_lans: Lab) -> None:
    with (
        udp(two_lans, "alice", 5006) as alice,
        udp(two_lans, "bob", 5006) as bob,
        Trace(two_lans, senders=["bob"], filter="dst port 9100") as trace,
    ):
        for one in (alice, bob):
            one.sendto(bytes(9), (COORDINATOR, 9100))
            one.sendto(bytes(9), (COORDINATOR, 9101))
    assert [(story.sender, story.header.destination.port) for story in trace.stories] == [("bob", 9100)]


def test_nothing_is_left_in_a_ruleset_however_a_trace_ends(two_lans: Lab) -> None:
    def tables() -> set[str]:
        nodes = ("alice", "home-a", "coordinator")
        return {two_lans[n].run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout for n in nodes}

    before = tables()
    with Trace(two_lans):
        assert "nftrace" in "".join(tables())
        with pytest.raises(KernelError, match="is being traced already; end the other trace first"):
            Trace(two_lans)
        assert "nftrace" in "".join(tables())
    assert tables() == before


def test_what_cannot_be_traced_is_refused(two_lans: Lab) -> None:
    with pytest.raises(NoSuchNode):
        Trace(two_lans, senders=["alcie"])
    with pytest.raises(UsageError):
        Trace(two_lans, filter="udp prot 5")


@pytest.mark.skipif(os.geteuid() != 0, reason="tcpdump changes to a user that an ordinary user's lab may not have")
def test_every_packet_has_a_story_that_tcpdump_confirms(two_lans: Lab) -> None:
    """Each datagram that tcpdump sees arrive at the server is one story that says so, and the other way round."""
    seen: list[tuple[str, str, str]] = []
    with Trace(two_lans, filter="udp dst port 9200", senders=["alice", "bob"]) as trace:
        tcpdump = [
            "tcpdump",
            "-Z",
            "root",
            "--immediate-mode",
            "-s",
            "200",
            "-lnq",
            "-i",
            "eth0",
            "udp and dst port 9200",
        ]
        with two_lans["coordinator"].popen(tcpdump, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as judge:
            assert judge.stderr is not None
            while "listening on" not in judge.stderr.readline():
                pass
            with udp(two_lans, "alice", 5007) as alice, udp(two_lans, "bob", 5008) as bob:
                for number in range(200):
                    (alice if number % 2 else bob).sendto(bytes(100 + number), (COORDINATOR, 9200))
            assert judge.stdout is not None
            killer = threading.Timer(20, judge.kill)
            killer.start()
            lines = [judge.stdout.readline() for _ in range(200)]
            killer.cancel()
            judge.kill()
            seen = re.findall(r"IP ([\d.]+)\.(\d+) > \S+ UDP, length (\d+)", "".join(lines))
    told = [story for story in trace.stories if story.last == "coordinator"]
    assert len(told) == 200
    ends = [(str(s.crossings[-1].before.source), s.header.info) for s in told]
    assert sorted(ends) == sorted((f"{host}:{port}", f"{size} bytes") for host, port, size in seen)


RATE, SECONDS, ATTEMPTS = 10_000, 2, 3


def test_ten_thousand_packets_a_second_are_traced_and_none_is_lost_or_it_is_said() -> None:
    """A machine that has no time for it must say so each time; three times in a row no machine should be like that."""
    lost = 0
    for _ in range(ATTEMPTS):
        stories, lost = trace_many()
        whole = [story for story in stories if story.last == "coordinator" and story.crossings[1].rules]
        if not lost:
            assert len(stories) == len(whole) == RATE * SECONDS
            assert all(len(story.crossings) == 4 for story in stories)
            return
    pytest.fail(f"{lost} events were lost, again and again")


def trace_many() -> tuple[list[Story], int]:
    stories: list[Story] = []
    with (
        Lab("two-lans") as lab,
        udp(lab, "alice", 5009) as alice,
        udp(lab, "coordinator", 9300),
        contextlib.closing(Trace(lab, filter="udp dst port 9300", senders=["alice"])) as trace,
    ):

        def send() -> None:
            began = time.monotonic()
            for number in range(RATE * SECONDS):
                alice.sendto(number.to_bytes(4, "big"), (COORDINATOR, 9300))
                ahead = began + number / RATE - time.monotonic()
                if ahead > 0.002:
                    time.sleep(ahead)

        sender = threading.Thread(target=send)
        sender.start()
        while sender.is_alive():
            stories += trace.read()
        stories += trace.finish()
        trace.close()
        return stories, trace.lost_packets + trace.lost_verdicts


def test_a_link_that_loses_packets_is_named(two_lans: Lab) -> None:
    with udp(two_lans, "alice", 5010) as alice, Trace(two_lans, filter="udp") as trace:
        two_lans["wan"].run(["ip", "link", "set", "home-a", "down"], check=True)  # as if the cable had been cut
        alice.sendto(bytes(11), (COORDINATOR, 9400))
        time.sleep(0.1)
        two_lans["wan"].run(["ip", "link", "set", "home-a", "up"], check=True)
    story = the(trace.stories, "11 bytes")
    assert story.last == "home-a"
    assert not story.delivered


def test_a_trace_that_runs_while_the_lab_is_verified_tells_of_hosts_that_were_plugged_in(two_lans: Lab) -> None:
    """They and their links are not of the topology."""
    with Trace(two_lans) as trace:
        assert two_lans.verify().ok
        with udp(two_lans, "alice", 5009) as alice:
            alice.sendto(bytes(77), (COORDINATOR, 9009))
            time.sleep(0.1)
    assert the(trace.stories, "77 bytes").fate is Fate.REFUSED
    assert any("not of the topology" in story.why for story in trace.stories)
