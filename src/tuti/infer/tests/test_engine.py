"""The engine gives each request what it would get alone, whoever comes and goes beside it."""

import asyncio
import copy
import random
import time
from collections.abc import Iterator

import pytest
import torch

from tuti.infer import (
    Busy,
    Engine,
    Event,
    Finish,
    PackedDecoder,
    Request,
    Sampling,
    Token,
    generate,
)
from tuti.infer.grammar import Grammar
from tuti.nn import CacheWindow, Decoder, token_nll
from tuti.run import UserError
from tuti.text import Tokenizer

CONTEXT = 160


@pytest.fixture(scope="module")
def engine(decoder: Decoder, tokenizer: Tokenizer) -> Iterator[Engine]:
    made = Engine(PackedDecoder(copy.deepcopy(decoder)), tokenizer, slots=5, chunk=16)
    yield made
    made.close()


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events)


def requests(count: int, seed: int) -> list[Request]:
    source = random.Random(seed)
    made: list[Request] = []
    for _ in range(count):
        rule = Sampling(
            temperature=source.choice([0, 1]),
            top_p=source.choice([1, 0.9]),
            max_tokens=source.choice([1, 7, 30, 10**6]),
            seed=source.randrange(100),
            stop=source.choice([(), ("e", "\n")]),
            logprobs=source.choice([None, 2]),
        )
        prompt = [source.randrange(256) for _ in range(source.choice([1, 3, 16, 40, 100]))]
        made.append(Request(prompt, rule, ends=(9,)))
    return made


def test_each_request_gets_what_the_plain_loop_gives(
    engine: Engine, decoder: Decoder, tokenizer: Tokenizer
) -> None:
    """24 requests on 5 slots, joining at odd moments, against one at a time without an engine."""
    asked = requests(24, seed=0)
    tickets = []
    for request in asked:
        tickets.append(engine.submit(request))
        time.sleep(random.Random(len(tickets)).choice([0, 0.01]))
    for request, ticket in zip(asked, tickets, strict=True):
        found = list(ticket.wait())
        wanted = list(generate(decoder, tokenizer, request.prompt, request.sampling, (9,)))
        tokens = [event for event in found if isinstance(event, Token)]
        finish = found[-1]
        assert isinstance(finish, Finish) and finish.tokens == len(tokens)
        if tokens[-1].id == 9:  # the end itself, which the plain loop keeps to itself
            assert tokens.pop().text == "" and finish.reason == "stop"
        assert [t.id for t in tokens] == [t.id for t in wanted]
        assert text_of(found) == "".join(t.text for t in wanted)
        for ours, theirs in zip(tokens, wanted, strict=True):
            assert (ours.logprob is None) == (request.sampling.logprobs is None)
            assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
            assert [i for i, _ in ours.top] == [i for i, _ in theirs.top]
        fits = CONTEXT - len(request.prompt) + 1
        cut = len(wanted) == min(request.sampling.max_tokens, fits) and finish.stop is None
        cut = cut and finish.tokens == len(wanted)
        assert finish.reason == ("length" if cut else "stop")


def test_company_changes_no_bit(engine: Engine) -> None:
    """A prompt alone, twice, and among others: the same tokens and the same log-probabilities."""
    asked = Request([5, 6, 7], Sampling(temperature=1, seed=4, max_tokens=40, logprobs=1))
    alone, again = engine.complete(asked), engine.complete(asked)
    others = [engine.submit(request) for request in requests(9, seed=2)]
    company = engine.complete(asked)
    for ticket in others:
        list(ticket.wait())
    assert alone == again == company


def test_scores_are_the_models_log_likelihoods(engine: Engine, decoder: Decoder) -> None:
    source = torch.Generator().manual_seed(3)
    for n in (2, 15, 16, 17, 33, CONTEXT):
        ids = torch.randint(0, 256, (1, n), generator=source)
        with torch.no_grad():
            wanted = token_nll(decoder, ids[:, :-1], ids[:, 1:])[0]
        found = torch.tensor(engine.score(ids[0].tolist()))
        torch.testing.assert_close(-found, wanted, atol=2e-5, rtol=1e-5)
    assert engine.score([7]) == []


def test_a_long_prompt_delays_others_by_one_chunk(engine: Engine) -> None:
    """Tokens of a running answer keep coming, one for each chunk of a prompt read beside it."""
    running = engine.submit(Request([1], Sampling(temperature=0, max_tokens=60)))
    events = running.wait()
    next(events)
    before = engine.counters.steps
    long = engine.submit(Request([1] * 150, Sampling(temperature=0, max_tokens=1)))
    list(long.wait())
    took = engine.counters.steps - before
    assert took >= 150 // 16  # one chunk a step, and each step made the other a token
    assert len(list(events)) == 60


