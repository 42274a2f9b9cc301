"""How delays lie around their middle: tables that netem and the wire draw from alike.

A table has the values of a distribution in equal shares, in units of jitter / 8192, of 16 bits: netem's format
(net/sched/sch_netem.c, `tabledist`). What lies further out than four jitters is drawn in to there.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

from wanlab.topology.impairment import Distribution

SCALE = 8192  # NETEM_DIST_SCALE
_REACH = 4 * SCALE - 1
_ENTRIES = 1024
_SHAPE = 3.0  # of the Pareto distribution, as netem's own table has it: a tail that has a mean and a variance
_STRIDE = 389  # coprime to _ENTRIES, and far from both its ends: pairs values of two tables as if by chance


@functools.cache
def table(distribution: Distribution) -> tuple[int, ...]:
    """The values, in no particular order."""
    values = _VALUES[distribution]()
    scaled = [max(-_REACH, min(_REACH, value * SCALE)) for value in values]
    middle = sum(scaled) / _ENTRIES  # drawing in the tail has moved it
    return tuple(max(-_REACH, min(_REACH, round(value - middle))) for value in scaled)


def packed(distribution: Distribution) -> bytes:
    """The table as netem takes it."""
    return struct.pack(f"={_ENTRIES}h", *table(distribution))


def _shares() -> list[float]:
    return [(number + 0.5) / _ENTRIES for number in range(_ENTRIES)]


def _normal() -> list[float]:
    from statistics import NormalDist  # takes longer to import than a small lab takes to come up

    inverse = NormalDist().inv_cdf
    return [inverse(share) for share in _shares()]


def _pareto() -> list[float]:
    """With mean 0 and standard deviation 1."""
    mean = _SHAPE / (_SHAPE - 1)
    deviation = (_SHAPE / ((_SHAPE - 1) ** 2 * (_SHAPE - 2))) ** 0.5
    return [(share ** (-1 / _SHAPE) - mean) / deviation for share in _shares()]


def _paretonormal() -> list[float]:
    pareto = _pareto()
    return [0.25 * value + 0.75 * pareto[number * _STRIDE % _ENTRIES] for number, value in enumerate(_normal())]


_VALUES: dict[Distribution, Callable[[], list[float]]] = {
    Distribution.UNIFORM: lambda: [2 * share - 1 for share in _shares()],
    Distribution.NORMAL: _normal,
    Distribution.PARETO: _pareto,
    Distribution.PARETONORMAL: _paretonormal,
}
