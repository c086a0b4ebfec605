"""The room's stages: what they compute, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tuti.data import Document, Tokens, read_tokens, write_tokens
from tuti.data.packing import draw_weights, tiredness
from tuti.infer import HeldOut, document_nats
from tuti.nn import Decoder, token_nll
from tuti.run import Run, RunOptions, UserError, read_events
from tuti.systems.transformer.pretrain import (
    Pretrain,
    Scratch,
    batch_loss,
    decoder_config,
    parts,
    pretrain,
)
from tuti.systems.transformer.tests.grammar import write_corpus
from tuti.systems.transformer.tests.small import go, packed
from tuti.systems.transformer.tokenizer import (
    TokenizerConfig,
    fertility_by_script,
    read_counts,
    tokenizer,
)
from tuti.text import Tokenizer

SMALL = Scratch(width=32, layers=1, heads=2, kv_heads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus, prepare, words and pack of 20 KB."""
    folder = tmp_path_factory.mktemp("transformer")
    write_corpus(folder / "corpus", size=20_000)
    packed(folder, folder / "corpus", vocab=400)
    return folder


def tokens_of(folder: Path, sizes: list[tuple[int, str]]) -> Tokens:
    documents = [Document([0, *range(1, 5)], size, group) for size, group in sizes]
    write_tokens(folder, "train", documents, vocab=5)
    return read_tokens(folder, "train")


@pytest.mark.parametrize("balance", [0.3, 0.7, 1.0])
def test_weights_keep_the_length_of_an_epoch_and_lift_the_small(
    tmp_path: Path, balance: float
) -> None:
    tokens = tokens_of(tmp_path, [(900, "Latin")] * 9 + [(300, "Arabic")] * 3)
    weights = draw_weights(tokens, balance)
    assert (weights * tokens.bytes).sum() == pytest.approx(tokens.bytes.sum())
    latin, arabic = weights[0], weights[-1]
    assert (weights[:9] == latin).all() and (weights[9:] == arabic).all()
    # 9 : 1 in bytes is drawn as 9^balance : 1
    assert (latin * 8100) / (arabic * 900) == pytest.approx(9**balance)


def test_a_small_group_is_not_read_for_ever(tmp_path: Path) -> None:
    """1 % in Arabic would be a third of all draws: 33 passes an epoch."""
    sizes = [*[(1000, "Latin")] * 97, *[(1000, "Cyrillic")] * 2, (1000, "Arabic")]
    tokens = tokens_of(tmp_path, sizes)
    for epochs, most in ((0.5, 60), (2, 15), (10, 3), (30, 1), (100, 1)):
        weights = draw_weights(tokens, 0.01, epochs)
        assert (weights * tokens.bytes).sum() == pytest.approx(tokens.bytes.sum())
        assert weights.max() <= most + 1e-9 and weights.min() > 0
    assert draw_weights(tokens, 0.01, 10)[-3:].tolist() == pytest.approx([3, 3, 3])
    assert draw_weights(tokens, 0.01, 10)[0] == pytest.approx(91 / 97)


def test_text_read_often_is_dropped_more() -> None:
    assert tiredness(np.array([0.5, 4, 8, 12, 50])).tolist() == [0, 0, 0.5, 1, 1]


def test_one_group_is_drawn_as_it_comes(tmp_path: Path) -> None:
    assert draw_weights(tokens_of(tmp_path, [(10, "Latin"), (20, "Latin")]), 0.5).tolist() == [
        1.0,
        1.0,
    ]


def test_the_shape_of_a_decoder() -> None:
    shape = decoder_config(Scratch(192, 6, 6, 2), context=128, vocab=500)
    assert (shape.head_dim, shape.hidden, shape.context, shape.vocab) == (32, 512, 128, 500)
    assert shape.tied and shape.parameters == sum(p.numel() for p in Decoder(shape).parameters())


@pytest.mark.parametrize(
    "start", [Scratch(100, 1, 3, 1), Scratch(48, 1, 16, 1), Scratch(64, 1, 4, 3)]
)
def test_shapes_that_cannot_be(start: Scratch) -> None:
    with pytest.raises(UserError, match="hint: width"):
        decoder_config(start, context=256, vocab=500)


def test_rows_that_do_not_divide(folder: Path, tmp_path: Path) -> None:
    config = Pretrain(folder / "pack", start=SMALL, rows=10, micro=3)
    with pytest.raises(UserError, match="10 rows .* 3 equal .*\nhint: --rows 9"):
        parts(config, Run(tmp_path, RunOptions()))


def test_micro_batches_are_the_big_batch_cut(folder: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, RunOptions(seed=4))
    whole = parts(Pretrain(folder / "pack", start=SMALL, rows=6, context=32), run)
    cut = parts(Pretrain(folder / "pack", start=SMALL, rows=6, context=32, micro=3), run)
    [big], small = whole.batches(5), cut.batches(5)
    assert big.dropout is not None  # the corpus is small: what is dropped must not depend on the cut
    assert torch.equal(big.ids, torch.cat([batch.ids for batch in small]))
    with torch.no_grad():
        total = sum(batch_loss(cut.model, batch) for batch in small)
        torch.testing.assert_close(total, batch_loss(whole.model, big), rtol=1e-5, atol=0)