def test_a_step_reads_and_answers_in_one_pass_over_the_weights(
    decoder: Decoder, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of 40 tokens in chunks of 16 beside answers: what each pass saw, by row."""
    passes: list[list[int]] = []
    whole = decoder.forward

    def forward(ids: torch.Tensor, *, cache: CacheWindow) -> torch.Tensor:
        passes.append(cache.counts)
        return whole(ids, cache=cache)

    monkeypatch.setattr(decoder, "forward", forward)
    engine = Engine(decoder, tokenizer, slots=4, chunk=16)
    rule = Sampling(temperature=0, max_tokens=6)
    events = engine.complete_all([Request([1] * n, rule) for n in (3, 10, 40)])
    engine.close()
    assert [len(found) for found in events] == [7, 7, 7]
    assert passes[:4] == [[3, 10, 16], [1, 1, 16], [1, 1, 8], [1, 1, 1]]
    assert engine.counters.steps == len(passes) == 8


def test_cancelling_frees_the_slot_at_the_next_step(engine: Engine) -> None:
    forever = Sampling(temperature=1, max_tokens=10**6, seed=1)
    before = engine.counters.cancelled
    tickets = [engine.submit(Request([i], forever)) for i in range(8)]  # 5 slots, 3 wait
    next(tickets[0].wait())
    for ticket in tickets:
        ticket.cancel()
    steps, deadline = engine.counters.steps, time.monotonic() + 10
    while engine.counters.running or engine.counters.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert engine.counters.steps <= steps + 2
    assert engine.counters.cancelled == before + 8


def test_asyncio_streams_and_leaving_early_cancels(engine: Engine) -> None:
    async def first_three() -> list[Event]:
        ticket = engine.submit(Request([3], Sampling(temperature=1, seed=1, max_tokens=10**6)))
        found: list[Event] = []
        events = ticket.events()
        async for event in events:
            found.append(event)
            if len(found) == 3:
                break
        await events.aclose()
        assert ticket.cancelled
        return found

    async def many() -> list[list[Event]]:
        return await asyncio.gather(*(first_three() for _ in range(7)))

    assert all(len(found) == 3 for found in asyncio.run(many()))


def test_a_full_queue_is_busy_and_the_impossible_is_refused(
    decoder: Decoder, tokenizer: Tokenizer
) -> None:
    small = Engine(decoder, tokenizer, slots=1, length=32, waiting=2)
    forever = Request([1], Sampling(temperature=1, max_tokens=10**6, seed=0))
    for wrong, what in (([], "0 tokens"), ([1] * 33, "33 tokens"), ([10**6], "outside")):
        with pytest.raises(UserError, match=what):
            small.submit(Request(wrong, Sampling()))
    tickets = [small.submit(forever)]
    with pytest.raises(Busy):
        for _ in range(50):
            tickets.append(small.submit(forever))
    assert small.counters.rejected == 1
    assert len(list(tickets[0].wait())) == 33  # 32 tokens fit beside a prompt of one, and the end
    small.close()
    last = list(tickets[-1].wait())[-1]
    assert isinstance(last, Finish) and last.reason == "error"


def test_an_error_in_a_step_fails_those_answers_and_serves_the_next(
    decoder: Decoder,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = Engine(decoder, tokenizer, slots=2)
    failures, whole = iter([True]), decoder.logits

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        if next(failures, False):
            raise MemoryError("no room")
        return whole(hidden)

    monkeypatch.setattr(decoder, "logits", logits)
    failed = engine.complete(Request([1], Sampling(max_tokens=2)))
    assert failed == [Finish("error")]
    assert len(engine.complete(Request([1], Sampling(max_tokens=2)))) == 3
    engine.close()
    assert "MemoryError" in capfd.readouterr().err


@pytest.mark.parametrize(
    "rule",
    [
        Sampling(temperature=1e-310, seed=1, max_tokens=9),
        Sampling(temperature=1e-310, seed=1, max_tokens=9, top_k=5),
        Sampling(seed=1, max_tokens=9, grammar=Grammar.lark("start: <[150]>")),  # half a character is banned
    ],
    ids=["a tiny temperature", "and the best five", "a grammar of half a character"],
)
def test_a_strange_rule_harms_nobody_else(engine: Engine, rule: Sampling) -> None:
    ordinary = Request([1, 2, 3], Sampling(seed=5, max_tokens=9))
    wanted = engine.complete(ordinary)
    _, beside = engine.complete_all([Request([4, 5], rule), ordinary])
    assert isinstance(beside[-1], Finish) and beside[-1].reason == "length"
    ids, told = ([event.id for event in events if isinstance(event, Token)] for events in (wanted, beside))
    assert told == ids
