"""Bootstrap, bits per byte, multiple choice and line lengths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuti.measure import (
    binomial_interval,
    bits_difference,
    bits_per_byte,
    bits_per_byte_interval,
    cloze_accuracy,
    compare_cloze,
    couplets,
    line_range,
    mean_interval,
    paired_interval,
    ratio_interval,
    share_inside,
)
from tuti.measure.cloze import _guesses, _upper_tail
from tuti.run import UserError


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = mean_interval(values, draws=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.value == pytest.approx(values.mean()) and interval.n == 400
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval == mean_interval(values, draws=4000)
    assert interval != mean_interval(values, draws=4000, seed=1)


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
    ours = np.random.default_rng(0).normal(0, 100, 50)
    interval = paired_interval(ours + 1, ours)
    assert (interval.low, interval.high) == (pytest.approx(1), pytest.approx(1))
    assert mean_interval([7.0]).low == 7
    for empty in ([], [math.nan]):
        with pytest.raises(AssertionError):
            mean_interval(empty)


def test_bits_per_byte() -> None:
    assert bits_per_byte(8 * math.log(2) * 10, 10) == pytest.approx(8)
    nats, sizes = np.array([10.0, 30.0, 8.0]), np.array([10, 20, 9])
    interval = bits_per_byte_interval(nats, sizes)
    assert interval.value == pytest.approx(bits_per_byte(48.0, 39))
    assert interval.low < interval.value < interval.high
    bits = nats / math.log(2) + 0.08 * sizes
    difference = bits_difference(nats, bits, sizes)
    assert difference.low == pytest.approx(-0.08) == difference.high == difference.value


@given(n=st.integers(1, 60), data=st.data())
def test_binomial_interval_inverts_the_tails(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    interval = binomial_interval(hits, n)
    assert interval.low <= hits / n <= interval.high
    if hits:
        assert _upper_tail(hits, n, interval.low) == pytest.approx(0.025, abs=1e-9)
    if hits < n:
        below = sum(
            math.comb(n, k) * interval.high**k * (1 - interval.high) ** (n - k)
            for k in range(hits + 1)
        )
        assert below == pytest.approx(0.025, abs=1e-9)


def test_binomial_interval_equals_published_figures() -> None:
    # R: binom.test(7, 20)$conf.int
    interval = binomial_interval(7, 20)
    assert (interval.low, interval.high) == (
        pytest.approx(0.1539092, abs=1e-7),
        pytest.approx(0.5921885, abs=1e-7),
    )
    assert (binomial_interval(0, 0).low, binomial_interval(0, 0).high) == (0, 1)


@given(chances=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_guessing_is_every_outcome_summed(chances: list[float]) -> None:
    slow = [0.0] * (len(chances) + 1)
    for outcome in itertools.product([False, True], repeat=len(chances)):
        parts = [c if hit else 1 - c for c, hit in zip(chances, outcome, strict=True)]
        slow[sum(outcome)] += math.prod(parts)
    np.testing.assert_allclose(_guesses(np.array(chances)), slow, atol=1e-12)


def test_cloze_against_chance() -> None:
    good = cloze_accuracy([True] * 60 + [False] * 40, 4)
    assert good.accuracy.value == 0.6 and good.chance == 0.25 and good.above_chance
    assert good.p == pytest.approx(_upper_tail(60, 100, 0.25))
    guess = cloze_accuracy([True] * 25 + [False] * 75, 4)
    assert not guess.above_chance and guess.p > 0.4
    mixed = cloze_accuracy([True, False], [2, 4])
    assert mixed.chance == 0.375 and mixed.p == pytest.approx(1 - 0.5 * 0.75)
    assert cloze_accuracy([False] * 5, 4).p == 1


def test_paired_comparison_counts_what_one_alone_got_right() -> None:
    ours = [True] * 9 + [False] * 1 + [True] * 40
    theirs = [False] * 9 + [True] * 1 + [True] * 40
    paired = compare_cloze(ours, theirs)
    assert paired.p == pytest.approx(2 * 11 / 1024)
    assert paired.difference.value == pytest.approx(0.16) and paired.difference.low > 0
    assert compare_cloze(ours, ours).p == 1


def test_line_lengths() -> None:
    corpus = [
        "\n".join("x" * n for n in range(1, 51)),
        "\n\n" + "\n".join("x" * n for n in range(51, 101)),
    ]
    limits = line_range(corpus)
    assert (limits.low, limits.high, limits.lines) == (5, 95, 100)
    pairs = couplets("  aaaaa \n\nbbbbbb\r\ncccc\ndddddd\nodd")
    assert pairs == [("aaaaa", "bbbbbb"), ("cccc", "dddddd")]
    share = share_inside(pairs, limits)
    assert (share.value, share.n) == (0.5, 2) and share.low > 0
    assert share_inside([], limits).n == 0
    with pytest.raises(UserError):
        line_range([" \n"])
