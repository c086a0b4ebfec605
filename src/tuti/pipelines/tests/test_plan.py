"""The arithmetic of the plan: sizes that fit the corpus and the minutes, and a forecast that makes sense."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuti.nn import Decoder, DecoderConfig, save_decoder
from tuti.pipelines import plan
from tuti.pipelines.plan import (
    LADDER,
    Candidate,
    budget,
    bytes_per_token,
    expected_bits,
    race,
    shape,
    vocabulary,
)
from tuti.run import UserError
from tuti.train import Optimiser


@given(st.integers(0, 10**12))
def test_the_vocabulary_is_a_power_of_two_that_the_corpus_can_teach(size: int) -> None:
    entries = vocabulary(size)
    assert 1024 <= entries <= 16384 and entries & (entries - 1) == 0
    assert entries <= vocabulary(2 * size)
    if 1024 < entries < 16384:
        assert 6000 / 2 <= size / entries <= 6000 * 2


@pytest.mark.parametrize(("width", "layers"), LADDER)
def test_every_rung_is_a_decoder_of_the_size_it_says(width: int, layers: int) -> None:
    config = shape(width, layers, 512)
    assert config.head_dim * config.heads == width and config.head_dim >= 32
    if width <= 192:
        assert config.parameters == sum(p.numel() for p in Decoder(config).parameters())


@given(st.floats(1e5, 1e9), st.floats(1e4, 1e9), st.floats(1e4, 1e9))
def test_more_of_anything_promises_fewer_bits(parameters: float, tokens: float, corpus: float) -> None:
    bits = expected_bits(parameters, tokens, corpus)
    assert 1 < bits and expected_bits(2 * parameters, tokens, corpus) < bits
    assert expected_bits(parameters, 2 * tokens, corpus) <= bits
    # A second reading never promises more than as much text again.
    assert expected_bits(parameters, tokens, 2 * corpus) <= bits + 1e-12


def test_tokens_cover_more_bytes_where_there_are_more_of_them() -> None:
    """Measured on the demo's corpus: 1.89, 2.37, 2.77 and 3.13 bytes."""
    for vocab, measured in ((512, 1.89), (1024, 2.37), (2048, 2.77), (4096, 3.13)):
        assert bytes_per_token(vocab) == pytest.approx(measured, abs=0.07)


def test_the_minutes_are_spent_once() -> None:
    seconds, left = budget(5_600_000, 10, 0.17)
    assert sum(seconds.values()) + left == pytest.approx(plan.AIM * 600)
    assert left > 400
    # A slower machine measures more slowly too.
    assert budget(5_600_000, 10, 0.34)[1] < left - 30


def test_minutes_that_leave_nothing_are_refused_with_some_that_do() -> None:
    with pytest.raises(UserError, match="leave nothing to train in") as caught:
        budget(400_000_000, 1, 0.17)
    minutes = float(caught.value.hint.removeprefix("--minutes "))
    assert budget(400_000_000, minutes, 0.17)[1] >= 5


def updates_take(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[DecoderConfig], float]
) -> list[list[int]]:
    """Replaces the stopwatch alone; returns the widths that race, as they race."""
    raced: list[list[int]] = []

    def race(candidates: Sequence[Candidate], rows: int, device: str) -> list[float]:
        raced.append([candidate.config.width for candidate in candidates])
        return [seconds(candidate.config) for candidate in candidates]

    monkeypatch.setattr(plan, "race", race)
    return raced


def test_a_processor_takes_the_smallest_and_times_no_more_than_it_must(monkeypatch) -> None:
    raced = updates_take(monkeypatch, lambda config: config.flops_per_token(256) * 2.5e-8)
    made, forecast = plan.make_plan(5_600_000, 10, "cpu")
    assert (made.width, made.layers) == LADDER[0] and raced == [[128, 128], [128, 192]]
    assert forecast.precision == "fp32"  # bf16 took as long
    assert made.steps == pytest.approx(budget(5_600_000, 10, 0.15)[1] / 0.15, rel=0.01)


