"""Experts on disk: the same answers as in memory, whatever is held where; and a model of 6 GB in 3."""

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tuti.infer import Engine, Request, Sampling, Token, generate, load_model, offload
from tuti.infer.loading import LoadedModel
from tuti.infer.tests.test_packed import lively
from tuti.nn import DecoderConfig, save_decoder
from tuti.nn.files import write_safetensors
from tuti.nn.hugging_face import Part, config_to_hf, hf_parts
from tuti.nn.moe import Routing, by_expert
from tuti.run import UserError
from tuti.text import Tokenizer

CONFIG = DecoderConfig(265, 32, 3, 4, 2, 8, 48, 64, experts=6, tied=False)
EXPERT = 3 * 48 * 32 * 4 / 1e9  # GB in fp32
BUDGETS = {"none": 0, "one": 1.01 * EXPERT, "half": 9.01 * EXPERT, "all": 18.01 * EXPERT}


def saved(folder: Path, config: DecoderConfig = CONFIG, dtype: torch.dtype = torch.float32) -> Path:
    save_decoder(lively(config), folder, dtype=dtype)
    Tokenizer.from_merges([]).save(folder)
    return folder


def sharded(folder: Path) -> Path:
    """The same tensors in three files: an expert's matrices lie in different ones."""
    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    place = {name: f"model-{i % 3 + 1:05}-of-00003.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(place.values()):
        save_file({name: tensors[name] for name in tensors if place[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    whole.unlink()
    return folder


def answer(loaded: LoadedModel, prompt: list[int], tokens: int = 30) -> tuple[list[int], Tensor]:
    """Greedy tokens, and the logits of one pass over prompt and answer."""
    rule = Sampling(temperature=0, max_tokens=tokens)
    made = [t.id for t in generate(loaded.model, loaded.tokenizer, prompt, rule)]
    cache = loaded.model.cache(1, len(prompt) + tokens)
    ids = torch.tensor([prompt + made])
    return made, loaded.model.logits(loaded.model(ids, cache=cache.window([0], [ids.shape[1]])))


@pytest.mark.parametrize(
    "shards, dtype",
    [(False, torch.float32), (True, torch.float32), (False, torch.bfloat16), (True, torch.bfloat16)],
)
def test_answers_are_those_from_memory_to_the_bit(tmp_path: Path, shards: bool, dtype: torch.dtype) -> None:
    folder = saved(tmp_path, dtype=dtype)
    if shards:
        sharded(folder)
    prompt = [5, 250, 17, 99, 3]
    tokens, logits = answer(load_model(folder), prompt)
    assert len(tokens) == 30 and len(set(tokens)) > 5
    for budget in (BUDGETS["none"], BUDGETS["one"], BUDGETS["all"]):
        found, found_logits = answer(load_model(folder, expert_memory=budget), prompt)
        assert found == tokens
        assert torch.equal(found_logits, logits)


def test_other_families_and_several_answers_at_once(tmp_path: Path) -> None:
    qwen = DecoderConfig(265, 32, 3, 4, 2, 8, 48, 64, experts=5, active=3, shares="all", qk_norm=True)
    folder = saved(tmp_path, qwen)
    prompts = [[5, 250, 17], [9, 9, 9, 9, 80, 81], [200]]
    whole, rule = load_model(folder), Sampling(temperature=0, max_tokens=12)
    wanted = [answer(whole, prompt, 12)[0] for prompt in prompts]
    loaded = load_model(folder, expert_memory=4 * EXPERT)
    engine = Engine(loaded.model, loaded.tokenizer, slots=3)
    try:
        tickets = [engine.submit(Request(prompt, rule)) for prompt in prompts]
        found = [[e.id for e in ticket.wait() if isinstance(e, Token)] for ticket in tickets]
    finally:
        engine.close()
    assert found == wanted


def test_hot_experts_are_held_cold_ones_leave_and_uses_are_counted(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    shares: dict[str, float] = {}
    for name, budget in BUDGETS.items():
        loaded = load_model(folder, expert_memory=budget)
        experts = loaded.experts
        assert experts is not None
        seen: set[tuple[int, int]] = set()
        for start in range(0, 200, 40):
            answer(loaded, [start, start + 1, start + 2], 15)
            seen |= set(experts._held)
            assert len(experts._held) <= budget // EXPERT
        tally = experts.tally
        shares[name] = tally.expert_hits / tally.expert_uses
        if name == "half":
            assert len(seen) > len(experts._held) == 9  # some came and went
            assert min(experts._uses[k] for k in experts._held) > 0
        print(name, tally)
    assert shares["none"] == 0 < shares["one"] < 0.5 < shares["half"] < shares["all"]
    assert shares["all"] > 0.9


def test_the_kernel_is_told_what_the_next_layer_will_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(saved(tmp_path), expert_memory=0)
    experts = loaded.experts
    assert experts is not None
    keys = itertools.product(range(CONFIG.layers), range(CONFIG.experts))
    owner = {matrix.data_ptr(): key for key in keys for matrix in experts._matrices(key)}
    told, chosen, named = list[tuple[int, int]](), 0, 0

    def fed(x: Tensor, routing: Routing, each: list[partial[Tensor]]) -> Tensor:
        nonlocal chosen, named
        layer = each[0].args[0][0]
        own = [key for key in told if key[0] == layer]
        guess = set(own)
        assert len(own) == 3 * len(guess) and bool(guess) == (layer > 0)  # gate, up and down
        asked = {(layer, number) for number in routing.chosen.unique().tolist()}
        if layer:
            chosen, named = chosen + len(asked), named + len(asked & guess)
        told[:] = [key for key in told if key[0] != layer]
        return by_expert(x, routing, each)

    monkeypatch.setattr(offload, "_will_need", lambda matrix: told.append(owner[matrix.data_ptr()]))
    monkeypatch.setattr(offload, "by_expert", fed)
    for start in range(0, 200, 40):
        answer(loaded, [start, start + 1, start + 2], 15)
    # Of six experts two are taken: a guess by chance would name a third of them.
    assert named / chosen > 0.5, (named, chosen)


def test_what_is_held_is_not_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Tensor] = []
    monkeypatch.setattr(offload, "_will_need", told.append)
    loaded = load_model(saved(tmp_path), expert_memory=BUDGETS["all"])
    for _ in range(2):
        told.clear()
        answer(loaded, [5, 250, 17], 15)
    assert loaded.experts is not None and loaded.experts._held
    assert not {m.data_ptr() for m in told} & {
        m.data_ptr() for key in loaded.experts._held for m in loaded.experts._matrices(key)
    }


def test_what_cannot_be_offloaded_is_refused(tmp_path: Path) -> None:
    dense = saved(tmp_path / "dense", DecoderConfig(265, 32, 2, 4, 2, 8, 48, 64))
    with pytest.raises(UserError, match=r"(?s)no experts that could stay.*hint: leave --expert-memory"):
        load_model(dense, expert_memory=0)
    folder = sharded(saved(tmp_path / "sparse"))
    shard = folder / "model-00002-of-00003.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"(?s)model-00002.*not a whole safetensors file.*hint: .*cut short"):
        load_model(folder, expert_memory=0)
    shard.write_bytes(b"\xff" * 8 + whole[8:])
    with pytest.raises(UserError, match=r"(?s)not a whole safetensors file.*hint:"):
        load_model(folder, expert_memory=0)
    shard.unlink()
    with pytest.raises(UserError, match=r"(?s)there is no .*model-00002.*hint:"):
        load_model(folder, expert_memory=0)
    shard.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(UserError, match=r"has the shape \[48, 32\]"):
        load_model(folder, expert_memory=0)


LARGE = DecoderConfig(265, 1024, 17, 8, 2, 128, 3584, 128, experts=8, tied=False)  # 6.2 GB in fp32
CHILD = """
import json, os, sys, threading, time
folder, memory, tokens, group = sys.argv[1:]
if group:
    with open(group + "/cgroup.procs", "w") as file: file.write(str(os.getpid()))
from tuti.infer import Sampling, generate, load_model
peak, over = 0, threading.Event()
def watch():
    global peak
    while not over.wait(0.005):
        with open("/proc/self/status") as file:
            peak = max(peak, *(int(row.split()[1]) for row in file if row.startswith("RssAnon")))
watching = threading.Thread(target=watch)
watching.start()
loaded = load_model(folder, expert_memory=None if memory == "all" else float(memory))
rule = Sampling(temperature=0, max_tokens=int(tokens))
made, times = [], [time.perf_counter()]
for token in generate(loaded.model, loaded.tokenizer, [5, 250], rule):
    made.append(token.id)
    times.append(time.perf_counter())
over.set()
watching.join()
rate = (len(made) - 1) / (times[-1] - times[1])
uses = {} if loaded.experts is None else vars(loaded.experts.tally)
print(json.dumps({"tokens": made, "anonymous": peak * 1024, "rate": rate, **uses}))
"""


def write_large(folder: Path) -> None:
    """A random Mixtral, a layer a shard, each tensor a piece of one pool of random numbers."""
    source = torch.Generator().manual_seed(0)
    pool = torch.randn(2**23, generator=source).mul_(0.05)
    shards: dict[str, list[Part]] = {}
    for _, parts in hf_parts(LARGE):
        for name, shape in parts:
            shards.setdefault(name.split(".")[2] if "layers" in name else "rest", []).append((name, shape))
    for shard, parts in shards.items():
        tensors: dict[str, Tensor] = {}
        for name, shape in parts:
            size = math.prod(shape)
            start = int(torch.randint(len(pool) - size, (1,), generator=source))
            piece = pool[start : start + size].view(shape).clone()
            tensors[name] = torch.ones(shape) if len(shape) == 1 else piece
        write_safetensors(folder / f"{shard}.safetensors", tensors)
    place = {name: f"{shard}.safetensors" for shard, parts in shards.items() for name, _ in parts}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    (folder / "config.json").write_text(json.dumps(config_to_hf(LARGE, torch.float32)))
    Tokenizer.from_merges([]).save(folder)


@contextmanager
def limited(limit: int) -> Generator[str]:
    """A control group of at most `limit` bytes, page cache included; where none can be had, "", and why."""
    made, name = None, f"tuti-offload-{os.getpid()}"
    for root, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / root / name
        try:
            group.mkdir()
            made = group
            (group / file).write_text(str(limit))
            break
        except OSError as error:
            print(f"no control group at {group}: {error}")
            if made is not None:
                made.rmdir()
                made = None
    try:
        yield str(made or "")
    finally:
        if made is not None:
            made.rmdir()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_gigabytes_answer_in_three(tmp_path: Path) -> None:
    """Decodes with ≤ 3 GB of anonymous memory, and in ≤ 3 GB of any; tokens as in memory."""
    write_large(tmp_path)
    shards = list(tmp_path.glob("*.safetensors"))
    assert sum(shard.stat().st_size for shard in shards) >= 6e9

    def run(memory: object, tokens: int, group: str = "") -> dict[str, Any]:
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(memory), str(tokens), group]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        print(memory, group, found)
        return found

    try:
        whole = run("all", 8)
        assert whole["anonymous"] > 6e9 and len(set(whole["tokens"])) > 5
        part = run(1.5, 8)
        assert part["tokens"] == whole["tokens"]
        assert part["anonymous"] <= 3e9
        with limited(3 * 10**9) as group:
            if group:
                for shard in shards:  # what is in memory already would count for nobody
                    with shard.open("rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                assert run(1.0, 3, group)["tokens"] == whole["tokens"][:3]
    finally:
        for shard in shards:
            shard.unlink()
