"""The plan of a whole job: model, vocabulary, batch and steps that fit the minutes, on this machine.

The machine is timed for a few seconds on real updates; what follows is arithmetic. The plan is written
into config.json in *steps*, so that no clock decides anything afterwards.
"""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tuti.nn import Decoder, DecoderConfig, LoRA, add_lora, load_decoder, nll
from tuti.run import UserError
from tuti.systems.finetune.sft import Lora, optimiser_of
from tuti.systems.transformer.pretrain import Scratch, decoder_config
from tuti.train import DTYPES, Muon, Optimiser

CONTEXT = 256
LADDER = ((128, 4), (192, 4), (192, 6), (256, 6), (320, 8), (448, 10), (640, 12))
"""Widths and layers of the candidates; heads are 64 wide, 4 at least, and groups share a key-value head"""
ROWS = 16
"""Rows of an update: half as many learn no faster by the token, and keep the processor less busy"""
LEAST = 20
"""Updates of pretraining at least: a model that gets fewer is no choice"""
OVERHEAD = 1.05
"""What drawing batches, dropping channels and logging add to an update"""


@dataclass(frozen=True)
class Plan:
    """What a job computes: everything else is derived from these in `pipelines.teach`."""

    vocab: int
    """Entries of the tokenizer"""
    width: int
    """Size of the residual stream (0: the base model's)"""
    layers: int
    """Blocks (0: the base model's)"""
    rows: int
    """Rows of one context in an update"""
    steps: int
    """Updates of pretraining"""
    sft_steps: int
    """Updates of teaching it to answer"""


@dataclass(frozen=True)
class Forecast:
    """What the plan was made from, and what to expect; told to the person, never computed with."""

    tokens_per_second: float
    parameters: int
    bits_per_byte: float
    precision: str
    seconds: dict[str, float]


