"""Generation, one sequence at a time: the plain loop that the engine must agree with."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from tuti.infer.grammar import Constraint, constrain
from tuti.infer.sampling import Sampling, sample, top_logprobs
from tuti.infer.speculative import Draft, Text
from tuti.infer.spelling import Spelling
from tuti.infer.stops import StopText
from tuti.nn import CacheWindow, DecoderConfig, KVCache
from tuti.run import UserError
from tuti.text import Tokenizer
from tuti.text.utf8 import WHOLE


class Model(Protocol):
    """What generation needs: a `Decoder`, or one laid out for inference (`PackedDecoder`)."""

    config: DecoderConfig

    def __call__(self, ids: Tensor, *, cache: CacheWindow) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...
    def cache(self, slots: int, length: int) -> KVCache: ...


@dataclass(frozen=True)
class Token:
    """A step of an answer: the id, the text it completes (may be empty), what the model thought of it."""

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def generate(
    model: Model, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling, ends: Sequence[int] = (),
    draft: Draft | None = None,
) -> Iterator[Token]:
    """Tokens as they are made, until one of `ends`, a stop string, max_tokens, the end of grammar or context.

    The ending token and the stop string are not given out. Texts joined are the answer, always valid
    UTF-8: of a character that max_tokens cuts off nothing is given out. `draft` makes it faster, perhaps.
    """
    stream, stops = tokenizer.stream(skip_specials=True), StopText(sampling.stop)
    last: Token | None = None
    spelling = Spelling(tokenizer, model.config.vocab)
    rule = None if sampling.grammar is None else Constraint(sampling.grammar, tokenizer, ends)
    for token in _steps(model, spelling, prompt, sampling, frozenset(ends), rule, draft):
        if last is not None:
            yield last
        last = replace(token, text=stops.push(stream.push(token.id)))
        if stops.found:
            yield last
            return
    if last is not None:
        yield replace(last, text=last.text + stops.flush())


@torch.no_grad()  # not inference_mode: tables that a decoder keeps must stay fit for training
def _steps(
    model: Model, spelling: Spelling, prompt: Sequence[int], sampling: Sampling, ends: frozenset[int],
    rule: Constraint | None, draft: Draft | None,
) -> Generator[Token]:
    count = room(model, prompt, sampling.max_tokens)
    cache, source = model.cache(1, len(prompt) + count), sampling.random()
    place, said = WHOLE, list(prompt)
    while (left := len(prompt) + count - len(said)) > 0:
        guessed = () if draft is None else draft.propose([Text(said, left - 1, sampling, source)])[0]
        [hidden] = cache.read(model, [0], [[*said[cache.lengths[0] :], *guessed]])
        seen = model.logits(hidden[-1 - len(guessed) :]).float().cpu()
        for logits, guess in zip(seen[:, None], [*guessed, None], strict=True):
            kept = spelling.kept(logits, [place])
            constrain(kept, [rule])
            chosen = sample(kept, [sampling], [source], [(said, len(prompt))])[0]
            place = spelling.after(place, chosen)
            if chosen in ends:
                return
            logprobs = None if sampling.logprobs is None else logits[0].log_softmax(-1)
            yield judged(chosen, "", logprobs, sampling.logprobs or 0)
            said.append(chosen)
            if rule is not None and _over(rule, chosen):
                return
            if chosen != guess:
                break
        cache.truncate(0, len(said) - 1)


def room(model: Model, prompt: Sequence[int], max_tokens: int) -> int:
    """How many tokens an answer to this prompt may have."""
    context = model.config.context
    if not 0 < len(prompt) <= context:
        raise UserError(
            f"the prompt has {len(prompt):,} tokens, the model's context is {context:,}",
            hint="shorten the prompt" if prompt else "give at least one token",
        )
    return min(max_tokens, context - len(prompt) + 1)  # the last needs no place


def judged(token_id: int, text: str, logprobs: Tensor | None, alternatives: int) -> Token:
    """The token with what the model thought of it and of so many others, if that is asked."""
    if logprobs is None:
        return Token(token_id, text)
    return Token(token_id, text, float(logprobs[token_id]), top_logprobs(logprobs, alternatives))


def _over(rule: Constraint, chosen: int) -> bool:
    rule.push(chosen)
    if rule.over == "error":
        raise UserError("the grammar cannot go on with this vocabulary", hint="give a simpler one")
    return bool(rule.over)


def fitting(prompt: Sequence[int], model: Model, max_tokens: int) -> Sequence[int]:
    """As much of a prompt's end as leaves room for the answer in the model's context."""
    return prompt[-max(1, model.config.context - max_tokens - 1) :]


def sample_text(
    model: Model, tokenizer: Tokenizer, prompt: str = "", *, max_tokens: int = 64, temperature: float = 0.8,
    top_p: float = 0.95, seed: int | None = 0,
) -> str:
    """How a model goes on from a prompt, for a glance while it trains; ends where the document ends.

    Too long a prompt loses its beginning. Leaves the model and torch's own generator as they were.
    """
    rule = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    ids = fitting([tokenizer.end, *tokenizer.encode(prompt)], model, max_tokens)
    return "".join(t.text for t in generate(model, tokenizer, ids, rule, (tokenizer.end,)))
