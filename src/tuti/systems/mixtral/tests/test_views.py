"""The views and the page: loads, bits that experts tell, curves of twins, and bad input."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuti.app.cli import main
from tuti.nn import Decoder, DecoderConfig, load_decoder, token_nll
from tuti.run import Run, RunOptions, UserError
from tuti.systems.mixtral.page import page
from tuti.systems.mixtral.routes import (
    Routes,
    entropy,
    evenness,
    informed,
    kinds,
    read_model,
    routes,
    trace,
)
from tuti.systems.mixtral.train import Experts, Twin, Upcycled, parts, shape, tiny
from tuti.systems.mixtral.twins import Curve, Twins, by_clock, twins, verdict
from tuti.systems.transformer.tests.grammar import write_corpus
from tuti.systems.transformer.tests.small import packed
from tuti.text import Tokenizer

SMALL = dataclasses.replace(tiny(), width=48, layers=2, hidden=64, rows=4, steps=12, every=4)
WORDS = ["--scale", "tiny", "--width", "48", "--layers", "2", "--hidden", "64", "--rows", "4", "--every", "4"]


def tuti(*words: object) -> int:
    """The command line's exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def trained(tokens: Path, out: Path, *words: str) -> None:
    order = ("mixtral", "train", tokens, "--out", out, "--threads", "1", "--device", "cpu", *WORDS, *words)
    assert tuti(*order) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Packed tokens, and two runs of a few updates: experts and their twin."""
    folder = tmp_path_factory.mktemp("runs")
    write_corpus(folder / "corpus")
    tokens = packed(folder, folder / "corpus")
    trained(tokens, folder / "sparse", "--steps", "12", "model:experts", "--model.experts", "4")
    trained(tokens, folder / "dense", "--steps", "12", "model:twin")
    (folder / "text.txt").write_text("the pomi is da, it will kume again. این بابا که دا است.")
    return folder


def test_twins_cost_the_same_flops() -> None:
    sparse, dense = (shape(dataclasses.replace(SMALL, model=m), 500) for m in (Experts(), Twin()))
    router = 6 * sparse.layers * sparse.width * sparse.experts
    assert sparse.flops_per_token(128) - router == dense.flops_per_token(128)
    assert sparse.parameters > dense.parameters


def test_the_model_is_a_mixtral(runs: Path) -> None:
    models = (runs / name / "artifacts" / "model" / "config.json" for name in ("sparse", "dense"))
    sparse, dense = (json.loads(path.read_text()) for path in models)
    assert sparse["model_type"] == "mixtral" and sparse["num_local_experts"] == 4
    assert dense["model_type"] == "llama"


def test_an_upcycled_model_begins_dense_and_its_experts_part(runs: Path, tmp_path: Path) -> None:
    model = Upcycled(start=runs / "dense", experts=4)
    config = dataclasses.replace(SMALL, tokens=runs / "pack", model=model, width=999, context=4096)
    made = parts(config, Run(tmp_path, RunOptions()))
    dense = load_decoder(runs / "dense" / "artifacts" / "model")
    assert made.model.config == dataclasses.replace(dense.config, experts=4)
    ids = torch.arange(64)[None] * 5
    with torch.no_grad():
        torch.testing.assert_close(made.model(ids), dense(ids), atol=1e-5, rtol=1e-5)
    words = ("--steps", "8", "model:upcycled", "--model.start", str(runs / "dense"), "--model.experts", "4")
    trained(runs / "pack", tmp_path / "up", *words)
    experts = load_decoder(tmp_path / "up" / "artifacts" / "model").blocks[0].mlp.experts
    first, second = (expert.down.weight for expert in experts[:2])
    was = dense.blocks[0].mlp.down.weight
    assert 0 < (first - second).norm() < was.norm() and not torch.equal(first, was)


def test_upcycling_what_cannot_be(runs: Path, tmp_path: Path) -> None:
    def refused(**changes: Any) -> str:
        model = Upcycled(**{"start": runs / "dense", "experts": 4} | changes)
        with pytest.raises(UserError) as error:
            parts(dataclasses.replace(SMALL, tokens=runs / "pack", model=model), Run(tmp_path, RunOptions()))
        return str(error.value)

    assert "has experts already" in refused(start=runs / "sparse")
    assert "5 of 4 experts" in refused(active=5)
    other = tmp_path / "other"
    shutil.copytree(runs / "dense" / "artifacts" / "model", other)
    (other / "tuti.json").unlink()  # a folder from elsewhere
    Tokenizer.from_merges([(b"a", b"b")]).save(other)
    assert "another tokenizer" in refused(start=other)


def test_the_first_loss_is_that_of_knowing_nothing(runs: Path, tmp_path: Path) -> None:
    made = parts(dataclasses.replace(SMALL, tokens=runs / "pack"), Run(tmp_path, RunOptions()))
    batch = made.batches(0)[0]
    loss = float(made.loss(made.model, batch).detach()) / batch.num_targets
    assert loss == pytest.approx(np.log(made.model.config.vocab), rel=0.1)


def test_routes_are_printed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    routes(Routes(runs / "sparse", (runs / "text.txt",)))
    lines = capsys.readouterr().out.splitlines()
    loads = [line.split("entropy")[0].split()[3:] for line in lines if line.startswith("layer")]
    assert len(loads) == 2 and all(len(load) == 4 for load in loads)
    assert all(195 <= sum(map(int, load)) <= 205 for load in loads)  # two experts a token, rounded
    assert sum(name in line for line in lines for name in ("script", "kind", "position")) == 3


@pytest.mark.parametrize(
    "model,text,says",
    [
        ("dense", "text.txt", "no experts"),
        ("sparse", "absent.txt", "not readable"),
        ("sparse", "empty.txt", "no text"),
        ("sparse", "bytes.bin", "not readable"),
        ("absent", "text.txt", "absent"),
    ],
)
def test_routes_of_nothing(runs: Path, model: str, text: str, says: str) -> None:
    (runs / "empty.txt").write_text("")
    (runs / "bytes.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=says):
        routes(Routes(runs / model, (runs / text,)))


def test_languages_stand_side_by_side(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of HTML and a file: bits per byte as the model's own loss says, loads layer by layer."""
    (tmp_path / "fa").mkdir()
    (tmp_path / "fa" / "1.html").write_text("<p>این بابا که دا است. " * 9 + "</p><script>no()</script>")
    (tmp_path / "fa" / "notes.bin").write_bytes(b"\xff")
    text = "the pomi is da, it will kume again. " * 40
    (tmp_path / "en.txt").write_text(text)
    routes(Routes(runs / "sparse", (tmp_path / "fa", tmp_path / "en.txt")))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["fa", "en.txt"]
    layers = [line.split()[1:3] for line in lines if line.startswith("layer")]
    assert layers == [["0", "fa"], ["0", "en.txt"], ["1", "fa"], ["1", "en.txt"]]
    told = next(line.split() for line in lines if line.split()[:1] == ["text"])
    assert 0.1 < max(map(float, told[1:3])) <= float(told[-1])  # experts know the two apart
    model, tokenizer = read_model(runs / "sparse")
    ids = torch.tensor([tokenizer.encode(text)[: 128 * 3]])
    with torch.no_grad():
        nats = sum(token_nll(model, part[:, :-1], part[:, 1:]).sum() for part in ids.split(128, 1))
    size = sum(len(tokenizer.token_bytes(i)) for part in ids[0].split(128) for i in part[1:].tolist())
    assert trace(model, tokenizer, text, 3).bits == pytest.approx(float(nats) / np.log(2) / size, rel=1e-4)


