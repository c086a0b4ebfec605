"""From logits to the next token: penalties on what was said, then greedy or a draw at a temperature."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tuti.infer.grammar import Grammar
from tuti.run import UserError
from tuti.text import Tokenizer

NUCLEUS = 256  # tokens that are sorted at first; only a flat distribution needs more


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn. Equal seeds draw equal numbers, whatever else runs beside it."""

    temperature: float = 1.0
    """0 takes the most probable token (the lowest id among equals)"""
    top_p: float = 1.0
    """Only the fewest tokens whose probabilities sum to this"""
    top_k: int = 0
    """Only this many tokens (0: all)"""
    max_tokens: int = 256
    """Tokens of the answer at most"""
    stop: tuple[str, ...] = ()
    """The answer ends before any of these"""
    seed: int | None = None
    """Seed of the draws (None: another one each time)"""
    logprobs: int | None = None
    """How many alternatives to report beside each token's log-probability (None: no report)"""
    min_p: float = 0.0
    """Only tokens at least this share as probable as the most probable one (Nguyen et al. 2024)"""
    repetition_penalty: float = 1.0
    """Divides positive logits of tokens in prompt or answer, multiplies others (Keskar et al. 2019)"""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the answer has it"""
    presence_penalty: float = 0.0
    """Taken from the logit of each token that the answer has"""
    grammar: Grammar | None = None
    """What the answer must be"""

    def __post_init__(self) -> None:
        limits = (
            ("temperature", self.temperature, 0.0, 100.0), ("top_p", self.top_p, 0.0, 1.0),
            ("top_k", self.top_k, 0, 2**31), ("max_tokens", self.max_tokens, 0, 2**31),
            ("logprobs", self.logprobs or 0, 0, 100), ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:  # also catches nan
                raise UserError(f"{name} is {value}", hint=f"give a number from {low} to {high}")
        if any(not text for text in self.stop):
            raise UserError("a stop string is empty", hint="leave it out")

    @property
    def penalises(self) -> bool:
        """Whether what was said counts."""
        return (self.repetition_penalty, self.frequency_penalty, self.presence_penalty) != (1, 0, 0)

    def random(self) -> random.Random:
        """The answer's own source of randomness."""
        return random.Random(self.seed)


def unspellable(tokenizer: Tokenizer, vocab: int) -> Bool[Tensor, "places vocab"]:
    """Of a model with so many logits: which token cannot go on from which place inside a character.

    A draw among the others is one from the model's own distribution, given that the next byte is possible.
    Outputs that no token stands for (vocabularies are padded to round numbers) are never drawn.
    """
    allowed = torch.from_numpy(tokenizer.utf8.allowed)
    missing = max(0, vocab - allowed.shape[1])
    return torch.nn.functional.pad(~allowed, (0, missing), value=True)[:, :vocab]


def sample(
    logits: Float[Tensor, "batch vocab"], samplings: Sequence[Sampling], sources: Sequence[random.Random],
    said: Sequence[tuple[Sequence[int], int]] = (),
) -> list[int]:
    """One id a row, each row by its own rule and its own source (one draw unless greedy).

    `said`: each row's ids so far, and how many of them are the prompt's.
    """
    penalised = [row for row, rule in enumerate(samplings[: len(said)]) if rule.penalises]
    logits = logits.clone() if penalised else logits
    for row in penalised:
        logits[row] = _penalised(logits[row], samplings[row], *said[row])
    best = [int(i) for i in logits.argmax(dim=-1)]
    for row, (rule, source) in enumerate(zip(samplings, sources, strict=True)):
        if rule.temperature > 0:
            best[row] = _draw(logits[row], rule, source.random())
    return best


def _penalised(
    logits: Float[Tensor, " vocab"], rule: Sampling, said: Sequence[int], prompt: int
) -> Float[Tensor, " vocab"]:
    seen, penalty = torch.tensor(said), rule.repetition_penalty
    found = logits[seen]
    logits = logits.scatter(0, seen, torch.where(found < 0, found * penalty, found / penalty))
    counts = torch.bincount(seen[prompt:], minlength=len(logits))
    return logits - rule.frequency_penalty * counts - rule.presence_penalty * (counts > 0)


def _draw(logits: Float[Tensor, " vocab"], rule: Sampling, u: float) -> int:
    """The token at which the cumulated probability passes u ∈ [0, 1) of what is kept."""
    scores = torch.log_softmax(logits.double() / max(rule.temperature, 1e-9), dim=-1)
    if rule.min_p:
        scores = scores.masked_fill(scores.exp() < rule.min_p * scores.max().exp(), -torch.inf)
    if rule.top_p >= 1 and not rule.top_k:
        return _invert(scores.exp(), u)
    count = min(rule.top_k or NUCLEUS, scores.numel())
    values, ids = scores.topk(count)  # sorted, the most probable first
    probabilities = values.exp()
    if not rule.top_k and float(probabilities.sum()) < rule.top_p:
        values, ids = scores.sort(descending=True, stable=True)
        probabilities = values.exp()
    if rule.top_p < 1:
        before = probabilities.cumsum(0) - probabilities
        probabilities = probabilities[: max(1, int((before < rule.top_p).sum()))]
    return int(ids[_invert(probabilities, u)])


def _invert(probabilities: Float[Tensor, " kept"], u: float) -> int:
    cumulated = probabilities.cumsum(0)
    place = torch.searchsorted(cumulated, cumulated[-1] * u, right=True)
    last = torch.searchsorted(cumulated, cumulated[-1])  # beyond it only what has no probability
    return min(int(torch.minimum(place, last)), len(probabilities) - 1)  # of NaN, the last
