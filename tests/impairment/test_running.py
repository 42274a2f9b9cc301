"""Links of a lab that is up become impaired, other than they were, and clean again; and what is told of them."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.impairment.conftest import refusal
from tests.impairment.link import link, send, up
from tests.support.labs import Running, descendants, eventually, running
from wanlab import Lab, MachineError, TopologyError, UsageError
from wanlab.plan.steps import ClearImpairment, SetImpairment
from wanlab.runtime.counters import Counters


def counters(lab: Lab, node: str) -> Counters:
    return next(each for each in lab.counters() if (each.node, each.interface) == (node, "eth0"))


def round_trip_ms(sender: socket.socket, receiver: socket.socket) -> float:
    started = time.monotonic()
    sender.send(b"?")
    receiver.send(receiver.recv(1))
    sender.recv(1)
    return (time.monotonic() - started) * 1000


def test_a_connection_lives_through_every_change_of_its_link(means: str) -> None:
    with up(None, means) as lab, lab["b"].socket() as listener, lab["a"].socket() as sender:
        listener.bind(("0.0.0.0", 5000))
        listener.listen()
        sender.settimeout(30)
        sender.connect(("10.0.0.2", 5000))
        receiver, _ = listener.accept()
        interfaces = lab["a"].run(["ip", "-br", "link", "show", "eth0"], capture_output=True, text=True).stdout
        with receiver:
            receiver.settimeout(30)
            clean = min(round_trip_ms(sender, receiver) for _ in range(20))
            steps = lab.apply(link({"delay": "60ms"}))
            assert {type(step) for step in steps} == {SetImpairment}
            slow = min(round_trip_ms(sender, receiver) for _ in range(5))
            lab.apply(link({"up": {"delay": "20ms", "loss": "1%"}}))
            faster = min(round_trip_ms(sender, receiver) for _ in range(5))
            steps = lab.apply(link(None))
            assert {type(step) for step in steps} == {ClearImpairment}
            again = min(round_trip_ms(sender, receiver) for _ in range(20))
        assert clean < 60
        assert slow >= 120
        assert 20 <= faster < 100
        assert again < 20
        after = lab["a"].run(["ip", "-br", "link", "show", "eth0"], capture_output=True, text=True).stdout
        assert after == interfaces


def test_nothing_of_it_is_left_when_a_link_is_clean_again(means: str) -> None:
    look = ["sh", "-c", "ip -br link | cut -d' ' -f1; nft list ruleset; tc qdisc show dev eth0"]
    with up(None, means) as lab:
        before = lab["a"].run(look, capture_output=True, text=True).stdout
        lab.apply(link("4g"))
        assert lab["a"].run(look, capture_output=True, text=True).stdout != before
        lab.apply(link(None))
        after = lab["a"].run(look, capture_output=True, text=True).stdout
        assert [
            line for line in after.splitlines() if "table netdev" not in line and line != "}"
        ] == before.splitlines()


def test_a_node_with_an_impaired_link_can_go_and_come_back(means: str) -> None:
    def roaming(plugged: bool) -> Any:
        t = link({"delay": "5ms"})
        if plugged:
            t.host("c").connect("b", impairment={"delay": "10ms"}, address="10.0.1.1/24", peer_address="10.0.1.2/24")
        return t

    with Lab(roaming(True), impairment=means) as lab:
        lab.apply(roaming(False))
        lab.apply(roaming(True))
        started = time.monotonic()
        assert lab["c"].run(["ping", "-c1", "-W5", "10.0.1.2"], capture_output=True).returncode == 0
        assert time.monotonic() - started >= 0.02


def test_a_change_that_no_link_can_be_leaves_it_as_it_was(means: str) -> None:
    with up({"delay": "30ms"}, means) as lab:
        for wrong in ({"loss": "130%"}, {"rate": "0mbit"}, {"delay": "5ms", "jitter": "6ms"}, "5h"):
            with pytest.raises(TopologyError, match="impairment"):
                lab.apply(link(wrong))
        assert min(send(lab, 20).delays_ms) >= 29.8


def test_drops_are_counted_by_direction(means: str) -> None:
    with up({"up": {"loss": "100%"}, "down": {"delay": "1ms"}}, means) as lab:
        send(lab, 50, patience=0.2)
        send(lab, 30, patience=0.2, back=True)
        there, back = counters(lab, "a"), counters(lab, "b")
    assert there.impaired == 50
    assert there.lost in (50, None)  # netem does not tell
    assert there.received_packets >= 30
    assert (back.impaired, back.waiting) == (0, 0)
    assert back.sent_packets >= 30


def test_what_does_not_fit_the_queue_is_counted(means: str) -> None:
    with up({"up": {"rate": "1mbit", "queue": 10}}, means) as lab:
        arrived = len(send(lab, 60, size=1514, patience=1.0).arrived)
        there = counters(lab, "a")
    assert there.impaired == 60 - arrived > 0
    assert there.overflowed in (60 - arrived, None)


def test_the_same_seed_loses_the_same_packets() -> None:
    def lost(seed: int) -> set[int]:
        with up({"up": {"loss": "20%", "seed": seed}}, "wire") as lab:
            return set(range(300)) - set(send(lab, 300, gap=0.0005, patience=0.3).numbers)

    if refusal("wire"):
        pytest.skip(refusal("wire"))
    first = lost(7)
    assert len(first) > 20
    assert lost(7) == first
    assert lost(8) != first


def test_a_seed_is_kept_or_refused_by_netem_and_the_wire_is_chosen_where_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WANLAB_IMPAIRMENT", raising=False)
    if refusal("netem") or refusal("wire"):
        pytest.skip(refusal("netem") or refusal("wire"))
    seeded = {"loss": "20%", "seed": 7}
    why = refusal("netem", seeded)
    assert not why or "knows none" in why
    with Lab(link(seeded)) as lab:
        assert means_of(lab) == ("wire" if why else "netem")


def means_of(lab: Lab) -> str | None:
    connection = lab._connect()
    try:
        word: str | None = connection.ask({"verb": "info"})[0]["impairment"]["means"]
        return word
    finally:
        connection.close()


def test_without_impairment_nothing_is_between_two_hosts(means: str) -> None:
    with up(None, means) as lab:
        assert means_of(lab) is None
        assert not any(process.name == "wanlab-wire" for process in children(lab))
        assert lab["a"].run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout == ""
        assert "noqueue" in lab["a"].run(["tc", "qdisc", "show", "dev", "eth0"], capture_output=True, text=True).stdout


def wires(lab: Lab) -> list[Running]:
    return [process for process in children(lab) if process.name == "wanlab-wire"]


def kill_wire(lab: Lab) -> None:
    (wire,) = wires(lab)
    os.kill(wire.pid, signal.SIGKILL)
    eventually(lambda: running().get(wire.pid) != wire)


def await_events(lab: Lab, number: int) -> None:
    eventually(lambda: len(lab.events) == number)


def test_rules_that_a_program_takes_away_are_missed_and_a_reboot_puts_them_back(means: str) -> None:
    away = ["nft", "flush", "ruleset"] if means == "wire" else ["tc", "qdisc", "del", "dev", "eth0", "root"]
    what = "its rules are gone" if means == "wire" else "its queue is gone"
    with up({"delay": "30ms"}, means) as lab:
        assert lab.impairment_faults() == {}
        lab["a"].run(away, check=True)
        assert min(send(lab, 20).delays_ms) < 20
        assert lab.impairment_faults() == {("a", "eth0"): f"sends unimpaired: {what}"}
        report = lab.verify()
        assert [(check.group, check.subject) for check in report.failed] == [("links", "a eth0")]
        assert "links: `wanlab reboot a` puts back what impairs its links" in report.notes
        lab.reboot("a")
        assert min(send(lab, 20).delays_ms) >= 29.8
        assert lab.verify().ok


def children(lab: Lab) -> list[Running]:
    return [process for process in running().values() if process.parent == lab.pid]


def test_the_means_is_chosen_by_the_environment(means: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANLAB_IMPAIRMENT", means)
    with Lab(link({"delay": "1ms"})) as lab:
        assert means_of(lab) == means
    monkeypatch.setenv("WANLAB_IMPAIRMENT", "magic")
    with pytest.raises(UsageError, match="WANLAB_IMPAIRMENT"):
        Lab(link(None))


def test_a_lab_whose_links_cannot_be_impaired_does_not_come_up() -> None:
    why = refusal("netem")
    if not why:
        pytest.skip("this kernel has netem")
    assert "netem" in why
    with pytest.raises(MachineError, match="wanlab doctor"), up({"delay": "1ms"}, "netem"):
        pass


class TestWire:
    """What only the wire is asked."""

    @pytest.fixture(autouse=True)
    def _possible(self) -> None:
        if refusal("wire"):
            pytest.skip(refusal("wire"))

    def test_its_process_ends_with_the_lab(self) -> None:
        with up({"delay": "1ms"}, "wire") as lab:
            (wire,) = wires(lab)
        eventually(lambda: wire.pid not in running(), "the wire ends")

    def test_its_process_ends_with_a_holder_that_is_killed(self) -> None:
        with up({"delay": "1ms"}, "wire") as lab:
            (wire,) = wires(lab)
            os.kill(lab.pid, signal.SIGKILL)
            eventually(lambda: wire.pid not in running(), "the wire ends")

    def test_one_that_is_killed_is_started_anew_for_every_link_and_that_is_told(self) -> None:
        with up({"delay": "20ms"}, "wire") as lab:
            before = [each.what for each in lab.events]
            for killed in (1, 2):
                kill_wire(lab)
                await_events(lab, len(before) + killed)
                assert lab.events[-1].what.startswith("the wire's process was ended by SIGKILL, and was started anew")
                for back in (False, True):
                    delays = send(lab, 20, back=back).delays_ms
                    assert len(delays) == 20
                    assert min(delays) >= 19.8
            assert lab.impairment_faults() == {}
            lab.apply(link({"delay": "40ms"}))
            assert min(send(lab, 5).delays_ms) >= 39.8
            lab.apply(link(None))
            assert min(send(lab, 20).delays_ms) < 20

    def test_one_that_hangs_is_replaced_when_it_is_next_asked(self) -> None:
        with up({"delay": "1ms"}, "wire") as lab:
            (wire,) = wires(lab)
            os.kill(wire.pid, signal.SIGSTOP)
            lab.apply(link({"delay": "20ms"}))
            assert "the wire's process did not answer, and was started anew" in lab.events[-2].what
            assert min(send(lab, 10).delays_ms) >= 19.8

    def test_one_that_ends_again_and_again_is_given_up_and_the_links_that_carry_nothing_are_named(self) -> None:
        with up({"delay": "20ms"}, "wire") as lab:
            for killed in range(1, 6):
                kill_wire(lab)
                await_events(lab, killed)
            assert lab.events[-1].what.endswith("SIGKILL, 5 times in 10 s: impaired links carry nothing")
            assert send(lab, 5, patience=0.2).arrived == []
            said = "sends nothing: the wire's process was ended by SIGKILL, 5 times in 10 s"
            assert lab.impairment_faults() == {("a", "eth0"): said, ("b", "eth0"): said}
            assert {check.seen for check in lab.verify().failed if check.group == "links"} == {said}
            lab.reboot("a")  # starts it for all
            assert lab.impairment_faults() == {}
            for back in (False, True):
                assert min(send(lab, 5, back=back).delays_ms) >= 19.8

    def test_it_outlives_the_node_in_which_it_was_started(self) -> None:
        with up({"delay": "1ms"}, "wire") as lab:
            (wire,) = wires(lab)
            for node in ("a", "b"):
                with lab[node].popen(["sleep", "60"]) as sleeping:
                    (program,) = [each for each in descendants(lab.pid) if each.name == "sleep"]
                    assert os.readlink(f"/proc/{wire.pid}/ns/net") != os.readlink(f"/proc/{program.pid}/ns/net")
                    sleeping.kill()

    def test_its_tap_has_no_address_and_sends_nothing_by_itself(self) -> None:
        with up({"delay": "1ms"}, "wire") as lab:
            addresses = lab["a"].run(["ip", "-o", "address"], capture_output=True, text=True).stdout
            assert "wire" not in addresses

    @pytest.mark.skipif(os.getuid() != 0, reason="Debian's tcpdump changes its user, whose id a rootless lab may lack")
    def test_tcpdump_sees_packets_leave_with_right_checksums(self, tmp_path: Path) -> None:
        told = ["tcpdump", "-Z", "root", "-i", "eth0", "-nn", "-vv", "-c", "12", "-Q", "out", "tcp"]
        with (
            up({"delay": "5ms"}, "wire") as lab,
            lab["b"].socket() as listener,
            lab["a"].socket() as sender,
            (tmp_path / "told").open("w+") as output,
        ):
            with lab["a"].popen(told, stdout=output, stderr=output) as dump:
                eventually(lambda: "listening on" in (tmp_path / "told").read_text())
                listener.bind(("0.0.0.0", 5000))
                listener.listen()
                sender.connect(("10.0.0.2", 5000))
                sender.sendall(bytes(20_000))
                dump.wait(20)
            text = (tmp_path / "told").read_text()
        assert text.count("(correct)") == 12
        assert "incorrect" not in text
