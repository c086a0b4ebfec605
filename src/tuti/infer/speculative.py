"""Speculative decoding: tokens guessed cheaply, judged by the model in one pass (Leviathan et al. 2023).

A pass over a few tokens takes hardly longer than one over a single token, since both read all weights
once. At each place the model draws as it would have without the guess, by the same rule and the same
random number; while that is what was guessed, the next place's logits are at hand already. So the answer to a
seed does not change at all, and its distribution cannot; a guess is kept with the probability that the
model draws it. A draft model draws its guesses with the very numbers that the model will use next.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch

from tuti.infer.sampling import Sampling, sample
from tuti.run import UserError

if TYPE_CHECKING:
    from tuti.infer.generate import Model
    from tuti.infer.loading import LoadedModel

GRAMS = (3, 2)
"""How many last tokens must have been said before, the longer first"""


class Draft(Protocol):
    """Guesses how an answer goes on."""

    def propose(self, said: Sequence[int], most: int, rule: Sampling, source: random.Random) -> Sequence[int]:
        """At most `most` tokens after `said`; `source` is left as it was."""
        ...


class Lookup:
    """What followed when the last tokens were said before (Saxena 2023)."""

    def __init__(self, tokens: int = 3) -> None:
        self.tokens = tokens
        self._after: dict[tuple[int, ...], int] = {}
        self._said: list[int] = []

    def propose(self, said: Sequence[int], most: int, rule: Sampling, source: random.Random) -> Sequence[int]:
        if self._said != list(said[: len(self._said)]):  # another answer
            self._after, self._said = {}, []
        for end in range(len(self._said), len(said)):
            for size in GRAMS:
                self._after[tuple(said[max(0, end - size) : end])] = end
        self._said = list(said)
        for size in GRAMS:
            place = self._after.get(tuple(said[-size:]))
            if place is not None and len(said) > size:
                return said[place : place + min(most, self.tokens)]
        return ()


class DraftModel:
    """A smaller model with the same tokenizer."""

    def __init__(self, model: Model, tokens: int = 4) -> None:
        self.model, self.tokens = model, tokens
        self._cache = model.cache(1, model.config.context)
        self._said: list[int] = []  # what is in the cache

    @torch.no_grad()
    def propose(self, said: Sequence[int], most: int, rule: Sampling, source: random.Random) -> Sequence[int]:
        most = min(most, self.tokens, self._cache.length - len(said))
        same = min(len(self._said), len(said) - 1)
        while self._said[:same] != list(said[:same]):
            same -= 1
        self._said = list(said[:same])  # also if the passes below are interrupted
        self._cache.truncate(0, same)
        twin = random.Random()
        twin.setstate(source.getstate())
        new, guessed = list(said[same:]), list[int]()
        while len(guessed) < most:
            window = self._cache.window([0], [len(new)])
            hidden = self.model(torch.tensor([new], device=self._cache.store.device), cache=window)
            logits = self.model.logits(hidden[:, -1]).float().cpu()
            new = sample(logits, [replace(rule, grammar=None)], [twin])
            guessed += new
        self._said = [*said, *guessed[:-1]] if guessed else self._said
        return guessed


def open_draft(name: str, target: LoadedModel, load: Callable[[str], LoadedModel]) -> Draft | None:
    """None for "", a `Lookup` for "lookup", else the model of this name; it must have the same tokenizer."""
    if name in ("", "lookup"):
        return Lookup() if name else None
    small = load(name)
    if small.tokenizer.hash != target.tokenizer.hash:
        raise UserError(
            f"the draft {small.name} has another tokenizer than {target.name}: its tokens mean other texts",
            hint="take a smaller model of the same family, or --draft lookup",
        )
    return DraftModel(small.model)
