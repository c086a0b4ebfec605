"""Two processes (gloo) and one with accumulation: the same losses, weights and checkpoints."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tuti.app.cli import main
from tuti.data import IGNORED, Batch, Document, write_tokens
from tuti.nn import Decoder, DecoderConfig, nll
from tuti.nn.moe import Penalty
from tuti.run import Run, RunOptions, UserError, find_artifact, read_events
from tuti.text import ChatTemplate, Tokenizer
from tuti.text.tests.sample import count_words
from tuti.train import (
    AdamW,
    Checkpoints,
    Muon,
    Optimiser,
    Processes,
    Trapezoid,
    processes,
)
from tuti.train.fit import fit

SHAPE = DecoderConfig(
    vocab=61, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, hidden=48, context=24
)
SPARSE = dataclasses.replace(SHAPE, hidden=24, experts=4)
METHODS = {"adamw": AdamW(lr=3e-3), "muon": Muon(lr=4e-3)}
STEPS = 20


def micro_batches(step: int) -> list[Batch]:
    """Four micro-batches of which one predicts nothing, one a single token."""
    chance = torch.Generator().manual_seed(step)
    found: list[Batch] = []
    for kept in (24, 1, 11, 0) if step % 2 else (3, 24, 24, 7):
        ids = (torch.rand(2, 25, generator=chance) ** 3 * SHAPE.vocab).long()
        targets = torch.where(torch.arange(24) < kept, ids[:, 1:], IGNORED)
        if kept == 1:
            targets[1:] = IGNORED
        documents = (torch.arange(24) > 9).long().expand(2, -1)
        found.append(Batch(ids[:, :-1], targets, documents))
    return found


def batch_loss(model, batch: Batch) -> torch.Tensor:
    return nll(model, batch.ids, batch.targets, batch.documents)


def train(group: Processes, method, folder: Path, stop=STEPS, dtype=torch.float32, shape=SHAPE):
    """The losses from the newest checkpoint in `folder` (or the start) on; leaves one at `stop`."""
    model = Decoder(shape, torch.Generator().manual_seed(3)).to(dtype)
    model.balance = Penalty(0.1, 0.01) if shape.experts else None
    wrapped = group.wrap(model)
    optimiser = Optimiser(model, method)
    run = Run(folder, RunOptions())
    start = group.resume(optimiser, run)
    updates = fit(
        wrapped,
        optimiser,
        Trapezoid(400, 40),
        lambda step: group.share(micro_batches(step)),
        batch_loss,
        start=start,
        steps=stop,
        total=group.total,
    )
    losses = [(step.loss, step.tokens, step.norm) for step in updates]
    state = group.gather(optimiser.state())
    if group.first:
        kept = Checkpoints(run)
        kept.save(stop, state)
        kept.wait()
    with group.whole(model) as plain:
        if plain is None:
            return None
        return losses, {n: p.detach().float().tolist() for n, p in plain.named_parameters()}


def work(folder: Path) -> None:
    """What each of the two processes does; the first writes what it found."""
    found, muon = {}, METHODS["muon"]
    with processes("ddp", "cpu", threads=2) as group:
        for kind in ("ddp", "fsdp"):
            group = Processes(kind, group.rank, group.world)
            for name, method in METHODS.items():
                found[f"{kind}-{name}"] = train(group, method, folder / f"{kind}-{name}")
            found[f"{kind}-resumed"] = train(group, muon, folder / f"one-for-{kind}")
            train(group, muon, folder / f"{kind}-half", 10)
            found[f"{kind}-bf16"] = train(group, muon, folder / f"{kind}-bf16", 5, torch.bfloat16)
            found[f"{kind}-experts"] = train(group, muon, folder / f"{kind}-experts", shape=SPARSE)
        if group.first:
            (folder / "found.json").write_text(json.dumps(found))


def torchrun(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command += map(str, words)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True) as launcher:
        try:
            said = launcher.communicate(timeout=120)
        except BaseException:  # killed, it would leave its two processes waiting for each other for ever
            launcher.terminate()
            raise
    return subprocess.CompletedProcess(command, launcher.returncode, *said)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What one process found, what two did, and the folder with their checkpoints."""
    folder = tmp_path_factory.mktemp("pair")
    one, muon = Processes("ddp"), METHODS["muon"]
    alone = {name: train(one, method, folder / name) for name, method in METHODS.items()}
    alone["bf16"] = train(one, muon, folder / "bf16", 5, torch.bfloat16)
    alone["experts"] = train(one, muon, folder / "experts", shape=SPARSE)
    train(one, muon, folder / "one-for-ddp", stop=10)
    shutil.copytree(folder / "one-for-ddp", folder / "one-for-fsdp")
    done = torchrun("-m", "tuti.train.tests.test_distributed", folder, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return alone, json.loads((folder / "found.json").read_text()), folder


def differences(one, other) -> tuple[float, float, float]:
    """The largest difference of losses, of norms (relative) and of weights."""
    assert [n for _, n, _ in one[0]] == [n for _, n, _ in other[0]]
    losses = max(abs(a - b) for (a, _, _), (b, _, _) in zip(one[0], other[0], strict=True))
    norms = max(abs(a / b - 1) for (_, _, a), (_, _, b) in zip(one[0], other[0], strict=True))
    assert one[1].keys() == other[1].keys()
    weights = max(
        float((torch.tensor(one[1][n]) - torch.tensor(other[1][n])).abs().max()) for n in one[1]
    )
    return losses, norms, weights


def equal(one, other) -> None:
    losses, norms, weights = differences(one, other)
    print(f"losses {losses:.1e}, norms {norms:.1e}, weights {weights:.1e}")
    assert losses <= 1e-5 and norms <= 1e-4 and weights <= 2e-5


@pytest.mark.parametrize("method", [*METHODS, "experts"])
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_equal_one(pair, kind: str, method: str) -> None:
    alone, found, _ = pair
    one = alone[method]
    assert len(one[0]) == STEPS and one[0][-1][0] < one[0][0][0] - 0.05
    equal(one, found[f"{kind}-{method}"])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_go_on_from_a_checkpoint_of_one(pair, kind: str) -> None:
    alone, found, _ = pair
    equal((alone["muon"][0][10:], alone["muon"][1]), found[f"{kind}-resumed"])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_goes_on_from_a_checkpoint_of_two(pair, kind: str) -> None:
    alone, _, folder = pair
    resumed = train(Processes("ddp"), METHODS["muon"], folder / f"{kind}-half")
    equal((alone["muon"][0][10:], alone["muon"][1]), resumed)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_with_bf16_weights_the_processes_stay_close(pair, kind: str) -> None:
    """bf16 weights over fp32 masters."""
    alone, found, _ = pair
    assert differences(alone["bf16"], found[f"{kind}-bf16"])[0] <= 2e-3


def test_micro_batches_that_cannot_be_shared_evenly_are_refused() -> None:
    with pytest.raises(UserError, match="3 micro-batches.* 2 processes") as caught:
        Processes("ddp", rank=1, world=2).share([1, 2, 3])
    assert "--micro 2" in caught.value.hint
    assert Processes("ddp", rank=1, world=2).share([1, 2, 3, 4]) == [2, 4]


def tokens_of(folder: Path) -> Path:
    """A run with the Tokens of a few lines."""
    chance = torch.Generator().manual_seed(0)
    words = ["aval", "bara", "chand", "dava", "emruz", "fard", "gol", "halva"]
    texts = [
        " ".join(words[i] for i in torch.randint(0, 8, (60,), generator=chance)) for _ in range(40)
    ]
    tokenizer = Tokenizer.train(count_words(texts), 300)
    run = Run(folder, RunOptions())
    with run.save("tokens", "Tokens", tokenizer=tokenizer.hash) as target:
        for split, chosen in (("train", texts[:36]), ("valid", texts[36:])):
            documents = [
                Document([tokenizer.end, *tokenizer.encode(text)], len(text.encode()), "Latin")
                for text in chosen
            ]
            write_tokens(target, split, documents, vocab=tokenizer.vocab_size)
        ChatTemplate.default(tokenizer).save(target)
    return folder


def test_the_command_line_under_torchrun(tmp_path: Path, monkeypatch) -> None:
    """One run is written, by the first process; its model is that of a single process."""
    monkeypatch.chdir(tmp_path)
    words = ["-m", "tuti", "transformer", "pretrain", tokens_of(tmp_path / "pack"), "--out", "one"]
    words += ["--context", 32, "--rows", 8, "--micro", 2, "--steps", 8, "--every", 4]
    words += ["--start.width", 32, "--start.layers", 2, "--start.heads", 2, "--start.kv-heads", 1]
    words += ["optimiser:adam-w", "--optimiser.lr", 2e-3]
    with pytest.raises(SystemExit, match="0"):
        main([str(word) for word in words[2:]])
    words[5:7] = ["--out", "two", "--parallel", "fsdp"]
    done = torchrun(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("step 8: held-out") == 1
    assert [e["step"] for e in read_events(tmp_path / "two", "step")] == list(range(1, 9))
    assert (tmp_path / "two" / "checkpoints" / "step-00000004").is_dir()
    one, two = (
        load_file(find_artifact(tmp_path / name, "LanguageModel") / "model.safetensors")
        for name in ("one", "two")
    )
    worst = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert one.keys() == two.keys() and worst <= 1e-5


if __name__ == "__main__":
    work(Path(sys.argv[1]))
