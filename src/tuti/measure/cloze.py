"""Multiple choice against chance, with exact binomial arithmetic and no table of quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import LEVEL, Interval, paired_interval


@dataclass(frozen=True)
class Cloze:
    """accuracy with its exact interval; chance; p: how often guessing would do as well or better."""

    accuracy: Interval
    chance: float
    p: float

    @property
    def above_chance(self) -> bool:
        """The whole interval lies above what guessing gives."""
        return self.accuracy.low > self.chance


@dataclass(frozen=True)
class Paired:
    """difference: ours minus theirs, in accuracy. p: exact two-sided McNemar test."""

    difference: Interval
    p: float


def cloze_accuracy(right: Sequence[bool], choices: Sequence[int] | int) -> Cloze:
    """Accuracy over items, of which item i had choices[i] answers to choose from."""
    hits = np.asarray(right, np.bool_)
    n = len(hits)
    chances = 1 / np.broadcast_to(np.asarray(choices, np.float64), (n,))
    assert n > 0 and chances.max() <= 1
    guessed = _guesses(chances)
    p = min(1.0, float(guessed[int(hits.sum()) :].sum()))
    return Cloze(binomial_interval(int(hits.sum()), n), float(chances.mean()), p)


def compare_cloze(ours: Sequence[bool], theirs: Sequence[bool], *, seed: int = 0) -> Paired:
    """Two models on the same items: only those that one alone got right tell them apart."""
    first, second = np.asarray(ours, np.bool_), np.asarray(theirs, np.bool_)
    won, lost = int((first & ~second).sum()), int((second & ~first).sum())
    p = min(1.0, 2 * _upper_tail(max(won, lost), won + lost, 0.5))
    return Paired(paired_interval(first, second, seed=seed), p)


def binomial_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """hits / n with the exact interval of Clopper & Pearson (1934); n = 0 gives [0, 1]."""
    assert 0 <= hits <= n
    tail = (1 - level) / 2
    low = _root(lambda rate: _upper_tail(hits, n, rate) - tail) if hits else 0.0
    # P(X <= hits) = 1 - P(X > hits) falls to the tail from above.
    high = _root(lambda rate: _upper_tail(hits + 1, n, rate) - (1 - tail)) if hits < n else 1.0
    return Interval(hits / n if n else 0.0, low, high, n)


def _guesses(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(k right by guessing), k = 0 .. n, where each item has its own chance (Poisson binomial)."""
    ways = np.ones(1)
    for chance in chances:
        ways = np.convolve(ways, (1 - chance, chance))
    return ways


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
