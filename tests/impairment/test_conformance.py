"""What links do to packets is what was asked for, by either means: measured from packets that went over them.

How often each judgement may be wrong about a right link is said in `statistics.ALARM`. A busy machine makes packets
late, and never early: what is said of delays minds that.
"""

from __future__ import annotations

import hashlib
import math
import socket
import threading
from statistics import NormalDist, median

import pytest

from tests.impairment.link import send, up
from tests.impairment.statistics import distributed, near, plausible

LATE_MS = 60.0
"""How late a packet may be on a machine that does much else."""
EARLY_MS = 0.2
"""The clock of the sender is read a moment before it sends; that of the kernel steps now and then."""


def test_every_packet_has_the_delay_and_none_is_lost(means: str) -> None:
    with up({"delay": "50ms"}, means) as lab:
        there = send(lab, 300, gap=0.002)
        back = send(lab, 300, gap=0.002, back=True)
    for packets in (there, back):
        assert sorted(packets.numbers) == list(range(300))
        assert packets.numbers == sorted(packets.numbers)
        assert min(packets.delays_ms) >= 50 - EARLY_MS
        assert median(packets.delays_ms) <= 50 + LATE_MS


def test_each_direction_is_impaired_on_its_own(means: str) -> None:
    with up({"up": {"delay": "40ms"}, "down": {"loss": "100%"}}, means) as lab:
        assert min(send(lab, 20).delays_ms) >= 40 - EARLY_MS
        assert send(lab, 20, back=True).arrived == []
    with up({"up": {"delay": "40ms"}}, means) as lab:
        assert median(send(lab, 200, gap=0.001, back=True).delays_ms) <= LATE_MS / 2


def uniform(x: float) -> float:
    return min(1.0, max(0.0, (x - 200) / 200))


def pareto(x: float) -> float:
    """Mean 300 ms, standard deviation 100 ms, shape 3."""
    scaled = (x - 300) / 100 * 0.75**0.5 + 1.5
    return 1 - scaled**-3 if scaled > 1 else 0.0


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_delays_are_distributed_as_asked_for(means: str, distribution: str) -> None:
    share_below = {"uniform": uniform, "normal": NormalDist(300, 100).cdf, "pareto": pareto}[distribution]
    said = {"delay": "300ms", "jitter": "100ms", "distribution": distribution}
    with up({"up": said}, means) as lab:
        packets = send(lab, 600, gap=0.002)
    assert sorted(packets.numbers) == list(range(600))
    # Tables have steps of a thousandth, and the pareto's end at four jitters, which makes the others a little later.
    assert distributed([delay + EARLY_MS for delay in packets.delays_ms], share_below, LATE_MS)


def test_loss_is_as_frequent_as_asked_for(means: str) -> None:
    with up({"up": {"loss": "10%"}}, means) as lab:
        arrived = send(lab, 4000, gap=0.0002).numbers
        assert arrived == sorted(arrived)
        assert plausible(4000 - len(arrived), 4000, 0.1)
        assert send(lab, 500, gap=0.0002, back=True).numbers == list(range(500))


def test_losses_come_in_bursts_of_the_length_asked_for(means: str) -> None:
    p, r, count = 0.05, 0.25, 5000
    with up({"up": {"gemodel": {"p": "5%", "r": "25%"}}}, means) as lab:
        arrived = set(send(lab, count, gap=0.0002).numbers)
    lost = [number not in arrived for number in range(count)]
    share = p / (p + r)
    memory = 1 - p - r  # how much of one packet's state is left at the next: the variance of the mean grows by that
    deviation = math.sqrt(share * (1 - share) / count * (1 + memory) / (1 - memory))
    assert near(sum(lost) / count, share, deviation)
    bursts = sum(1 for before, now in zip([False, *lost], lost, strict=False) if now and not before)
    assert near(sum(lost) / bursts, 1 / r, math.sqrt(1 - r) / r / math.sqrt(bursts))


def test_the_rate_is_kept(means: str) -> None:
    with up({"up": {"rate": "4mbit"}}, means) as lab:
        packets = send(lab, 400, size=1000)
    assert packets.numbers == list(range(400))
    took = packets.arrived[-1][1] - packets.arrived[0][1]
    exactly = 399 * 1000 * 8 / 4_000_000
    assert 0.97 * exactly <= took <= exactly + 4 * LATE_MS / 1000


def test_a_queue_holds_what_was_asked_for_and_no_more(means: str) -> None:
    with up({"up": {"rate": "1mbit", "queue": 20}}, means) as lab:
        packets = send(lab, 100, size=1514, patience=2.0)
    arrived = packets.numbers
    # One more than waits is being sent, and while the burst comes in, some leave.
    left = (packets.sent[-1] - packets.sent[0]) / (1514 * 8 / 1_000_000)
    assert 20 <= len(arrived) <= 23 + left
    assert arrived[:20] == list(range(20))


def test_nothing_is_dropped_where_no_queue_was_asked_for(means: str) -> None:
    # More than netem's default limit of 1000, and so slow that the receiver's buffer, which holds 555 of these, bears
    # that nobody reads for most of a second: at 4mbit a busy machine lost hundreds there, and none in the queue.
    with up({"up": {"rate": "500kbit", "delay": "200ms"}}, means) as lab:
        assert send(lab, 1200, size=100).numbers == list(range(1200))


def test_a_rate_keeps_packets_in_their_order(means: str) -> None:
    with up({"up": {"rate": "2mbit", "delay": "30ms", "jitter": "20ms"}}, means) as lab:
        assert send(lab, 300, gap=0.001).numbers == list(range(300))


