"""The share of successes, with exact binomial arithmetic and no table of quantiles."""

import math
from collections.abc import Callable

from .bootstrap import LEVEL, Interval


def binomial_interval(hits: int, n: int) -> Interval:
    """hits / n with the exact interval of Clopper & Pearson (1934); n = 0 gives [0, 1]."""
    assert 0 <= hits <= n
    tail = (1 - LEVEL) / 2
    low = _root(lambda rate: _upper_tail(hits, n, rate) - tail) if hits else 0.0
    # P(X <= hits) = 1 - P(X > hits) falls to the tail from above.
    high = _root(lambda rate: _upper_tail(hits + 1, n, rate) - (1 - tail)) if hits < n else 1.0
    return Interval(hits / n if n else 0.0, low, high, n)


def _upper_tail(hits: int, n: int, rate: float) -> float:
    """P(X >= hits) for X ~ Binomial(n, rate)."""
    if hits <= 0:
        return 1.0
    if hits > n or rate <= 0.0:
        return 0.0
    if rate >= 1.0:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(rate) + (n - k) * math.log1p(-rate)
        for k in range(hits, n + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of a rate in [0, 1] crosses 0, by bisection to the last bit."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