def shape(width: int, layers: int, vocab: int, experts: int = 0) -> DecoderConfig:
    """The decoder of a rung of the ladder; two of its experts are as wide as the one layer of a dense one."""
    heads = max(4, width // 64)
    kv_heads = max(k for k in range(1, heads // 2 + 1) if heads % k == 0)
    dense = decoder_config(Scratch(width, layers, heads, kv_heads), CONTEXT, vocab)
    return replace(dense, experts=experts, hidden=dense.hidden // dense.active) if experts else dense


def vocabulary(corpus_bytes: int) -> int:
    """Entries that the corpus can teach: some 6,000 bytes for each, between 1,024 and 16,384.

    Four times as many cost small models bits on Hafez, and half as many on program code
    (docs/log/2026-11-26-ngram-bar.md, docs/log/2026-11-26-mixed-folder.md).
    """
    return int(min(16384, max(1024, 2 ** round(math.log2(max(1, corpus_bytes) / 6000)))))


def bytes_per_token(vocab: int) -> float:
    """What a token covers, from the demo's corpus at 512 to 4,096 entries (1.9 to 3.1 bytes)."""
    return 1.9 + 0.41 * (math.log2(vocab) - 9)


@dataclass(frozen=True)
class Candidate:
    """A model whose updates are timed; `adapters`: only those are trained, as on a base model."""

    config: DecoderConfig
    precision: str
    adapters: bool = False


def race(candidates: Sequence[Candidate], rows: int, device: str) -> list[float]:
    """Wall seconds of each one's update: means over two seconds and two updates each, after one to warm up.

    Means, since a job pays for the updates that something else held up, too (4 % on two cores).
    They take turns: what else the machine does then slows all of them alike, and never makes a larger
    model look as quick as a smaller one. A GPU is less disturbed: half a second of it is enough.
    """
    watched = 0.5 if device.startswith("cuda") else 2.0
    updates = [_updates(candidate, rows, device) for candidate in candidates]
    taken = [[next(update)] for update in updates]
    while len(taken[0]) < 3 or min(sum(seconds[1:]) for seconds in taken) < watched:
        for seconds, update in zip(taken, updates, strict=True):
            seconds.append(next(update))
    return [OVERHEAD * statistics.mean(seconds[1:]) for seconds in taken]


def _updates(candidate: Candidate, rows: int, device: str) -> Iterator[float]:
    """Real updates, one after the other; the wall seconds of each."""
    model = Decoder(candidate.config, torch.Generator().manual_seed(0))
    if candidate.adapters:
        add_lora(model, LoRA(Lora().rank, Lora().alpha))
    model = model.to(device, DTYPES[candidate.precision])
    optimiser = Optimiser(model, optimiser_of(Lora()) if candidate.adapters else Muon())
    ids = torch.randint(0, candidate.config.vocab, (rows, CONTEXT + 1), device=device)
    documents = (torch.arange(CONTEXT, device=device) > CONTEXT // 3).long().expand(rows, -1)
    while True:
        began = time.monotonic()
        (nll(model, ids[:, :-1], ids[:, 1:], documents) / ids[:, 1:].numel()).backward()
        optimiser.step(0.0)
        yield time.monotonic() - began


def expected_bits(parameters: float, tokens: float, corpus_tokens: float) -> float:
    """Held-out bits per byte to expect of a model of this size after so many tokens.

    E + A / N^a + B / D^b (Hoffmann et al. 2022, section 3.3), with constants from a handful of our own
    runs on the demo's corpus (docs/log/2026-11-26-ngram-bar.md): a rough guess elsewhere. Text seen again
    counts less and less (Muennighoff et al. 2023, equation 5).
    """
    epochs = tokens / corpus_tokens
    repeats = max(0.0, epochs - 1)
    useful = corpus_tokens * (min(1.0, epochs) + 15.4 * (1 - math.exp(-repeats / 15.4)))
    return 1.29 + 20.0 / parameters**0.35 + 100.0 / useful**0.36


def make_plan(corpus_bytes: int, minutes: float, device: str, experts: int = 0) -> tuple[Plan, Forecast]:
    """The plan with the lowest loss to expect among the rungs of the ladder that fit the minutes."""
    vocab = vocabulary(corpus_bytes)
    corpus_tokens = max(1.0, corpus_bytes * 0.95 / bytes_per_token(vocab))
    precision, update = choose_precision(shape(*LADDER[0], vocab, experts), ROWS, device)

    def rung(width: int, layers: int, update: float, *, refuse: bool = True) -> tuple[Plan, Forecast]:
        seconds, left = budget(corpus_bytes, minutes, update, refuse=refuse)
        sizes, steps = shape(width, layers, vocab, experts), int(left / update)
        bits = expected_bits(sizes.active_parameters, max(LEAST, steps) * ROWS * CONTEXT, corpus_tokens)
        seconds, speed = seconds | {"pretrain": left}, ROWS * CONTEXT / update
        plan = Plan(vocab, width, layers, ROWS, steps, max(10, int(seconds["sft"] / update)))
        return plan, Forecast(speed, sizes.parameters, bits, precision, seconds)

    plan, forecast = rung(*LADDER[0], update)
    for size in LADDER[1:]:
        rungs = ((plan.width, plan.layers), size)
        both = [Candidate(shape(*each, vocab, experts), precision) for each in rungs]
        smaller, larger = race(both, ROWS, device)
        plan, forecast = rung(*rungs[0], smaller)
        tried, promised = rung(*size, larger, refuse=False)
        if tried.steps < LEAST or promised.bits_per_byte >= forecast.bits_per_byte:
            break
        plan, forecast = tried, promised
    return replace(plan, steps=max(LEAST, plan.steps)), forecast


def make_base_plan(folder: Path, corpus_bytes: int, minutes: float, device: str) -> tuple[Plan, Forecast]:
    """Steps of adapters on a pretrained model; its sizes are its own."""
    rows, config = 2, load_decoder(folder).config
    precision, update = choose_precision(config, rows, device, adapters=True)
    seconds, left = budget(corpus_bytes, minutes, update, BASE_MEASURING)
    forecast = Forecast(rows * CONTEXT / update, config.parameters, 0.0, precision, seconds | {"adapt": left})
    steps, sft_steps = max(5, int(left / update)), max(5, int(seconds["sft"] / update))
    return Plan(config.vocab, 0, 0, rows, steps, sft_steps), forecast


AIM = 0.95
"""Share of the minutes that is planned for: a machine's speed changes by some 10 %, and late is worse"""
MEASURING = 225.0
"""What measuring a model in a job takes, in updates: 60 while it pretrains, 45 in sft, 120 at the end"""
BASE_MEASURING = 80.0
"""The same for a base model, which is measured on less: 14 while it adapts, 13 in sft, 53 at the end"""


def budget(
    corpus_bytes: int, minutes: float, update: float, measuring: float = MEASURING, *, refuse: bool = True
) -> tuple[dict[str, float], float]:
    """Seconds of the other stages, and what is left for training; too little is refused.

    `update`: the seconds of one update, which measuring goes by.
    """
    megabytes = corpus_bytes / 1e6
    seconds = {
        "start": 20.0,
        "prepare": 1.0 + 0.35 * megabytes,
        "tokenizer": 1.0 + 0.2 * min(megabytes, 40),
        "pack": 0.5 + 0.2 * megabytes,
        "sft": 0.05 * minutes * 60,
        "measuring": measuring * update,
        "n-gram": 1.0 + 3.5 * min(megabytes, 8),
    }
    left = AIM * minutes * 60 - sum(seconds.values())
    if left < 5 and refuse:
        raise UserError(
            f"{minutes:g} minutes leave nothing to train in: all else that {megabytes:.0f} MB "
            f"need takes some {sum(seconds.values()):.0f} s",
            hint=f"--minutes {math.ceil(sum(seconds.values()) / 60 + 2)}",
        )
    return seconds, left


def choose_precision(
    config: DecoderConfig, rows: int, device: str, *, adapters: bool = False
) -> tuple[str, float]:
    """bf16 where the processor gains by it, else fp32; with the seconds of an update."""
    both = [Candidate(config, name, adapters) for name in ("bf16", "fp32")]
    if device.startswith("cuda"):
        return "bf16", race(both[:1], rows, device)[0]
    rounded, exact = race(both, rows, device)
    return ("bf16", rounded) if rounded < 0.9 * exact else ("fp32", exact)