@pytest.mark.parametrize("context", [16, 64, 512])
def test_a_document_costs_what_its_tokens_cost(folder: Path, tmp_path: Path, context: int) -> None:
    """Documents longer than the context in stretches; one that fits costs its plain sum."""
    config = Pretrain(folder / "pack", start=SMALL, context=context)
    model = parts(config, Run(tmp_path, RunOptions())).model
    valid = read_tokens(folder / "pack" / "artifacts" / "tokens", "valid")
    nats = document_nats(model, valid, context, len(valid), rows=3)
    ids = torch.as_tensor(valid.document(0))
    assert nats.shape == (len(valid),) and (nats > 0).all()
    if len(ids) - 1 <= context:
        with torch.no_grad():
            alone = token_nll(model, ids[None, :-1], ids[None, 1:]).double().sum().item()
        assert nats[0] == pytest.approx(alone, rel=1e-5)
    counted = [
        len(valid.document(n)) - 1 for n in range(len(valid))
    ]  # near ln V for each token at first
    assert (nats / counted).mean() == pytest.approx(np.log(valid.vocab), rel=0.05)


def test_held_out_measures_all_and_each_script(folder: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, RunOptions())
    measure = HeldOut(folder / "pack" / "artifacts" / "tokens", 64, run, glance_bytes=500)
    model = parts(Pretrain(folder / "pack", start=SMALL, context=64), run).model
    model.train()
    measure(model, 7)
    measure(model, 8, last=True)
    assert model.training
    glance, last = read_events(tmp_path, "held_out")
    assert glance["documents"] < last["documents"] == len(measure.tokens)
    found, sizes = last["bits_per_byte"], measure.tokens.bytes
    assert set(found) == {"all", "Latin", "Arabic"}
    shares = [
        sizes[measure.tokens.groups == n].sum() / sizes.sum()
        for n in range(len(measure.tokens.names))
    ]
    parts_of = [
        found[name] * share for name, share in zip(measure.tokens.names, shares, strict=True)
    ]
    assert found["all"] == pytest.approx(sum(parts_of))
    samples = [event["text"] for event in read_events(tmp_path, "sample")]
    assert len(samples) == 2 and samples[0] != samples[1]


def test_a_corpus_smaller_than_one_context(tmp_path: Path) -> None:
    """Its rows wrap around; nothing is refused, and the loss falls."""
    (tmp_path / "corpus").mkdir()
    for n in range(3):
        (tmp_path / "corpus" / f"{n}.txt").write_text(f"the parrot sang {n} songs of sugar")
    tokens = packed(tmp_path, tmp_path / "corpus", vocab=300, min_bytes=10)
    total = len(read_tokens(tokens / "artifacts" / "tokens", "train").ids)
    config = Pretrain(tokens, start=SMALL, context=256, rows=2, steps=4)
    assert total < config.context
    run = go(tmp_path / "run", pretrain, config)
    losses = [event["loss"] for event in read_events(run.folder, "step")]
    assert losses[-1] < losses[0] and (run.folder / "artifacts" / "model" / "config.json").exists()


@pytest.mark.parametrize(
    "damage", ['["a"', '["a", "b"]', '{"a": 1}', "7", '["a", 1, 2]', '["a", null]']
)
def test_damaged_word_counts(tmp_path: Path, damage: str) -> None:
    (tmp_path / "counts.jsonl").write_text('["x", 3]\n' + damage + "\n")
    with pytest.raises(UserError, match="damaged.*\nhint: tuti spark prepare"):
        read_counts(tmp_path)


def test_word_counts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hint: tuti spark prepare"):
        read_counts(tmp_path)
    with pytest.raises(UserError, match="wanted: WordCounts"):
        tokenizer(TokenizerConfig(words=tmp_path), Run(tmp_path / "run", RunOptions()))


def test_what_a_script_costs() -> None:
    counts = {" the": 6, " طوطی": 2, "42": 9, ".": 9}
    trained = Tokenizer.train(counts, 300)
    latin, arabic = fertility_by_script(trained, counts)
    assert (latin["script"], latin["words"]) == ("Latin", 6)
    assert (arabic["script"], arabic["words"]) == ("Arabic", 2)
    assert latin["tokens_per_word"] == len(trained.encode(" the"))
    assert arabic["bytes_per_token"] == pytest.approx(9 / len(trained.encode(" طوطی")))


def test_the_tokenizer_stage_tells_its_table(folder: Path) -> None:
    [event] = read_events(folder / "words", "tokenizer")
    about = json.loads((folder / "words" / "artifacts" / "tokenizer" / "tuti.json").read_text())
    assert event["vocab"] == about["vocab"] <= 400
    assert {row["script"] for row in event["fertility"]} == {"Latin", "Arabic"}
