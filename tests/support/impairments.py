"""Impairments of every kind, for tests that want any of them."""

from __future__ import annotations

from hypothesis import strategies as st

from wanlab.topology.impairment import Bursts, Distribution, Impairment, QueueUnit

PERCENTS = st.one_of(st.just(0.0), st.integers(1, 10**9).map(lambda n: n / 10**7))
WAYS = st.builds(
    Impairment,
    st.integers(100, 60_000).map(float),
    st.integers(1, 100_000).map(lambda n: n / 1000),
    st.sampled_from(Distribution),
    PERCENTS,
    st.none(),
    st.one_of(st.none(), st.integers(1000, 10**12)),
    st.none(),
    st.just(QueueUnit.PACKETS),
    PERCENTS,
    PERCENTS,
    PERCENTS,
    st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    st.booleans(),
) | st.builds(
    Impairment,
    rate_bps=st.integers(1000, 10**12),
    queue=st.integers(1, 10**6).map(float),
    queue_unit=st.sampled_from(QueueUnit),
    bursts=st.builds(Bursts, PERCENTS, PERCENTS, PERCENTS, PERCENTS),
)
