"""Guessing ahead changes the time of an answer and nothing else."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tuti.infer import Engine, Event, Finish, LoadedModel, PackedDecoder, Request, Sampling, Token, generate
from tuti.infer.grammar import Grammar
from tuti.infer.speculative import CHUNK, Draft, DraftModel, Lookup, Text, open_draft
from tuti.nn import Decoder, DecoderConfig
from tuti.run import UserError
from tuti.text import Tokenizer

TOKENIZER = Tokenizer.from_merges([])
VOCAB = TOKENIZER.vocab_size
PROMPT = [*b"a parrot says: a parrot says: a par"]


def decoder(seed: int, spread: float = 8.0, context: int = 160) -> Decoder:
    model = Decoder(DecoderConfig(VOCAB, 32, 2, 4, 2, 8, 64, context), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(spread) if p.dim() == 2 else None
    return model


class Wild:
    """Guesses at random, the worst that there can be; counts the passes."""

    def __init__(self) -> None:
        self.passes, self.chance = 0, random.Random(5)

    def propose(self, texts: Sequence[Text]) -> list[list[int]]:
        self.passes += 1
        counts = [min(text.most, self.chance.randrange(6)) for text in texts]
        return [[self.chance.randrange(VOCAB) for _ in range(count)] for count in counts]


def draft(name: str, texts: int = 1) -> Draft:
    if name in ("lookup", "wild"):
        return Lookup() if name == "lookup" else Wild()
    small = decoder(0 if name == "itself" else 1, context=50 if name == "a shorter one" else 160)
    return DraftModel(PackedDecoder(small), texts)


DRAFTS = ("lookup", "itself", "another", "a shorter one", "wild")


RULES = {
    "greedy": Sampling(temperature=0, max_tokens=60),
    "drawn": Sampling(seed=3, max_tokens=60, logprobs=2),
    "nucleus": Sampling(seed=4, temperature=1.4, top_p=0.9, top_k=30, min_p=0.01, max_tokens=60),
    "penalised": Sampling(seed=5, repetition_penalty=1.3, presence_penalty=0.5, max_tokens=60),
    "to the context's end": Sampling(seed=6, max_tokens=10_000),
    "a grammar": Sampling(seed=7, max_tokens=60, grammar=Grammar.regex("(a|b|ab?c)*d")),
    "one token": Sampling(seed=8, max_tokens=1),
}


@pytest.mark.parametrize("name", DRAFTS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_equal_seeds_give_equal_answers(name: str, rule: Sampling) -> None:
    model = PackedDecoder(decoder(0))
    plain = list(generate(model, TOKENIZER, PROMPT, rule))
    engine = Engine(model, TOKENIZER, slots=1, draft=draft(name))
    *events, finish = engine.complete(Request(PROMPT, rule))
    engine.close()
    guessed = [event for event in events if isinstance(event, Token)]
    assert isinstance(finish, Finish) and len(guessed) == len(events)
    guessed[-1] = replace(guessed[-1], text=guessed[-1].text + finish.text)
    assert [token.id for token in guessed] == [token.id for token in plain]
    assert [token.text for token in guessed] == [token.text for token in plain]
    if rule.logprobs is not None:
        found, wanted = ([t.logprob for t in tokens] for tokens in (guessed, plain))
        assert found == pytest.approx(wanted, abs=1e-4)


def test_the_distribution_is_the_models_own() -> None:
    """A guessed token, 3,000 times with a draft that is usually wrong: χ² against exact probabilities.

    It is the second: the grammar says the first, since an engine guesses nothing while it reads a prompt.
    """
    model = PackedDecoder(decoder(2, 14.0))
    told = [*PROMPT, *b"a"]
    cache = model.cache(1, len(told))
    second = model.logits(model(torch.tensor([told]), cache=cache.window([0], [len(told)])))[0, -1]
    ascii_only = torch.arange(VOCAB) < 128
    probabilities = second.masked_fill(~ascii_only, -torch.inf).softmax(-1)
    grammar = Grammar.regex("a[\\x01-\\x7f]{2}")
    count = 3000
    rules = [Sampling(seed=seed, max_tokens=3, grammar=grammar) for seed in range(count)]
    draft = DraftModel(PackedDecoder(decoder(3, 14.0)), texts=8)
    engine = Engine(model, TOKENIZER, slots=8, waiting=count, draft=draft)
    answers = engine.complete_all([Request(PROMPT, rule) for rule in rules])
    engine.close()
    said = [[event.id for event in events if isinstance(event, Token)] for events in answers]
    assert engine.counters.guessed_tokens >= count > 2 * engine.counters.right_guesses > 0
    assert {ids[0] for ids in said} == {*b"a"}
    seen = Counter(ids[1] for ids in said)
    likely = [i for i in range(1, 128) if float(probabilities[i]) * count >= 5]
    expected = {i: float(probabilities[i] / probabilities[1:128].sum()) * count for i in likely}
    chi2 = sum((seen[i] - e) ** 2 / e for i, e in expected.items())
    assert len(likely) > 5 and chi2 < len(likely) + 5 * (2 * len(likely)) ** 0.5


def english() -> PackedDecoder:
    """A model that says ASCII alone: guesses know nothing of the halves of characters."""
    model = decoder(0)
    with torch.no_grad():
        model.embedding.weight[128:] = 0  # tied: their logits are 0, far below the best
    return PackedDecoder(model)


def test_an_engine_takes_right_guesses_for_several_answers_at_once() -> None:
    engine = Engine(english(), TOKENIZER, slots=3, draft=DraftModel(english(), texts=3))
    rule = Sampling(temperature=0, max_tokens=40)
    engine.complete_all([Request(PROMPT[:n], rule) for n in (9, 20, 30)])
    engine.close()
    counters = engine.counters
    assert counters.right_guesses == counters.guessed_tokens > 80 and counters.steps < 12


def test_right_guesses_save_passes() -> None:
    rule, calls = Sampling(seed=1, temperature=0.3, max_tokens=80), Counter[str]()

    def counted(name: str, inner: PackedDecoder) -> PackedDecoder:
        forward = inner._layers  # pyright: ignore[reportPrivateUsage]

        def count(*args: object) -> torch.Tensor:
            calls[name] += 1
            return forward(*args)  # pyright: ignore[reportArgumentType]

        inner._layers = count  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        return inner

    engine = Engine(counted("model", english()), TOKENIZER, slots=1, draft=DraftModel(english(), tokens=4))
    tokens = [event for event in engine.complete(Request(PROMPT, rule)) if isinstance(event, Token)]
    engine.close()
    assert len(tokens) == 80 and calls["model"] <= 80 / 5 + 2  # a draft equal to the model is always right


def test_lookup_finds_the_last_time_and_never_more_than_was_asked_for() -> None:
    lookup = Lookup(tokens=4)

    def after(said: list[int], most: int = 9, number: int = 0) -> list[int]:
        return list(lookup.propose([Text(said, most, Sampling(), random.Random(0), number)])[0])

    said = [1, 2, 3, 4, 5, 1, 2, 3]
    assert after(said) == [4, 5, 1, 2]
    assert after([8, 2, 3, 9, 2, 3], number=1) == [9, 2, 3]
    assert after([*said, 9, 2, 3], 2) == [9, 2]
    assert after([7, 1, 2, 7, 1]) == [2, 7, 1]  # another answer
    assert after([1, 2, 3], number=2) == after([7], number=3) == []


def test_a_draft_reads_a_long_prompt_in_pieces_and_then_guesses_right() -> None:
    small, source = DraftModel(PackedDecoder(decoder(0, context=600)), texts=2, tokens=3), random.Random(0)
    said = [source.randrange(128) for _ in range(CHUNK * 2 + 9)]
    rule = Sampling(temperature=0)
    found = [small.propose([Text(said, 2, rule, source, number=7)])[0] for _ in range(4)]
    assert found[:2] == [(), ()] and len(found[2]) == 2 and found[2] == found[3]
    alone = DraftModel(PackedDecoder(decoder(0, context=600)), tokens=3)
    other = said[: CHUNK - 1]
    both = small.propose([Text(said, 2, rule, source, 7), Text(other, 3, rule, source, 8)])
    assert both == [found[2], alone.propose([Text(other, 3, rule, source)])[0]]


def loaded(model: Decoder, tokenizer: Tokenizer, name: str) -> LoadedModel:
    return LoadedModel(PackedDecoder(model), tokenizer, None, name, 160, Path(name))


def test_a_draft_must_have_the_models_tokenizer() -> None:
    target = loaded(decoder(0), TOKENIZER, "large")
    other = loaded(decoder(1), Tokenizer.from_merges([(b"a", b"b")]), "small")
    with pytest.raises(UserError, match=r"(?s)small has another tokenizer than large.*hint: "):
        open_draft("small", target, lambda _: other)
    found = open_draft("small", target, lambda _: loaded(decoder(1), TOKENIZER, "small"))
    assert isinstance(found, DraftModel) and isinstance(open_draft("lookup", target, loaded), Lookup)  # pyright: ignore
    assert open_draft("", target, loaded) is None  # pyright: ignore


@pytest.mark.parametrize("name", DRAFTS)
def test_guessing_changes_no_bit_of_what_an_engine_says(name: str) -> None:
    """14 requests that come and go on 4 slots, preempted at times: every token and log-probability."""
    source = random.Random(1)
    asked = [
        Request(PROMPT[: source.randrange(1, 36)] * source.choice((1, 3)), replace(rule, logprobs=1), (9,))
        for rule in RULES.values()
        for _ in range(2)
    ]
    said: list[list[list[Event]]] = []
    for guesser in (None, draft(name, 4)):
        model = PackedDecoder(decoder(0))
        engine = Engine(model, TOKENIZER, slots=4, chunk=16, memory=250_000, draft=guesser)
        said.append(engine.complete_all(asked))
        said.append([engine.complete(request) for request in asked[:4]])
        engine.close()
        counters = engine.counters
        assert (counters.guessed_tokens > 0) == (guesser is not None)
        assert 0 <= counters.right_guesses <= counters.guessed_tokens and counters.failed == 0
        assert counters.preempted > 0
    assert said[0] == said[2] and said[1] == said[3]
