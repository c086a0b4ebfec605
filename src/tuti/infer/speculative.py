"""Speculative decoding: tokens guessed cheaply, judged by the model in one pass (Leviathan et al. 2023).

A pass over a few tokens takes hardly longer than one over a single token, since both read all weights
once. At each place the model draws as it would have without the guess, by the same rule and the same
random number; while that is what was guessed, the next place's logits are at hand already. So the answer to a
seed does not change at all, and its distribution cannot; a guess is kept with the probability that the
model draws it. A draft model draws its guesses with the very numbers that the model will use next.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from tuti.infer.sampling import Sampling, sample
from tuti.run import UserError

if TYPE_CHECKING:
    from tuti.infer.generate import Model
    from tuti.infer.loading import LoadedModel

GRAMS = (3, 2)
"""How many last tokens must have been said before, the longer first"""
CHUNK = 128
"""Tokens that a draft model reads of each text in one pass"""


@dataclass(frozen=True)
class Text:
    """An answer under way: `said` so far, how many tokens may be guessed, and how they will be drawn."""

    said: Sequence[int]
    most: int
    rule: Sampling
    source: random.Random
    number: int = 0
    """The same for the same answer, and for no other beside it"""


class Draft(Protocol):
    """Guesses how answers go on."""

    def propose(self, texts: Sequence[Text]) -> Sequence[Sequence[int]]:
        """For each text at most `most` tokens after `said`; the sources are left as they were."""
        ...


class _Places:
    """A place for each text that is asked about; who was not for longest makes way."""

    def __init__(self, count: int) -> None:
        self._of = OrderedDict[int, int]((-1 - place, place) for place in range(count))

    def find(self, number: int) -> int:
        place = self._of.pop(number, None)
        self._of[number] = self._of.popitem(last=False)[1] if place is None else place
        return self._of[number]


class Lookup:
    """What followed when the last tokens were said before (Saxena 2023)."""

    def __init__(self, texts: int = 1, tokens: int = 3) -> None:
        self.tokens = tokens
        self._places = _Places(texts)
        self._after: list[dict[tuple[int, ...], int]] = [{} for _ in range(texts)]
        self._said: list[list[int]] = [[] for _ in range(texts)]

    def propose(self, texts: Sequence[Text]) -> Sequence[Sequence[int]]:
        return [self._after_last(text.said, text.most, self._places.find(text.number)) for text in texts]

    def _after_last(self, said: Sequence[int], most: int, place: int) -> Sequence[int]:
        known = self._said[place]
        if known != said[: len(known)]:  # another answer
            self._after[place], known = {}, []
        after = self._after[place]
        for end in range(len(known), len(said)):
            for size in GRAMS:
                after[tuple(said[max(0, end - size) : end])] = end
        self._said[place] = list(said)
        for size in GRAMS:
            start = after.get(tuple(said[-size:]))
            if start is not None and len(said) > size:
                return said[start : start + min(most, self.tokens)]
        return ()


class DraftModel:
    """A smaller model with the same tokenizer."""

    def __init__(self, model: Model, texts: int = 1, tokens: int = 4, length: int = 0) -> None:
        """`texts` of at most `length` tokens are known at once (0: the model's context)."""
        self.model, self.tokens = model, tokens
        self._places = _Places(texts)
        self._cache = model.cache(texts, min(length or model.config.context, model.config.context))
        self._said: list[list[int]] = [[] for _ in range(texts)]  # what is in the cache

    @torch.no_grad()
    def propose(self, texts: Sequence[Text]) -> Sequence[Sequence[int]]:
        places = [self._places.find(text.number) for text in texts]
        new = [self._unread(text.said, place) for text, place in zip(texts, places, strict=True)]
        fits = [min(text.most, self.tokens, self._cache.length - len(text.said)) for text in texts]
        fits = [n if len(part) <= CHUNK else min(n, 1) for n, part in zip(fits, new, strict=True)]
        guessed, twins = [list[int]() for _ in texts], [copy(text.source) for text in texts]
        while rows := [row for row, most in enumerate(fits) if len(guessed[row]) < most]:
            parts = [new[row][:CHUNK] for row in rows]
            hidden = self._cache.read(self.model, [places[row] for row in rows], parts)
            logits = self.model.logits(torch.stack([states[-1] for states in hidden])).float().cpu()
            rules = [replace(texts[row].rule, grammar=None) for row in rows]
            chosen = sample(logits, rules, [twins[row] for row in rows])
            for row, part, token in zip(rows, parts, chosen, strict=True):
                self._said[places[row]] += part
                new[row] = [token]
                guessed[row].append(token)
        late = [len(text.said) > len(self._said[place]) for text, place in zip(texts, places, strict=True)]
        return [() if behind else row for behind, row in zip(late, guessed, strict=True)]

    def _unread(self, said: Sequence[int], place: int) -> list[int]:
        """What of the text is not in its place, its last token at least; the place forgets all else."""
        known = self._said[place]
        same = min(len(known), len(said) - 1)
        while known[:same] != said[:same]:
            same -= 1
        self._said[place] = known[:same]
        self._cache.truncate(place, same)
        return list(said[same:])


def open_draft(
    name: str, target: LoadedModel, load: Callable[[str], LoadedModel], texts: int = 1, length: int = 0
) -> Draft | None:
    """None for "", a `Lookup` for "lookup", else the model of this name; it must have the same tokenizer.

    texts: answers under way at once; length: tokens of prompt and answer together (0: the draft's context).
    """
    if name in ("", "lookup"):
        return Lookup(texts) if name else None
    small = load(name)
    if small.tokenizer.hash != target.tokenizer.hash:
        raise UserError(
            f"the draft {small.name} has another tokenizer than {target.name}: its tokens mean other texts",
            hint="take a smaller model of the same family, or --draft lookup",
        )
    return DraftModel(small.model, texts, length=length)
