"""Figures with intervals: ratios by the bootstrap, shares by Wilson's, bits per byte, pass@k."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

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

    A percentile interval (Efron 1979), seeded: the same values give the same one. The difference of two
    ratios over the same items, such as two models' bits per byte on the same documents, is
    ratio_interval(ours - theirs, bytes).
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


def binomial_interval(hits: float, n: int) -> Interval:
    """hits / n with the interval of Wilson (1927), from halves of hits, too; n = 0 gives [0, 1].

    Its ends are the rates p from which hits / n is z deviations √(p (1 − p) / n) away.
    """
    assert 0 <= hits <= n
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    z, share = NormalDist().inv_cdf((1 + LEVEL) / 2), hits / n
    half = z * math.sqrt(share * (1 - share) / n + (z / n / 2) ** 2)
    low, high = ((share + z * z / n / 2 + end) / (1 + z * z / n) for end in (-half, half))
    return Interval(share, min(max(0.0, low), share), max(min(1.0, high), share), n)  # of 0 hits, 0 exactly


def bits_per_byte(nats: float, bytes_scored: int) -> float:
    """nats / (bytes ln 2): summed negative log-likelihood over the UTF-8 bytes that it covers.

    The loss of any model of text, whatever its tokens, on one scale.
    """
    assert bytes_scored > 0, bytes_scored
    return nats / (bytes_scored * math.log(2))


def pass_at_k(n: int, right: int, k: int) -> float:
    """How often one of k programs is right, estimated from n ≥ k of a problem (Chen et al. 2021).

    1 - C(n - right, k) / C(n, k), equation 1, as a product, so that no factorial overflows.
    """
    assert 0 <= right <= n and 1 <= k <= n, (n, right, k)
    return 1 - math.prod(1 - k / i for i in range(n - right + 1, n + 1)) if n - right >= k else 1.0


def pass_at_k_interval(right: Sequence[int], n: int, k: int) -> Interval:
    """The mean over problems; its interval is of problems drawn anew, Wilson's where each is 0 or 1."""
    values = [pass_at_k(n, count, k) for count in right]
    if all(value in (0, 1) for value in values):
        return binomial_interval(int(sum(values)), len(values))
    return ratio_interval(values, [1.0] * len(values))
