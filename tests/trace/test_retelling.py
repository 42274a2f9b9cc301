"""Stories retold from captures: packets are followed through NATs, and end where the programs and servers say."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wanlab import Lab, LabNode, UsageError
from wanlab.capture.capture import Capture
from wanlab.capture.pcapng_reader import PcapngFile
from wanlab.trace.retelling import retell
from wanlab.trace.story import Fate, Story


@contextmanager
def udp(node: LabNode, port: int) -> Iterator[socket.socket]:
    with node.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("0.0.0.0", port))
        made.settimeout(10)
        yield made


def told(lab: Lab, capture: Capture, path: Path) -> list[Story]:
    return retell(PcapngFile(capture.write(path)).packets(), lab.network)


def way(story: Story) -> list[str]:
    return [crossing.node for crossing in story.crossings]


def test_a_packet_is_followed_through_nats_that_change_its_addresses(tmp_path: Path) -> None:
    with Lab("double-nat") as lab:
        with Capture(lab) as capture, udp(lab["alice"], 4000) as alice, udp(lab["bob"], 9000) as bob:
            alice.sendto(b"hello", (str(lab["bob"].address), 9000))
            _, seen = bob.recvfrom(99)
            bob.sendto(b"hello too", seen)
            alice.recv(99)
        there, back = told(lab, capture, tmp_path / "a.pcapng")
    assert way(there) == ["alice", "home", "carrier", "bob"]
    assert way(back) == ["bob", "carrier", "home", "alice"]
    assert there.fate is back.fate is Fate.DELIVERED
    assert str(there.header.source) == f"{lab.network['alice'].address}:4000"
    assert str(there.crossings[-1].before.source) == f"{seen[0]}:{seen[1]}"
    assert [crossing.node for crossing in there.crossings if crossing.translated] == ["home", "carrier"]
    assert [crossing.node for crossing in back.crossings if crossing.translated] == ["carrier", "home"]
    assert there.target == "bob"


def test_every_one_of_equal_packets_has_a_story_of_its_own(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture, udp(lab["alice"], 4000) as alice, udp(lab["coordinator"], 9000) as server:
            for _ in range(50):
                alice.sendto(b"again", (str(lab["coordinator"].address), 9000))
            for _ in range(50):
                server.recv(99)
        stories = told(lab, capture, tmp_path / "a.pcapng")
        sent = subprocess.run(
            ["tshark", "-r", tmp_path / "a.pcapng", "-Y", 'udp && frame.interface_name == "alice:eth0"'],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
    assert len(stories) == len(sent) == 50
    assert {tuple(way(story)) for story in stories} == {("alice", "home-a", "coordinator")}
    assert [story.number for story in stories] == list(range(1, 51))
    times = [crossing.time_ns for story in stories for crossing in story.crossings]
    assert all(story.time_ns <= story.crossings[-1].time_ns for story in stories)
    assert len(set(times)) > 100


def test_what_nobody_asked_for_ends_at_the_router(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture, udp(lab["coordinator"], 9000) as server:
            server.sendto(b"x", (str(lab["home-a"].address), 5000))
            lab["coordinator"].run(["ping", "-c1", "-W1", "home-b"], capture_output=True)
        stories = told(lab, capture, tmp_path / "a.pcapng")
    assert [(story.last, story.fate) for story in stories] == [("home-a", Fate.DROPPED), ("home-b", Fate.DROPPED)]
    assert "address-and-port-dependent" in stories[0].why


def test_answers_to_a_router_itself_are_delivered(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture:
            lab["home-a"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        stories = told(lab, capture, tmp_path / "a.pcapng")
    assert [way(story) for story in stories] == [["home-a", "coordinator"], ["coordinator", "home-a"]]
    assert all(story.fate is Fate.DELIVERED for story in stories)


def test_errors_are_told_beside_what_they_are_about(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture, udp(lab["alice"], 4000) as alice:
            alice.sendto(b"x", (str(lab["coordinator"].address), 77))
            lab["alice"].run(["ping", "-c1", "-t1", "coordinator"], capture_output=True)
        refused, first, late, second = told(lab, capture, tmp_path / "a.pcapng")
    assert refused.fate is Fate.REFUSED
    assert refused.answer == "coordinator: unreachable"
    assert first.about == refused.number
    assert late.fate is Fate.EXPIRED
    assert late.answer == "home-a: time exceeded"
    assert second.about == late.number


def test_a_packet_that_turns_round_in_a_carrier_is_one_story(tmp_path: Path) -> None:
    with Lab("carrier") as lab:
        with (
            Capture(lab) as capture,
            udp(lab["alice"], 4000) as alice,
            udp(lab["bob"], 4000) as bob,
            udp(lab["coordinator"], 9000) as server,
        ):
            seen = []
            for one in (alice, bob):
                one.sendto(b"where am I", (str(lab["coordinator"].address), 9000))
                seen.append(server.recvfrom(99)[1])
            alice.sendto(b"punch from alice", seen[1])
            bob.sendto(b"punch from bob", seen[0])
            received = alice.recvfrom(99)
        stories = told(lab, capture, tmp_path / "a.pcapng")
    hairpinned = [story for story in stories if story.sender == "bob" and "alice" in way(story)]
    assert [way(story) for story in hairpinned] == [["bob", "home-b", "carrier", "home-a", "alice"]]
    assert str(hairpinned[0].crossings[-1].before.source) == f"{received[1][0]}:{received[1][1]}"


def test_a_connection_is_told_segment_by_segment(tmp_path: Path) -> None:
    with Lab("homes:3") as lab:
        with Capture(lab) as capture, lab["coordinator"].socket() as listener, lab["a1"].socket() as client:
            listener.bind(("0.0.0.0", 80))
            listener.listen()
            client.connect((str(lab["coordinator"].address), 80))
            with listener.accept()[0] as connection:
                client.sendall(b"request")
                assert connection.recv(99) == b"request"
        stories = [story for story in told(lab, capture, tmp_path / "a.pcapng") if story.header.protocol == "tcp"]
    assert [story.header.info for story in stories[:3]] == ["SYN", "SYN ACK", "ACK"]
    assert all(story.delivered for story in stories)
    assert {tuple(way(story)) for story in stories} == {
        ("a1", "home-a", "coordinator"),
        ("coordinator", "home-a", "a1"),
    }


def test_neighbours_in_a_lan_are_told_without_their_router(tmp_path: Path) -> None:
    with Lab("homes:3") as lab:
        with Capture(lab) as capture:
            lab["a1"].run(["ping", "-c1", "a2"], check=True, capture_output=True)
            lab["a1"].run(["ping", "-c1", "lan.home-a"], check=True, capture_output=True)
        stories = told(lab, capture, tmp_path / "a.pcapng")
    assert [way(story) for story in stories] == [["a1", "a2"], ["a2", "a1"], ["a1", "home-a"], ["home-a", "a1"]]
    assert all(story.fate is Fate.DELIVERED for story in stories)


def test_what_is_lost_on_a_link_did_not_arrive(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab) as capture, udp(lab["alice"], 4000) as alice:
            lab["alice"].run(
                ["ping", "-c1", "coordinator"], check=True, capture_output=True
            )  # knows its neighbours now
            lab["home-a"].run(["ip", "link", "set", "wan", "down"], check=True)
            alice.sendto(b"x", (str(lab["coordinator"].address), 9000))
        stories = told(lab, capture, tmp_path / "a.pcapng")
    (lost,) = [story for story in stories if story.header.protocol == "udp"]
    assert way(lost) == ["alice", "home-a"]
    assert lost.fate is Fate.LOST


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello, this is no capture", "begin"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00abcd" + bytes(16), "byte order"),
        (b"\xd4\xc3\xb2\xa1" + bytes(40), "begin"),
    ],
)
def test_what_is_no_capture_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "a.pcapng").write_bytes(data)
    with pytest.raises(UsageError, match=rf"a\.pcapng is no pcapng file.*{why}"):
        list(PcapngFile(tmp_path / "a.pcapng").packets())


def test_a_capture_is_read_as_others_read_it_and_up_to_where_it_was_cut_off(tmp_path: Path) -> None:
    with Lab("two-lans") as lab:
        with Capture(lab, snap_bytes=60) as capture:
            lab["alice"].run(["ping", "-c3", "-i0.01", "-s", "500", "coordinator"], check=True, capture_output=True)
        path = capture.write(tmp_path / "a.pcapng")
        written = list(capture.packets())
    file = PcapngFile(path)
    packets = list(file.packets())
    assert [(p.time_ns, p.end, p.data, p.length, p.outbound) for p in packets] == [
        (p.time_ns, p.end, p.data, p.length, p.outbound) for p in written
    ]
    assert file.lost == 0
    said = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert [f"{packet.end}\t{packet.length}" for packet in packets] == said.splitlines()
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 70, len(whole) // 2):
        path.write_bytes(whole[:size])
        assert [p.time_ns for p in PcapngFile(path).packets()] == [
            p.time_ns for p in packets[: len(list(file.packets()))]
        ]


def test_files_that_others_wrote_are_read(tmp_path: Path) -> None:
    """tshark writes microseconds, and the interfaces of this file in another order than they are used."""
    with Lab("two-lans") as lab:
        with Capture(lab) as capture:
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        path = capture.write(tmp_path / "a.pcapng")
        other = tmp_path / "b.pcapng"
        subprocess.run(["tshark", "-r", path, "-w", other, "-F", "pcapng"], check=True, capture_output=True)
        assert [(p.end, p.data) for p in PcapngFile(other).packets()] == [(p.end, p.data) for p in capture.packets()]
        assert len(retell(PcapngFile(other).packets(), lab.network)) == 2