def test_packets_arrive_twice_as_often_as_asked_for(means: str) -> None:
    with up({"up": {"duplicate": "20%"}}, means) as lab:
        numbers = send(lab, 2000, gap=0.0002).numbers
    assert set(numbers) == set(range(2000))
    assert plausible(len(numbers) - 2000, 2000, 0.2)
    assert max(numbers.count(number) for number in range(0, 2000, 7)) <= 2


def test_packets_overtake_as_often_as_asked_for(means: str) -> None:
    with up({"up": {"delay": "300ms", "reorder": "25%"}}, means) as lab:
        packets = send(lab, 1000, gap=0.001)
    assert sorted(packets.numbers) == list(range(1000))
    at_once = sum(delay < 300 - EARLY_MS for delay in packets.delays_ms)
    assert plausible(at_once, 1000, 0.25)
    assert packets.numbers != sorted(packets.numbers)


def test_one_bit_of_a_packet_is_turned_round_as_often_as_asked_for(means: str) -> None:
    everything, count, length = 0x0003, 600, 1400
    payload = bytes(range(256)) * 6
    with (
        up({"up": {"corrupt": "20%"}}, means) as lab,
        lab["b"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything)) as tap,
        lab["a"].socket(type=socket.SOCK_DGRAM) as sender,
    ):
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        tap.settimeout(1.0)
        frames: list[bytes] = []
        for _ in range(count // 100):
            for _ in range(100):
                sender.sendto(payload[:length], ("10.0.0.2", 9))
            frames += read_all(tap, 14 + 20 + 8 + length)
    assert len(frames) == count
    wrong = [sum((a ^ b).bit_count() for a, b in zip(f[-length:], payload, strict=False)) for f in frames]
    assert set(wrong) == {0, 1}
    assert plausible(sum(wrong), count, 0.2 * length / (14 + 20 + 8 + length))


def read_all(tap: socket.socket, length: int) -> list[bytes]:
    """The frames of that length that came in, until none has for a second."""
    found: list[bytes] = []
    while True:
        try:
            frame, where = tap.recvfrom(2048)
        except TimeoutError:
            return found
        if len(frame) == length and where[2] != socket.PACKET_OUTGOING:
            found.append(frame)


def test_who_the_neighbour_is_can_be_found_out_over_a_link_that_loses_everything(means: str) -> None:
    neighbours = ["ip", "-4", "neighbour", "show", "to", "10.0.0.2"]
    ping = ["ping", "-c1", "-W1", "10.0.0.2"]
    with up({"loss": "100%"}, means) as lab:
        assert lab["a"].run(ping, capture_output=True).returncode == 1
        assert "lladdr" in lab["a"].run(neighbours, capture_output=True, text=True).stdout
    with up({"loss": "100%", "hit_arp": True}, means) as lab:
        assert lab["a"].run(ping, capture_output=True).returncode == 1
        assert "lladdr" not in lab["a"].run(neighbours, capture_output=True, text=True).stdout


def send_all(sender: socket.socket, data: bytes) -> None:
    sender.sendall(data)
    sender.shutdown(socket.SHUT_WR)


def test_tcp_gets_through_whole(means: str) -> None:
    data = bytes(range(256)) * 4096
    said = {"delay": "3ms", "jitter": "1ms", "loss": "1%", "duplicate": "1%", "corrupt": "1%"}
    with up(said, means) as lab, lab["b"].socket() as listener, lab["a"].socket() as sender:
        listener.bind(("0.0.0.0", 5000))
        listener.listen()
        sender.settimeout(60)
        sender.connect(("10.0.0.2", 5000))
        receiver, _ = listener.accept()
        with receiver:
            receiver.settimeout(60)
            sending = threading.Thread(target=send_all, args=(sender, data))
            sending.start()
            received = hashlib.sha256()
            while part := receiver.recv(1 << 16):
                received.update(part)
            sending.join()
    assert received.digest() == hashlib.sha256(data).digest()


def test_tcp_is_impaired_packet_by_packet(means: str) -> None:
    """TCP hands down pieces of up to 64 KiB; what loses, delays and counts has to see packets."""
    everything = 0x0003
    with (
        up({"up": {"rate": "20mbit"}}, means) as lab,
        lab["b"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything)) as tap,
        lab["b"].socket() as listener,
        lab["a"].socket() as sender,
    ):
        tap.settimeout(1.0)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        listener.bind(("0.0.0.0", 5000))
        listener.listen()
        sender.connect(("10.0.0.2", 5000))
        receiver, _ = listener.accept()
        with receiver:
            sender.sendall(bytes(80_000))  # fits into what the receiver may hold
            sizes = []
            while True:
                try:
                    frame, _, _, where = tap.recvmsg(70_000)[:4]
                except TimeoutError:
                    break
                if where[2] != socket.PACKET_OUTGOING:
                    sizes.append(len(frame))
    assert max(sizes) == 1514
    assert sizes.count(1514) >= 50


@pytest.mark.parametrize("mtu", [576, 9000])
def test_packets_of_any_mtu_pass(means: str, mtu: int) -> None:
    with up({"delay": "1ms"}, means, mtu=mtu) as lab:
        ping = ["ping", "-c1", "-W5", "-M", "do", "-s", str(mtu - 28), "10.0.0.2"]
        assert lab["a"].run(ping, capture_output=True).returncode == 0
