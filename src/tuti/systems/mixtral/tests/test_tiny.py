"""The tiny preset learns: experts predict held-out text better than the best byte n-gram."""

import dataclasses
import math
from pathlib import Path

import pytest

from tuti.data import read_tokens
from tuti.infer import document_nats
from tuti.measure import ngram_bits_per_byte, ratio_interval
from tuti.nn import load_decoder
from tuti.run import read_documents
from tuti.systems.mixtral.routes import evenness, read_model, trace
from tuti.systems.mixtral.train import tiny, train
from tuti.systems.transformer.tests.grammar import write_corpus
from tuti.systems.transformer.tests.small import go, packed


@pytest.mark.tiny
def test_the_tiny_preset_beats_the_best_byte_ngram(tmp_path: Path) -> None:
    grammar = write_corpus(tmp_path / "corpus")
    tokens = packed(tmp_path, tmp_path / "corpus")
    run = go(tmp_path / "run", train, dataclasses.replace(tiny(), tokens=tokens), threads=2)
    model = load_decoder(run.folder / "artifacts" / "model")
    valid = read_tokens(tokens / "artifacts" / "tokens", "valid")
    nats = document_nats(model, valid, model.config.context, len(valid))
    documents = tmp_path / "prepare" / "artifacts" / "documents"
    seen, held = ([row["text"].encode() for row in read_documents(documents, s)] for s in ("train", "valid"))
    best = ngram_bits_per_byte(seen, held)
    difference = ratio_interval(nats / math.log(2) - best.document_bits, valid.bytes)
    ours = nats.sum() / math.log(2) / valid.bytes.sum()
    entropy = sum(8 * grammar.bits(valid.names[g]) for g in valid.groups) / valid.bytes.sum()
    said = f"ours {ours:.4f}, n-gram {best.bits_per_byte:.4f}, entropy {entropy:.4f}"
    assert difference.high < 0, f"{difference}: {said}"
    assert ours == pytest.approx(0.236, abs=0.03), said  # the figure on the room's page
    text = "\n".join(text.decode() for text in held)
    traced = trace(*read_model(run.folder), text)
    assert all(evenness(load) > 0.7 for load in traced.loads), traced.loads  # nobody takes all
