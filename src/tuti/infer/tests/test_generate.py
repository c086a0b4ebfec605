"""The plain loop against recomputing everything at each step; sampling against its definition."""

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tuti.infer import Sampling, StopText, generate, sample, sample_text
from tuti.nn import Decoder, DecoderConfig
from tuti.run import UserError
from tuti.text import Tokenizer
from tuti.text.tests.sample import begins_text


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_merges([])


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Decoder:
    config = DecoderConfig(tokenizer.vocab_size, 32, 2, 4, 2, 8, 64, 128)
    made = Decoder(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(8 if p.dim() == 2 else 1)  # a model with opinions
    return made


def spelt(tokenizer: Tokenizer, ids: Sequence[int]) -> bytes:
    special = set(tokenizer.specials.values())
    return b"".join(tokenizer.token_bytes(i) for i in ids if i not in special)


def test_greedy_equals_recomputing_from_the_start(model: Decoder, tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("the parrot")
    rule = Sampling(temperature=0, max_tokens=24, logprobs=2)
    tokens = list(generate(model, tokenizer, prompt, rule))
    ids = list(prompt)
    with torch.no_grad():
        for token in tokens:
            logprobs = model.logits(model(torch.tensor([ids]))[0, -1]).log_softmax(-1)
            before = spelt(tokenizer, ids[len(prompt) :])
            possible = (i for i in logprobs.argsort(descending=True).tolist())
            best = next(i for i in possible if begins_text(before + tokenizer.token_bytes(i)))
            assert token.id == best and token.top[0][0] == int(logprobs.argmax())
            assert token.logprob == pytest.approx(float(logprobs[token.id]), abs=1e-5)
            ids.append(token.id)
    assert len(tokens) == 24
    whole = spelt(tokenizer, [t.id for t in tokens]).decode("utf-8", "ignore")
    assert "".join(t.text for t in tokens) == whole


def test_generation_ends_at_ends_stops_and_the_context(
    model: Decoder, tokenizer: Tokenizer
) -> None:
    prompt = tokenizer.encode("the parrot")
    rule = Sampling(temperature=0, max_tokens=24)
    whole = [t.id for t in generate(model, tokenizer, prompt, rule)]
    cut = whole.index(whole[9])
    assert [t.id for t in generate(model, tokenizer, prompt, rule, (whole[9],))] == whole[:cut]
    long = Sampling(temperature=1, max_tokens=10**6, seed=3)
    assert len(list(generate(model, tokenizer, prompt, long))) == 129 - len(prompt)
    text = "".join(t.text for t in generate(model, tokenizer, prompt, long))
    stop = text[20:23]
    stopped = Sampling(temperature=1, max_tokens=10**6, seed=3, stop=(stop,))
    assert (
        "".join(t.text for t in generate(model, tokenizer, prompt, stopped)) == text.split(stop)[0]
    )
    for bad in ([], [1] * 129):
        with pytest.raises(UserError, match="context"):
            list(generate(model, tokenizer, bad, rule))


def test_what_is_written_is_utf8_whatever_the_model_thinks(
    model: Decoder, tokenizer: Tokenizer
) -> None:
    """A vocabulary of single bytes, and a model that knows nothing of them, cut off anywhere."""
    drawn = 0
    for seed in range(40):
        rule = Sampling(max_tokens=20 + seed % 5, seed=seed, temperature=3)
        tokens = list(generate(model, tokenizer, tokenizer.encode("م")[:1], rule))
        data = spelt(tokenizer, [t.id for t in tokens])
        assert begins_text(data) and len(tokens) == rule.max_tokens
        assert "".join(t.text for t in tokens) == data.decode("utf-8", "ignore")
        drawn += sum(byte >= 0x80 for byte in data)
    assert drawn > 200


def test_outputs_without_a_token_are_never_drawn(tokenizer: Tokenizer) -> None:
    """Models' vocabularies are padded beyond their tokenizer's."""
    wider = Decoder(DecoderConfig(tokenizer.vocab_size + 40, 16, 1, 2, 1, 8, 32, 64))
    rule = Sampling(max_tokens=60, seed=1, temperature=5)
    made = [t.id for t in generate(wider, tokenizer, [65], rule)]
    assert len(made) == 60 and max(made) < tokenizer.vocab_size


def test_sample_text_is_repeatable_and_takes_any_prompt(
    model: Decoder, tokenizer: Tokenizer
) -> None:
    state = torch.get_rng_state()
    assert sample_text(model, tokenizer, "طوطی") == sample_text(model, tokenizer, "طوطی")
    assert sample_text(model, tokenizer, "a" * 500, max_tokens=8)
    assert torch.equal(state, torch.get_rng_state())


@given(
    st.lists(st.floats(-4, 4), min_size=2, max_size=12),
    st.floats(0.1, 1.0),
    st.integers(0, 12),
    st.floats(0, 1, exclude_max=True),
)
def test_draws_follow_the_definition(
    scores: list[float], top_p: float, top_k: int, u: float
) -> None:
    """Against probabilities listed one by one."""
    rule = Sampling(temperature=0.7, top_p=top_p, top_k=top_k)
    p = torch.softmax(torch.tensor(scores, dtype=torch.float64) / 0.7, 0).tolist()
    kept: list[int] = []
    for i in sorted(range(len(p)), key=lambda i: -p[i])[: top_k or len(p)]:
        if sum(p[j] for j in kept) < top_p - 1e-12:
            kept.append(i)

    class Fixed(random.Random):
        def random(self) -> float:
            return u

    chosen = sample(torch.tensor([scores], dtype=torch.float64), [rule], [Fixed()])[0]
    assert p[chosen] >= min(p[j] for j in kept) - 1e-9


def test_frequencies_match_probabilities() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    rule, source = Sampling(top_p=0.9), random.Random(1)
    counts = [0] * 4
    for _ in range(4000):
        counts[sample(scores, [rule], [source])[0]] += 1
    p = torch.softmax(scores[0], 0)
    assert counts[0] > 0 and counts[3] == 0  # 0.64 + 0.24 < 0.9 ≤ with 0.09
    expected = p[1] / (p[0] + p[1] + p[2])
    assert counts[1] / 4000 == pytest.approx(float(expected), abs=0.025)


@given(
    st.text("abc", max_size=40),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_stop_strings_never_leak_and_nothing_is_lost(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    stream, out, rest = StopText(stops), "", text
    while rest and stream.found is None:
        n = data.draw(st.integers(1, len(rest)))
        out += stream.push(rest[:n])
        rest = rest[n:]
    out += "" if stream.found else stream.flush()
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert out == text and stream.found is None
    else:
        assert stream.found is not None and text.startswith(out + stream.found)
        assert not any(stop in out for stop in stops)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 1.5}, {"max_tokens": -1}, {"temperature": float("nan")}],
)
def test_impossible_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give a number from"):
        Sampling(**wrong)  # type: ignore[arg-type]
