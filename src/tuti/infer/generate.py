"""Generation, one sequence at a time: the plain loop that the engine must agree with."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tuti.infer.grammar import constrain
from tuti.infer.requests import Request, Ticket, Token
from tuti.infer.sampling import Sampling, sample, unspellable
from tuti.nn import CacheWindow, DecoderConfig, KVCache
from tuti.run import UserError
from tuti.text import Tokenizer


class Model(Protocol):
    """What generation needs: a `Decoder`, or one laid out for inference (`PackedDecoder`)."""

    config: DecoderConfig

    def __call__(self, ids: Tensor, *, cache: CacheWindow) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...
    def cache(self, slots: int, length: int) -> KVCache: ...


def generate(
    model: Model, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling, ends: Sequence[int] = ()
) -> Iterator[Token]:
    """Tokens as they are made, until one of `ends`, a stop string, max_tokens, the end of grammar or context.

    The ending token and the stop string are not given out. Texts joined are the answer, always valid
    UTF-8: of a character that max_tokens cuts off nothing is given out.
    """
    request = Request(prompt, sampling, ends)
    ticket = Ticket(request, tokenizer, room(model, prompt, sampling.max_tokens))
    banned = unspellable(tokenizer, model.config.vocab)
    last: Token | None = None
    for token in _steps(model, ticket, banned) if ticket.most else ():
        if token.id in ends:
            break
        if last is not None:
            yield last
        last = token
    if ticket.finish is not None and ticket.finish.reason == "error":
        raise UserError("the grammar cannot go on with this vocabulary", hint="give a simpler one")
    if last is not None and ticket.finish is not None:
        yield replace(last, text=last.text + ticket.finish.text)


@torch.no_grad()  # not inference_mode: tables that a decoder keeps must stay fit for training
def _steps(model: Model, ticket: Ticket, banned: Tensor) -> Generator[Token]:
    cache = model.cache(1, len(ticket.ids) + ticket.most)
    while ticket.finish is None:
        [hidden] = cache.read(model, [0], [ticket.ids[cache.lengths[0] :]])
        [token] = draw([ticket], model.logits(hidden[-1:]).float().cpu(), banned)
        yield token


def draw(
    tickets: Sequence[Ticket], logits: Float[Tensor, "batch vocab"], banned: Bool[Tensor, "places vocab"]
) -> list[Token]:
    """The next token of each answer, a row each, which it says."""
    kept = logits.masked_fill(banned[[ticket.place for ticket in tickets]], -torch.inf)
    constrain(kept, [ticket.constraint for ticket in tickets])
    rules = [ticket.request.sampling for ticket in tickets]
    said = [(ticket.ids, len(ticket.request.prompt)) for ticket in tickets]
    chosen = sample(kept, rules, [ticket.source for ticket in tickets], said)
    return [ticket.say(i, row) for ticket, i, row in zip(tickets, chosen, logits, strict=True)]


def room(model: Model, prompt: Sequence[int], max_tokens: int) -> int:
    """How many tokens an answer to this prompt may have."""
    context = model.config.context
    if not 0 < len(prompt) <= context:
        what = f"the prompt has {len(prompt):,} tokens, the model's context is {context:,}"
        raise UserError(what, hint="shorten the prompt" if prompt else "give at least one token")
    return min(max_tokens, context - len(prompt) + 1)  # the last needs no place


def fitting(prompt: Sequence[int], model: Model, max_tokens: int) -> Sequence[int]:
    """As much of a prompt's end as leaves room for the answer in the model's context."""
    return prompt[-max(1, model.config.context - max_tokens - 1) :]


def sample_text(
    model: Model, tokenizer: Tokenizer, prompt: str = "", *, max_tokens: int = 64, seed: int = 0
) -> str:
    """How a model goes on from a prompt, for a glance while it trains; ends where the document ends.

    Too long a prompt loses its beginning. Leaves the model and torch's own generator as they were.
    """
    rule = Sampling(temperature=0.8, top_p=0.95, max_tokens=max_tokens, seed=seed)
    ids = fitting([tokenizer.end, *tokenizer.encode(prompt)], model, max_tokens)
    return "".join(t.text for t in generate(model, tokenizer, ids, rule, (tokenizer.end,)))
