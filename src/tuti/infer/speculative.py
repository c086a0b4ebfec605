"""Speculative decoding: tokens guessed cheaply, judged by the model in one pass (Leviathan et al. 2023).

A pass over a few tokens takes hardly longer than one over a single token, since both read all weights
once. At each place the model draws as it would have without the guess, by the same rule and the same
random number; while that is what was guessed, the next place's logits are at hand already. So the answer to a
seed does not change at all, and its distribution cannot; a guess is kept with the probability that the
model draws it. A draft model draws its guesses with the very numbers that the model will use next.
"""

from __future__ import annotations

import random
from array import array
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


class Lookup:
    """What followed when the last tokens were said before (Saxena 2023)."""

    def __init__(self, tokens: int = 3) -> None:
        self.tokens = tokens

    def propose(self, texts: Sequence[Text]) -> Sequence[Sequence[int]]:
        return [_after_last(text.said, min(text.most, self.tokens)) for text in texts]


def _after_last(said: Sequence[int], most: int) -> Sequence[int]:
    told = array("I", said).tobytes()  # four bytes each, which are searched at C speed
    for size in GRAMS:
        end = len(told) - 4
        while (place := told.rfind(told[-4 * size :], 0, end)) >= 0:
            if place % 4 == 0:
                return said[place // 4 + size : place // 4 + size + most]
            end = place + 4 * size - 1
    return ()


class DraftModel:
    """A smaller model with the same tokenizer."""

    def __init__(self, model: Model, texts: int = 1, tokens: int = 4, length: int = 0) -> None:
        """`texts` of at most `length` tokens are known at once (0: the model's context)."""
        self.model, self.tokens = model, tokens
        self._cache = model.cache(texts, min(length or model.config.context, model.config.context))
        # By a text's number: its slot and what is in the cache; who was not asked for longest makes way.
        self._known = OrderedDict[int, tuple[int, list[int]]]((-1 - n, (n, [])) for n in range(texts))

    @torch.no_grad()
    def propose(self, texts: Sequence[Text]) -> Sequence[Sequence[int]]:
        slots, known = zip(*map(self._place, texts), strict=True)
        new = [list(text.said[len(held) :]) for text, held in zip(texts, known, strict=True)]
        fits = [min(text.most, self.tokens, self._cache.length - len(text.said)) for text in texts]
        fits = [n if len(part) <= CHUNK else min(n, 1) for n, part in zip(fits, new, strict=True)]
        guessed, twins = [list[int]() for _ in texts], [copy(text.source) for text in texts]
        while rows := [row for row, most in enumerate(fits) if len(guessed[row]) < most]:
            parts = [new[row][:CHUNK] for row in rows]
            hidden = self._cache.read(self.model, [slots[row] for row in rows], parts)
            logits = self.model.logits(torch.stack([states[-1] for states in hidden])).float().cpu()
            rules = [replace(texts[row].rule, grammar=None) for row in rows]
            chosen = sample(logits, rules, [twins[row] for row in rows])
            for row, part, token in zip(rows, parts, chosen, strict=True):
                known[row].extend(part)
                new[row] = [token]
                guessed[row].append(token)
        late = [len(text.said) > len(held) for text, held in zip(texts, known, strict=True)]
        return [() if behind else row for behind, row in zip(late, guessed, strict=True)]

    def _place(self, text: Text) -> tuple[int, list[int]]:
        """The text's slot, and what of it is there, all but its last token at most; all else is forgotten."""
        found = self._known.pop(text.number, None) or self._known.popitem(last=False)[1]
        self._known[text.number] = slot, known = found
        same = min(len(known), len(text.said) - 1)
        while known[:same] != text.said[:same]:
            same -= 1
        del known[same:]
        self._cache.truncate(slot, same)
        return found


def open_draft(
    name: str, target: LoadedModel, load: Callable[[str], LoadedModel], texts: int = 1, length: int = 0
) -> Draft | None:
    """None for "", a `Lookup` for "lookup", else the model of this name; it must have the same tokenizer.

    texts: answers under way at once; length: tokens of prompt and answer together (0: the draft's context).
    """
    if name in ("", "lookup"):
        return Lookup() if name else None
    small = load(name)
    if small.tokenizer.hash != target.tokenizer.hash:
        what = f"the draft {small.name} has another tokenizer than {target.name}: its tokens mean other texts"
        raise UserError(what, hint="take a smaller model of the same family, or --draft lookup")
    return DraftModel(small.model, texts, length=length)