def test_a_device_whose_updates_all_take_as_long_gets_the_largest(monkeypatch) -> None:
    raced = updates_take(monkeypatch, lambda config: 0.02)
    made, forecast = plan.make_plan(5_600_000, 10, "cuda")
    assert (made.width, made.layers) == LADDER[-1] and len(raced) == len(LADDER)
    assert forecast.precision == "bf16"
    assert made.steps * 0.02 == pytest.approx(forecast.seconds["pretrain"], abs=0.02)


def test_few_minutes_are_refused_by_what_the_smallest_model_needs(monkeypatch) -> None:
    """No rung is climbed to whose updates do not fit: all would then look equally taught."""
    raced = updates_take(monkeypatch, lambda config: config.flops_per_token(256) * 2.5e-8)
    with pytest.raises(UserError, match=r"0\.2 minutes leave nothing") as caught:
        plan.make_plan(1_600_000, 0.2, "cpu")
    assert len(raced) == 1 and float(caught.value.hint.removeprefix("--minutes ")) <= 4
    updates_take(monkeypatch, lambda config: config.flops_per_token(256) * 1e-7)
    made, forecast = plan.make_plan(1_600_000, 3.2, "cpu")
    assert 5 < forecast.seconds["pretrain"] < plan.LEAST * 0.6  # fewer would fit
    assert (made.width, made.steps) == (128, plan.LEAST)


def test_those_who_race_take_turns(monkeypatch) -> None:
    """The stopwatch is scripted: a slow spell falls on all alike, the first update warms up only."""
    turns: list[str] = []
    spell = {3: 4.0, 4: 4.0}

    def updates(candidate: Candidate, rows: int, device: str) -> Iterator[float]:
        for number in count():
            turns.append(candidate.precision)
            own = 0.3 if candidate.precision == "bf16" else 0.6
            yield 9.0 if number == 0 else own * spell.get(number, 1.0)

    monkeypatch.setattr(plan, "_updates", updates)
    small = shape(32, 1, 300)
    quick, slow = race([Candidate(small, "bf16"), Candidate(small, "fp32")], 2, "cpu")
    assert turns == ["bf16", "fp32"] * (len(turns) // 2) and len(turns) >= 8
    assert slow == pytest.approx(2 * quick)


def test_real_updates_are_timed() -> None:
    """Nothing is scripted: all that can be said of one machine's moment is that time passes."""
    (seconds,) = race([Candidate(shape(32, 1, 300), "fp32")], 2, "cpu")
    assert 0 < seconds < 60


def test_a_base_model_is_timed_as_it_will_be_trained(monkeypatch, tmp_path: Path) -> None:
    """Adapters alone, in both precisions; measuring counts in updates of that kind."""
    save_decoder(Decoder(shape(64, 2, 300)), tmp_path)
    raced: list[Candidate] = []

    def race(candidates: Sequence[Candidate], rows: int, device: str) -> list[float]:
        raced.extend(candidates)
        assert rows == 2
        return [2.0, 3.0]

    monkeypatch.setattr(plan, "race", race)
    made, forecast = plan.make_base_plan(tmp_path, 700_000, 5, "cpu")
    assert [(one.precision, one.adapters) for one in raced] == [("bf16", True), ("fp32", True)]
    assert forecast.precision == "bf16"
    assert forecast.seconds["measuring"] == 2.0 * plan.BASE_MEASURING
    assert made.steps == int(forecast.seconds["adapt"] / 2.0) > 5
    assert sum(forecast.seconds.values()) == pytest.approx(plan.AIM * 300)


def test_an_update_of_adapters_leaves_the_other_weights_alone(monkeypatch) -> None:
    trained: list[list[str]] = []

    class Watched(Optimiser):
        def step(self, multiplier: float) -> float:
            trained.append(list(self.masters))
            return super().step(multiplier)

    monkeypatch.setattr(plan, "Optimiser", Watched)
    small = shape(32, 1, 300)
    next(plan._updates(Candidate(small, "fp32", adapters=True), 2, "cpu"))
    next(plan._updates(Candidate(small, "fp32"), 2, "cpu"))
    adapters, everything = trained
    assert adapters and not set(adapters) & set(everything)
    assert len(everything) == len(list(Decoder(small).parameters()))
