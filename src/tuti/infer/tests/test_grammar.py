"""Every answer is a sentence of its grammar, and each of its tokens a draw from the model's own odds."""

import copy
import json
import random
import re
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field

from tuti.infer import (
    Engine,
    Event,
    Finish,
    Grammar,
    PackedDecoder,
    Request,
    Sampling,
    Token,
    generate,
    sample,
)
from tuti.infer.grammar import LARGEST, Constraint, constrain
from tuti.nn import Decoder, DecoderConfig
from tuti.run import UserError
from tuti.text import Tokenizer
from tuti.text.backend import json_from_merges

DATE = r"(13|14)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


class City(Enum):
    TEHRAN = "تهران"
    SHIRAZ = "شیراز"


class Bird(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)

    name: Annotated[str, Field(pattern="^[آ-ی]{1,8}$")]
    words: Annotated[str, Field(max_length=12)]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: City
    birds: Annotated[list[Bird], Field(min_length=1, max_length=2)]
    count: Annotated[int, Field(ge=-5, le=1200)]
    share: Annotated[float, Field(ge=0, le=1)]
    kind: Literal["طوطی", "parrot\n\"x\""]
    maybe: bool | None
    نام: Annotated[list[Annotated[int, Field(ge=0, le=9)]], Field(max_length=3)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train({"تهران": 5, "شیراز": 4, '": "': 9, "طوطی": 3, "12": 2, "parrot": 3}, 264 + 30)


@pytest.fixture(scope="module")
def decoder(tokenizer: Tokenizer) -> Decoder:
    config = DecoderConfig(tokenizer.vocab_size + 3, 24, 1, 4, 2, 6, 48, 1024)
    return Decoder(config, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def engine(decoder: Decoder, tokenizer: Tokenizer) -> Iterator[Engine]:
    made = Engine(PackedDecoder(copy.deepcopy(decoder)), tokenizer, slots=6)
    yield made
    made.close()


def rule(seed: int, grammar: Grammar | None, **more: Any) -> Sampling:
    return Sampling(**({"seed": seed, "max_tokens": 900, "grammar": grammar} | more))


def choice(texts: list[str]) -> Grammar:
    """One of some texts."""
    return Grammar.lark("start: " + " | ".join(map(json.dumps, texts)))


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events)


def test_every_answer_meets_its_schema(engine: Engine) -> None:
    """20 answers of a model that knows nothing, at temperature 1; no end token is needed."""
    grammar = Grammar.json(Answer.model_json_schema())
    asked = [Request([1, 2, 3], rule(seed, grammar)) for seed in range(20)]
    texts: set[str] = set()
    for events in engine.complete_all(asked):
        assert isinstance(events[-1], Finish) and events[-1].reason == "stop", text_of(events)
        Answer.model_validate_json(text_of(events))
        texts.add(text_of(events))
    assert len(texts) == 20


def test_dates_by_a_regular_expression_alone_and_in_the_engine(
    engine: Engine, decoder: Decoder, tokenizer: Tokenizer
) -> None:
    for seed in range(20):
        wanted = list(generate(decoder, tokenizer, [7], rule(seed, Grammar.regex(DATE), logprobs=1)))
        found = engine.complete(Request([7], rule(seed, Grammar.regex(DATE), logprobs=1)))
        assert re.fullmatch(DATE, text_of(list(wanted)))
        assert [t.id for t in found if isinstance(t, Token)] == [t.id for t in wanted]
        for ours, theirs in zip(found, wanted, strict=False):  # of the model's own distribution
            assert isinstance(ours, Token) and ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
            assert theirs.logprob is not None and theirs.logprob < -3


def test_any_object_a_choice_and_lark(engine: Engine) -> None:
    lark = 'start: noun " " verb\nnoun: "طوطی" | "parrot"\nverb: /[a-c]{2}/'
    for seed in range(5):
        chosen = text_of(engine.complete(Request([7], rule(seed, choice(["بله", "نه", 'a"b\\'])))))
        assert chosen in ("بله", "نه", 'a"b\\')
        said = text_of(engine.complete(Request([7], rule(seed, Grammar.lark(lark)))))
        assert re.fullmatch("(طوطی|parrot) [a-c]{2}", said)
        any_object = rule(seed, Grammar.json({"type": "object"}), max_tokens=5)
        begun = text_of(engine.complete(Request([7], any_object)))
        assert begun.startswith("{")


@pytest.mark.parametrize("sentences", [["12:3", "12 parrots", "طوطی", "طوطی‌ها", "1"], ["aa", "ab", "a"]])
def test_what_may_come_next_is_what_leads_to_a_sentence(tokenizer: Tokenizer, sentences: list[str]) -> None:
    """Against trying every token on every sentence, along random walks."""
    whole, source = [text.encode() for text in sentences], random.Random(0)
    for _ in range(12):
        walk, said = Constraint(choice(sentences), tokenizer, (tokenizer.end, 261)), b""
        while not walk.over:
            spelt = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
            special = set(tokenizer.specials.values())
            wanted = {i for i, t in enumerate(spelt) if any(s.startswith(said + t) for s in whole)} - special
            allowed = set((~walk.banned).nonzero()[:, 0].tolist())
            ends = {tokenizer.end, 261} if said in whole else set[int]()
            assert allowed == wanted | ends
            step = source.choice(sorted(wanted))
            walk.push(step)
            said += spelt[step]
        assert walk.over == "stop" and said in whole


def test_draws_are_the_models_own_given_the_mask(tokenizer: Tokenizer) -> None:
    """Exact: the draw is inverted at each of 4,000 places of [0, 1)."""
    walk = Constraint(Grammar.regex("[a-e]+"), tokenizer, (tokenizer.end,))
    walk.push(ord("a"))
    logits = torch.randn(1, tokenizer.vocab_size + 3, generator=torch.Generator().manual_seed(1))
    p = logits[0].double().softmax(-1)
    allowed = [*range(ord("a"), ord("f")), tokenizer.end]
    wanted = torch.zeros_like(p)
    wanted[allowed] = p[allowed] / p[allowed].sum()
    kept = logits.clone()
    constrain(kept, [walk])
    kept[:, tokenizer.vocab_size :] = -torch.inf  # as `unspellable` does
    counts = torch.zeros_like(p)
    for k in range(4000):
        source = random.Random()
        source.random = lambda k=k: (k + 0.5) / 4000  # type: ignore[method-assign]
        counts[sample(kept, [Sampling()], [source])[0]] += 1
    torch.testing.assert_close(counts / 4000, wanted, atol=1 / 4000, rtol=0)


def test_company_with_other_grammars_or_none_changes_nothing(engine: Engine) -> None:
    schema = Grammar.json(Answer.model_json_schema())
    grammars = [None, Grammar.regex(DATE), schema, None, choice(["بله"])]
    asked = [
        Request([5, i], rule(i, grammar, max_tokens=60, logprobs=1, min_p=0.01), (261,))
        for i, grammar in enumerate(grammars)
    ]
    alone = [engine.complete(request) for request in asked]
    for ours, theirs in zip(engine.complete_all(asked), alone, strict=True):
        assert text_of(ours) == text_of(theirs) and ours[-1] == theirs[-1]
        assert [t.id for t in ours if isinstance(t, Token)] == [t.id for t in theirs if isinstance(t, Token)]


def test_stop_strings_ends_and_max_tokens_come_first(engine: Engine, tokenizer: Tokenizer) -> None:
    finish = engine.complete(Request([7], rule(0, Grammar.regex("a{50}"), max_tokens=9)))[-1]
    assert isinstance(finish, Finish) and finish.reason == "length"
    events = engine.complete(Request([7], rule(0, Grammar.regex("a{3}b{9}"), stop=("ab",))))
    assert text_of(events) == "aa" and isinstance(events[-1], Finish) and events[-1].stop == "ab"
    for seed in range(10):  # an end may come where the grammar may stop, and there alone
        events = engine.complete(Request([7], rule(seed, Grammar.regex("(xy)+")), (tokenizer.end,)))
        assert re.fullmatch("(xy)+", text_of(events)) and isinstance(events[-1], Finish)
        assert events[-1].reason == "stop"


WRONG: list[tuple[Any, str]] = [
    (lambda: Grammar.regex("a^b"), "lookarounds"),
    (lambda: Grammar.regex("(a"), "unclosed"),
    (lambda: Grammar.regex("(?=a)b"), "look-around"),
    (lambda: Grammar.regex(r"[^\x00-\x{10FFFF}]"), "allows no text"),
    (lambda: Grammar.regex(""), "allows no text"),
    (lambda: choice([]), "."),
    (lambda: Grammar.lark("begin: x"), "start"),
    (lambda: Grammar.json({"type": "strin"}), "strin"),
    (lambda: Grammar.json({"$ref": "http://127.0.0.1/x"}), "127.0.0.1"),
    (lambda: Grammar.json({"type": "array", "uniqueItems": True}), "uniqueItems"),
    (lambda: Grammar.json({"type": "integer", "minimum": 2, "maximum": 1}), "(?i)unsatisfiable"),
    (lambda: Grammar.json({"enum": ["x" * LARGEST]}), "65,"),
    (lambda: Grammar.json({"x": deep(300)}), "deep|recursion"),
    (lambda: Grammar.json(deep(200, "items")), "deep|recursion"),
]


def deep(levels: int, key: str = "a") -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {key: made}
    return made


@pytest.mark.parametrize(("made", "what"), WRONG)
def test_what_is_no_grammar_is_refused_and_the_engine_goes_on(engine: Engine, made: Any, what: str) -> None:
    with pytest.raises(UserError, match=what):
        engine.submit(Request([7], rule(0, made())))
    assert text_of(engine.complete(Request([7], rule(0, Grammar.regex("ok"))))) == "ok"


def test_a_vocabulary_that_cannot_finish_fails_that_answer_alone(
    decoder: Decoder, capfd: pytest.CaptureFixture[str]
) -> None:
    content = json_from_merges([])
    del content["model"]["vocab"]["b"]
    without = Tokenizer(content, {"eos_token": "<|endoftext|>"})
    asked, heavy = rule(0, Grammar.regex("ab")), rule(0, Grammar.regex("a?" * 6000))
    with pytest.raises(UserError, match="cannot go on"):
        list(generate(decoder, without, [7], asked))
    lame = Engine(decoder, without, slots=2)
    rules = [asked, heavy, rule(0, Grammar.regex("ac"))]
    bad, worse, good = lame.complete_all([Request([7], each) for each in rules])
    lame.close()
    assert isinstance(bad[-1], Finish) and bad[-1].reason == "error"
    assert isinstance(worse[-1], Finish) and worse[-1].reason == "error"  # beyond llguidance's limits
    assert text_of(good) == "ac" and isinstance(good[-1], Finish) and good[-1].reason == "stop"
    assert "cannot go on" in capfd.readouterr().err
