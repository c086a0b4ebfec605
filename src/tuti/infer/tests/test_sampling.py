"""min-p and penalties against transformers' processors, and against their definitions."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor

from tuti.infer import Sampling, sample
from tuti.run import UserError

GRID = 2000


class Fixed(random.Random):
    def __init__(self, u: float) -> None:
        self.u = u

    def random(self) -> float:
        return self.u


def drawn(logits: torch.Tensor, rule: Sampling, ids: list[int], prompt: int) -> torch.Tensor:
    """How often each token is drawn when u goes through [0, 1): its probability, ± 1 / GRID."""
    counts = torch.zeros(len(logits), dtype=torch.float64)
    for k in range(GRID):
        counts[sample(logits[None], [rule], [Fixed((k + 0.5) / GRID)], [(ids, prompt)])[0]] += 1
    return counts / GRID


@pytest.mark.parametrize("seed", range(4))
def test_draws_are_those_of_transformers_processors(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, generator=source) * 2
    ids = torch.randint(0, 12, (7,), generator=source)
    rule = Sampling(temperature=0.7, min_p=0.15, repetition_penalty=1.4)
    scores = RepetitionPenaltyLogitsProcessor(1.4)(ids[None], logits[None].clone())
    wanted = MinPLogitsWarper(0.15)(ids[None], scores / 0.7)[0].softmax(-1)
    found = drawn(logits, rule, ids.tolist(), prompt=3)
    assert bool(((found > 0) == (wanted > 0)).all())
    torch.testing.assert_close(found, wanted.double(), atol=1.01 / GRID, rtol=0)


@given(
    st.lists(st.floats(-4, 4), min_size=6, max_size=6),
    st.lists(st.integers(0, 5), min_size=1, max_size=9),
    st.floats(0.5, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_penalties_follow_their_definitions(
    scores: list[float], ids: list[int], repetition: float, frequency: float, presence: float
) -> None:
    """Token by token; the greedy choice is the best of what that gives. OpenAI's two see the answer alone."""
    prompt = len(ids) // 2
    rule = Sampling(
        temperature=0,
        repetition_penalty=repetition,
        frequency_penalty=frequency,
        presence_penalty=presence,
    )
    wanted = list(scores)
    for i, score in enumerate(scores):
        if i in ids:
            wanted[i] = score / repetition if score > 0 else score * repetition
        wanted[i] -= frequency * ids[prompt:].count(i) + presence * (i in ids[prompt:])
    chosen = sample(torch.tensor([scores], dtype=torch.float64), [rule], [Fixed(0)], [(ids, prompt)])[0]
    assert wanted[chosen] == pytest.approx(max(wanted), abs=1e-9)


@given(
    st.lists(st.floats(-6, 6), min_size=2, max_size=12),
    st.floats(0, 1),
    st.sampled_from([(1.0, 0), (0.8, 0), (1.0, 3)]),
    st.floats(0, 1, exclude_max=True),
)
def test_min_p_keeps_what_is_near_the_best(
    scores: list[float], min_p: float, other: tuple[float, int], u: float
) -> None:
    p = torch.tensor(scores, dtype=torch.float64).softmax(-1)
    rule = Sampling(min_p=min_p, top_p=other[0], top_k=other[1])
    chosen = sample(torch.tensor([scores], dtype=torch.float64), [rule], [Fixed(u)])[0]
    assert float(p[chosen]) >= min_p * float(p.max()) * (1 - 1e-9)


def test_what_has_no_probability_is_never_drawn() -> None:
    """At the very end of [0, 1) too, where rounding leads beyond the last possible token."""
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 0.3, -torch.inf]])
    for u in (0.0, 0.5, 1 - 2**-53):
        assert sample(logits, [Sampling()], [Fixed(u)])[0] in (0, 1, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"min_p": 1.1}, {"repetition_penalty": 0}, {"frequency_penalty": 3}, {"presence_penalty": -2.1}],
)
def test_impossible_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give a number from"):
        Sampling(**wrong)  # type: ignore[arg-type]
