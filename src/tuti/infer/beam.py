"""Beam search: the answer that the model thinks most probable as a whole, among those it looked at.

Greedy choice takes the best token each time and cannot take it back. Here the `width` best beginnings go
on side by side (Lowerre 1976); an answer's score is its log-probability divided by length ^ penalty (Wu et
al. 2016, §7), since long answers are less probable than short ones whatever they say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from tuti.infer.generate import Model, room
from tuti.infer.sampling import unspellable
from tuti.nn import KVCache
from tuti.run import UserError
from tuti.text import Tokenizer
from tuti.text.utf8 import WHOLE

MOST = 64


@dataclass(frozen=True)
class Answer:
    """Its ids, without the one that ended it, and its score: nats / length ^ penalty, the end counted."""

    ids: Sequence[int]
    score: float


@dataclass(frozen=True)
class _Beam:
    """A beginning: ids, their log-probability in nats, the slot of its keys, inside which character it is."""

    ids: tuple[int, ...]
    logprob: float
    slot: int
    place: int


@torch.no_grad()
def beam_search(
    model: Model, tokenizer: Tokenizer, prompt: Sequence[int], *, width: int = 4, max_tokens: int = 256,
    ends: Sequence[int] = (), penalty: float = 1.0,
) -> list[Answer]:
    """At most `width` answers, the best first. `penalty`: 0 favours short answers, more than 1 long ones.

    Memory: keys and values of the prompt and the answer, `width` times.
    """
    if not 0 < width <= MOST:
        raise UserError(f"{width} beams", hint=f"give 1 to {MOST}")
    count = room(model, prompt, max_tokens)
    cache = model.cache(width, len(prompt) + count)
    banned, after = unspellable(tokenizer, model.config.vocab), tokenizer.utf8.after
    beams, found = [_Beam((), 0.0, 0, WHOLE)], list[Answer]()
    logits = _pass(model, cache, beams, [list(prompt)])
    for length in range(1, count + 1):
        scores = logits.log_softmax(-1).masked_fill(banned[[beam.place for beam in beams]], -torch.inf)
        scores += torch.tensor([[beam.logprob] for beam in beams])
        best = scores.flatten().topk(min(2 * width, scores.numel()))
        pairs = zip(map(int, best.indices), map(float, best.values), strict=True)
        ranked = [(beams[at // scores.shape[1]], at % scores.shape[1], score) for at, score in pairs]
        # An end that is no better than the beams that go on is none.
        ended = [(beam, score) for beam, token, score in ranked[:width] if token in ends]
        found += [Answer(beam.ids, score / length**penalty) for beam, score in ended]
        found = sorted(found, key=lambda answer: -answer.score)[:width]
        going = [one for one in ranked if one[1] not in ends and one[2] > -torch.inf][:width]
        if length == count:
            found += [Answer((*beam.ids, token), score / length**penalty) for beam, token, score in going]
        if not going or (len(found) >= width and found[-1].score >= going[0][2] / length**penalty):
            break
        beams = _placed(cache, going, after)
        logits = _pass(model, cache, beams, [beam.ids[-1:] for beam in beams])
    return sorted(found, key=lambda answer: -answer.score)[:width]


def _pass(
    model: Model, cache: KVCache, beams: Sequence[_Beam], parts: Sequence[Sequence[int]]
) -> Float[Tensor, "beams vocab"]:
    hidden = cache.read(model, [beam.slot for beam in beams], parts)
    return model.logits(torch.stack([states[-1] for states in hidden])).float().cpu()


def _placed(
    cache: KVCache, going: Sequence[tuple[_Beam, int, float]], after: NDArray[np.uint8]
) -> list[_Beam]:
    """The beams that go on. The first of a beam's children stays in its slot, the others get copies."""
    parents = {beam.slot for beam, _, _ in going}
    spare = [slot for slot in range(len(cache.lengths)) if slot not in parents]
    made: list[_Beam] = []
    for beam, token, score in going:
        slot = beam.slot
        if slot in parents:
            parents.remove(slot)
        else:
            slot = spare.pop()
            cache.free(slot)
            cache.append(slot, cache.held(beam.slot, 0, cache.lengths[beam.slot]))
        made.append(_Beam((*beam.ids, token), score, slot, int(after[beam.place, token])))
    return made
