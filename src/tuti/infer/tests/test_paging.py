"""Memory is shared out in pages and what was read is found again: no answer changes by it, none leaks."""

import copy
import random
import time
from collections.abc import Iterator

import pytest

from tuti.infer import Engine, Event, Finish, PackedDecoder, Request, Sampling, Token
from tuti.infer.slots import PAGE
from tuti.nn import Decoder
from tuti.text import Tokenizer

CONTEXT = 512


@pytest.fixture
def engines(decoder: Decoder, tokenizer: Tokenizer) -> Iterator:
    """Engines whose texts may hold so many tokens together."""
    made: list[Engine] = []

    def engine(tokens: int, slots: int = 16, **others: int) -> Engine:
        model = PackedDecoder(copy.deepcopy(decoder))
        memory = tokens * model.cache(1, 1).bytes
        made.append(Engine(model, tokenizer, slots=slots, memory=memory, **others))
        return made[-1]

    yield engine
    for one in made:
        one.close()


def ids_of(events: list[Event]) -> list[int]:
    finish = events[-1]
    assert isinstance(finish, Finish) and finish.reason == "length"
    return [event.id for event in events if isinstance(event, Token)]


def prompt(n: int, seed: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(256) for _ in range(n)]


def drawn(ids: list[int], tokens: int, seed: int = 7) -> Request:
    return Request(ids, Sampling(temperature=1, seed=seed, max_tokens=tokens, logprobs=0))


def test_one_seed_gives_one_text_alone_in_company_after_a_hit_and_after_preemption(engines) -> None:
    asked, rich = drawn(prompt(200, 1), 60), engines(10**5)
    alone = rich.complete(asked)
    assert rich.counters.cached_tokens == 0
    again = rich.complete(asked)
    assert rich.counters.cached_tokens == 3 * PAGE
    assert alone == again
    others = [drawn(prompt(20 * n + 3, n), 20, n) for n in range(15)]
    company = rich.complete_all([*others, asked])[-1]
    poor = engines(800)
    old = [poor.submit(drawn(prompt(250, n), 60, n)) for n in range(2)]
    young = poor.complete(asked)
    assert poor.counters.preempted > 0
    assert alone == company == young  # log-probabilities included, to the last bit
    assert [len(list(ticket.wait())) for ticket in old] == [61, 61]


def test_what_is_found_has_the_bits_of_what_is_read(engines) -> None:
    """Every length of a common beginning, against an engine that knows nothing."""
    common, knowing = prompt(300, 2), engines(10**5)
    knowing.complete(drawn(common, 1))
    for n in (1, 63, 64, 65, 66, 127, 128, 129, 130, 191, 200, 257, 300):
        asked = drawn(common[:n] + prompt(n % 3, 3), 1)
        before = knowing.counters.cached_tokens
        found = knowing.complete(asked)
        whole = n + n % 3 - 2
        assert knowing.counters.cached_tokens - before == max(0, min(n, whole)) // PAGE * PAGE
        assert found == engines(10**5).complete(asked)


def test_a_conversation_finds_its_history_and_a_score_reads_all(engines) -> None:
    engine = engines(10**5)
    first = prompt(100, 4)
    answer = ids_of(engine.complete(drawn(first, 100)))
    engine.complete(drawn([*first, *answer, 5, 6, 7], 1))
    assert engine.counters.cached_tokens == (100 + 99) // PAGE * PAGE
    before = engine.counters
    read, found = before.prompt_tokens, before.cached_tokens
    assert len(engine.score(first)) == 99
    assert engine.counters.prompt_tokens == read + 100 and engine.counters.cached_tokens == found


def test_prompts_that_wait_profit_from_the_one_before(engines) -> None:
    engine, common = engines(10**5), prompt(200, 5)
    engine.complete_all([drawn([*common, n, n, n], 3) for n in range(8)])
    assert engine.counters.cached_tokens >= 6 * 3 * PAGE
    assert engine.counters.prompt_tokens + engine.counters.cached_tokens == 8 * 203


def test_many_short_answers_fit_where_few_long_ones_do(engines) -> None:
    """Memory for two of the longest: sixteen short ones run side by side, three long ones do not."""
    engine = engines(2 * CONTEXT)
    assert engine.length == CONTEXT
    engine.complete_all([drawn([n], 40, n) for n in range(16)])
    assert engine.counters.steps == 40 and engine.counters.preempted == 0
    found = engine.complete_all([drawn(prompt(300, n), 10**6, n) for n in range(3)])
    assert engine.counters.preempted > 0
    assert [len(ids_of(events)) for events in found] == [CONTEXT - 300 + 1] * 3


def test_five_hundred_requests_leave_nothing_behind(engines) -> None:
    """Random lengths and cancellations in little memory; the limit holds at every step."""
    source, engine = random.Random(6), engines(600, slots=6, chunk=64, waiting=1000)
    held, whole = [0], engine._pass

    def watched(tickets) -> None:
        live = sum(-(-len(ticket.ids) // PAGE) * PAGE for ticket in engine._slots.live)
        held.append(live + engine._slots.known.tokens)
        whole(tickets)

    engine._pass = watched  # type: ignore[method-assign]
    tickets = []
    for n in range(500):
        ids = prompt(source.choice([2, 2, 70, 150]), n % 7)
        tickets.append(engine.submit(drawn(ids, source.choice([1, 3, 12]), n)))
        if source.random() < 0.3:
            tickets[source.randrange(len(tickets))].cancel()
        if n % 20 == 0:
            time.sleep(0.01)
    for ticket in tickets:
        if not ticket.cancelled:
            assert len(ids_of(list(ticket.wait()))) == ticket.request.sampling.max_tokens
    deadline = time.monotonic() + 60
    while engine.counters.running or engine.counters.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    slots = engine._slots
    assert slots.cache.lengths == [0] * 7 and not slots.live and not slots.ready
    c = engine.counters
    assert c.finished + c.cancelled >= 500 and c.failed == 0 and c.cached_tokens > 0
    assert 0 < max(held) <= slots.most_tokens
    slots.known.shrink(0)
    assert slots.known.tokens == 0
