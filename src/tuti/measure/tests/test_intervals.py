"""Bootstrap, bits per byte and shares."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuti.measure import (
    binomial_interval,
    bits_per_byte,
    ratio_interval,
)


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    ones = np.ones(400)
    interval = ratio_interval(values, ones, draws=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.value == pytest.approx(values.mean()) and interval.n == 400
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval == ratio_interval(values, ones, draws=4000)
    assert interval != ratio_interval(values, ones, draws=4000, seed=1)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        below = rng.integers(50, 150, 60)
        above = 2.0 * below + rng.normal(0, 20, 60)
        interval = ratio_interval(above, below, draws=500, seed=trial)
        covered += interval.low <= 2 <= interval.high
    assert 175 <= covered <= 199


def test_pairs_are_resampled_together() -> None:
    below = np.random.default_rng(0).integers(1, 100, 50)
    interval = ratio_interval(2 * below, below)
    assert (interval.low, interval.high) == (pytest.approx(2), pytest.approx(2))
    assert ratio_interval([7.0], [1]).low == 7
    for empty in ([], [math.nan]):
        with pytest.raises(AssertionError):
            ratio_interval(empty, [1] * len(empty))


def test_bits_per_byte() -> None:
    assert bits_per_byte(8 * math.log(2) * 10, 10) == pytest.approx(8)
    nats, sizes = np.array([10.0, 30.0, 8.0]), np.array([10, 20, 9])
    interval = ratio_interval(nats / math.log(2), sizes)
    assert interval.value == pytest.approx(bits_per_byte(48.0, 39))
    assert interval.low < interval.value < interval.high
    bits = nats / math.log(2) + 0.08 * sizes
    difference = ratio_interval(nats / math.log(2) - bits, sizes)
    assert difference.low == pytest.approx(-0.08) == difference.high == difference.value


@given(n=st.integers(1, 10**6), data=st.data())
def test_binomial_interval_ends_where_hits_are_1_96_deviations_away(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, 2 * n)) / 2
    interval = binomial_interval(hits, n)
    assert 0 <= interval.low <= hits / n <= interval.high <= 1
    for end, there in ((interval.low, hits > 0), (interval.high, hits < n)):
        if there:
            away = abs(hits / n - end) / math.sqrt(end * (1 - end) / n)
            assert away == pytest.approx(1.959963985, rel=1e-5)


def test_binomial_interval_equals_published_figures() -> None:
    # Newcombe 1998, table I: the method of Wilson without correction
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        interval = binomial_interval(hits, n)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert (binomial_interval(0, 0).low, binomial_interval(0, 0).high) == (0, 1)