def test_bits_told_are_those_there_are() -> None:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 4, 4000)
    assert informed(labels, labels) == pytest.approx(2, abs=0.02)  # the expert is the label
    assert informed(labels // 2, labels) == pytest.approx(1, abs=0.02)
    assert informed(chance.integers(0, 8, 4000), labels) < 0.01  # counted bits alone would be > 0
    few = informed(chance.integers(0, 8, 20), chance.integers(0, 4, 20))
    assert few < 0.4, few
    assert entropy(np.array([0, 0, 1, 1])) == 1 and evenness(np.array([5, 5, 5, 5])) == 1


def test_kinds_of_pieces() -> None:
    found = kinds(["the", " bird", " طوطی", "‌ها", "7", ".", " ", ""])
    script, kind = found["script"], found["kind"]
    assert script[0] == script[1] != script[2] == script[3]
    assert kind[0] != kind[1] == kind[2] and len({*kind[[0, 1, 4, 5, 6, 7]]}) == 6


def test_a_trace_is_what_the_model_did(runs: Path) -> None:
    tokenizer = Tokenizer.load(runs / "sparse" / "artifacts" / "model")
    model = Decoder(DecoderConfig(600, 32, 3, 4, 2, 8, 24, 32, experts=5, active=3))
    found = trace(model, tokenizer, "the pomi is da " * 50)
    assert len(found.pieces) == 32 and found.chosen.shape == (3, 32, 3)
    assert (found.loads.sum(1) == 32 * 3).all()
    assert "the pomi is da".startswith("".join(found.pieces)[:14])
    emoji = trace(model, tokenizer, "🦜")
    assert "".join(emoji.pieces) == "🦜" and len(emoji.pieces) > 1  # not four broken characters
    np.testing.assert_allclose(found.weights.sum(2), 1, atol=1e-6)


def test_twins_are_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twins(Twins(runs / "sparse", runs / "dense"))
    said = capsys.readouterr().out
    assert "at equal seconds" in said
    assert [line.split()[0] for line in said.splitlines()[2:4]] == ["4", "8"]


def test_where_the_curves_cross() -> None:
    steps = np.arange(1.0, 6)
    slow = Curve(steps, steps * 2, np.array([3.0, 2.0, 1.4, 1.1, 1.0]))
    fast = Curve(steps, steps, np.array([2.5, 2.0, 1.8, 1.7, 1.65]))
    grid, gains = by_clock(slow, fast)
    assert grid[0] == 2 and grid[-1] == 5
    assert gains[0] < 0 and gains[-1] == pytest.approx(1.65 - 1.7)
    assert "dense twin leads" in verdict(grid, gains) and "all along" in verdict(grid, gains)
    crossing = verdict(np.array([1.0, 2, 3]), np.array([-0.1, 0.05, 0.2]))
    assert "experts lead by 0.200" in crossing and "since second 2" in crossing


def test_twins_that_cannot_be_compared(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="never measured"):
        twins(Twins(tmp_path, runs / "dense"))
    with pytest.raises(UserError, match="does not exist"):
        twins(Twins(runs / "sparse", tmp_path / "absent"))


@pytest.mark.parametrize(
    "words,says",
    [
        (["--width", "50", "--heads", "3"], "50 is not 3 heads"),
        (["model:experts", "--model.experts", "2", "--model.active", "3"], "3 of 2 experts"),
        (["--hidden", "65"], "65 wide"),
    ],
)
def test_shapes_that_cannot_be(runs: Path, words: list[str], says: str, capsys, tmp_path: Path) -> None:
    assert tuti("mixtral", "train", runs / "pack", "--out", tmp_path / "x", *words) == 1
    said = capsys.readouterr().err
    assert says in said and "hint:" in said


@pytest.mark.parametrize("language", ["en", "fa"])
def test_the_page_colours_a_text(runs: Path, language: str) -> None:
    parts = page(runs, {"lang": language, "text": "a <b> & طوطی", "layer": "1", "run": "sparse"})
    text = "\n".join(parts)
    assert "&lt;" in text and "<b>" not in text and "hsl(" in text and "<select" in text
    assert ("خبره" in text) == (language == "fa")


@pytest.mark.parametrize(
    "query", [{"layer": "99"}, {"layer": "-1"}, {"layer": "x"}, {"run": "../etc"}, {"text": ""}]
)
def test_the_page_survives_any_query(runs: Path, query: dict[str, str]) -> None:
    assert page(runs, {"lang": "en"} | query)


def test_a_page_without_runs(tmp_path: Path) -> None:
    assert "tuti mixtral train" in page(tmp_path, {"lang": "en"})[-1]


def test_a_damaged_model_is_told(runs: Path, tmp_path: Path) -> None:
    trained(runs / "pack", tmp_path / "hurt", "--steps", "1")
    path = tmp_path / "hurt" / "artifacts" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert "truncated" in page(tmp_path, {"lang": "en"})[-1]
