"""Percentile bootstrap intervals (Efron 1979), seeded: the same values give the same interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2_000
LEVEL = 0.95
# Indices drawn at once: 32 MB, whatever the number of values.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A figure, the ends of its interval, and the number of values that it was made from."""

    value: float
    low: float
    high: float
    n: int


def ratio_interval(above: ArrayLike, below: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """sum(above) / sum(below), the items resampled with both their numbers; below is positive.

    The difference of two ratios over the same items, such as two models' bits per byte on the
    same documents, is ratio_interval(ours - theirs, bytes).
    """
    top, bottom = _numbers(above), _numbers(below)
    n = len(top)
    assert n == len(bottom) > 0, (n, len(bottom))
    assert bottom.min() > 0, "an item with nothing below the line cannot be resampled"
    rng = np.random.default_rng(seed)
    figures = np.empty(draws)
    step = max(1, _BLOCK // n)
    for at in range(0, draws, step):
        rows = min(step, draws - at)
        chosen = rng.integers(0, n, size=(rows, n))
        figures[at : at + rows] = top[chosen].sum(axis=1) / bottom[chosen].sum(axis=1)
    low, high = (float(q) for q in np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Interval(float(top.sum() / bottom.sum()), low, high, n)


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    assert numbers.ndim == 1 and np.isfinite(numbers).all(), "one row of finite numbers"
    return numbers
