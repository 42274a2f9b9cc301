"""When counts and delays are what chance would make of them: tests with a stated rate of false alarms.

Every judgement here is wrong about a right link once in `ALARM` times at the most, however busy the machine is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

ALARM = 1e-6
"""How often each of these judgements may be wrong."""

_SIGMAS = 5.0  # a normal variable is further out than this on either side with a chance of 6e-7


def plausible(count: int, of: int, chance: float) -> bool:
    """Whether *count* of *of* independent events with that chance is to be expected (exact binomial tails)."""
    if chance in (0.0, 1.0):
        return count == round(of * chance)
    below = sum(_binomial(k, of, chance) for k in range(count + 1))
    above = sum(_binomial(k, of, chance) for k in range(count, of + 1))
    return min(below, above) > ALARM / 2


def _binomial(k: int, n: int, p: float) -> float:
    logarithm = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(logarithm + k * math.log(p) + (n - k) * math.log1p(-p))


def distributed(seen: Sequence[float], share_below: Callable[[float], float], late: float) -> bool:
    """Whether values are distributed as *share_below* says, but that the machine may make each *late* at most.

    By the Dvoretzky-Kiefer-Wolfowitz inequality: the share of *n* values below x is off by e with a chance of
    2 exp(-2 n e^2) at most.
    """
    n = len(seen)
    off = math.sqrt(math.log(2 / ALARM) / (2 * n))
    return all(
        share_below(value - late) - off <= number / n and (number - 1) / n <= share_below(value) + off
        for number, value in enumerate(sorted(seen), 1)
    )


def near(seen: float, mean: float, deviation: float) -> bool:
    """Whether a mean of many is as far from what is expected as its standard deviation lets it be."""
    return abs(seen - mean) <= _SIGMAS * deviation
