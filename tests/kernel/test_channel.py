"""The wire's decisions, without a wire: packets in, and when they leave."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.impairments import WAYS
from wanlab.kernel import delays
from wanlab.kernel.channel import Channel
from wanlab.topology.impairment import Distribution, Impairment

MS = 1_000_000


def channel(limit: int = 10**6, **said: object) -> Channel:
    return Channel(Impairment(**said), limit)  # type: ignore[arg-type]


def test_a_clean_channel_lets_packets_leave_at_once() -> None:
    assert channel().arrive(5, b"frame") == [(5, b"frame")]


def test_a_delay_is_added() -> None:
    assert channel(delay_ms=20.5).arrive(5, b"frame") == [(5 + 20_500_000, b"frame")]


def test_packets_leave_as_far_apart_as_the_rate_has_it() -> None:
    each = channel(rate_bps=1_000_000)
    leaving = [each.arrive(0, bytes(125))[0][0] for _ in range(3)]
    assert leaving == [1 * MS, 2 * MS, 3 * MS]
    assert each.arrive(10 * MS, bytes(125))[0][0] == 11 * MS


def test_what_does_not_fit_is_dropped_until_something_has_left() -> None:
    each = channel(limit=2, rate_bps=1_000_000)
    assert [len(each.arrive(0, bytes(125))) for _ in range(3)] == [1, 1, 0]
    each.held -= 1
    assert len(each.arrive(0, bytes(125))) == 1
    assert each.tally.overflowed == 1


@given(way=WAYS, gaps=st.lists(st.integers(0, 10 * MS), max_size=50))
def test_nothing_leaves_before_it_came_and_everything_is_accounted_for(way: Impairment, gaps: list[int]) -> None:
    each = Channel(replace(way, seed=1), 20)
    now, left = 0, 0
    for gap in gaps:
        now += gap
        for due, frame in each.arrive(now, bytes(60)):
            left += 1
            assert due >= now
            assert len(frame) == 60
    tally = each.tally
    assert tally.packets == len(gaps)
    assert tally.packets + tally.duplicated == left + tally.lost + tally.overflowed
    assert each.held == left


@given(way=WAYS, count=st.integers(0, 60))
def test_the_same_seed_and_packets_have_the_same_fate(way: Impairment, count: int) -> None:
    def fate(also: Impairment) -> list[list[tuple[int, bytes]]]:
        each = Channel(also, 10**6)
        return [each.arrive(number, bytes([number])) for number in range(count)]

    seeded = replace(way, seed=3)
    assert fate(seeded) == fate(seeded)


def test_what_else_a_link_does_does_not_change_what_it_loses() -> None:
    def lost(**also: float) -> list[bool]:
        each = Channel(replace(Impairment(loss_percent=30, seed=1), **also), 10**6)  # type: ignore[arg-type]
        return [not each.arrive(0, b"frame") for _ in range(200)]

    assert lost() == lost(delay_ms=5, jitter_ms=2, corrupt_percent=50)
    assert 20 < sum(lost()) < 100


def test_one_bit_is_turned_round() -> None:
    each = channel(corrupt_percent=100)
    for _ in range(100):
        (_, frame) = each.arrive(0, bytes(64))[0]
        assert sum(byte.bit_count() for byte in frame) == 1


def test_another_quality_keeps_the_order_of_what_waits() -> None:
    each = channel(rate_bps=1_000_000)
    for _ in range(10):
        each.arrive(0, bytes(125))
    each.impair(Impairment(rate_bps=2_000_000), 100)
    assert each.arrive(0, bytes(125))[0][0] == 10.5 * MS


@pytest.mark.parametrize("distribution", Distribution)
def test_tables_have_the_mean_and_the_deviation_of_their_distribution(distribution: Distribution) -> None:
    values = [value / delays.SCALE for value in delays.table(distribution)]
    deviation = {Distribution.UNIFORM: 3**-0.5, Distribution.PARETONORMAL: (0.25**2 + 0.75**2) ** 0.5}
    assert abs(mean(values)) < 0.01
    # Pareto's tail beyond four jitters holds a good part of its variance.
    assert 0.7 < pstdev(values) / deviation.get(distribution, 1.0) < 1.05
    assert all(-4 <= value <= 4 for value in values)
    assert len(delays.packed(distribution)) == 2 * len(values)
