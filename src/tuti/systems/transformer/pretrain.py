"""Stage `pretrain`: a Llama-shaped decoder learns to predict the next token of packed documents."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from annotated_types import Ge, Gt, Le, Lt

from tuti.data import read_tokens, update_batches
from tuti.infer import HeldOut, save_model
from tuti.nn import Decoder, DecoderConfig, look_back
from tuti.run import Run, UserError
from tuti.run.machine import choose_device
from tuti.train import AdamW, Muon, Parts, Trapezoid, Updates, batch_loss, processes, train


@dataclass(frozen=True)
class Scratch:
    """A decoder from random weights, but that the first block's heads look 0 to 3 tokens back."""

    width: Annotated[int, Ge(16)] = 192
    """Size of the residual stream"""
    layers: Annotated[int, Ge(1)] = 6
    """Blocks"""
    heads: Annotated[int, Ge(1)] = 6
    """Query heads"""
    kv_heads: Annotated[int, Ge(1)] = 2
    """Key-value heads, shared by groups of query heads"""


@dataclass(frozen=True)
class Pretrain(Updates):
    """Predicts the next token; judged by bits per byte on held-out documents."""

    tokens: tyro.conf.Positional[Path]
    """The run (or folder) that holds Tokens"""
    start: Scratch = Scratch()
    """What the weights start from"""
    micro: Annotated[int, Ge(1)] = 1
    """Micro-batches an update is computed in (memory shrinks, the result stays)"""
    optimiser: AdamW | Muon = Muon()
    """Muon for matrices, or AdamW for all"""
    balance: Annotated[float, Gt(0), Le(1)] = 0.15
    """Groups (scripts) are drawn as often as their share of bytes to this power; 1: as they come"""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Probability that a channel is dropped, for text that is read 12 times and more (up to 4 times: none)"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun, each process holds a copy of the model (ddp) or a shard of it (fsdp)"""


_SHAPE = Scratch(width=128, layers=4, heads=4, kv_heads=2)
tiny = partial(Pretrain, Path("tokens"), start=_SHAPE, context=128, rows=16, steps=300)
"""Learns to beat a byte n-gram on a small corpus within a minute on two cores"""


def decoder_config(start: Scratch, context: int, vocab: int) -> DecoderConfig:
    """The decoder's shape: SwiGLU is 8/3 as wide as the stream, rounded to 32."""
    head_dim = start.width // start.heads
    if head_dim * start.heads != start.width or head_dim % 2 or start.heads % start.kv_heads:
        raise UserError(
            f"width {start.width}, {start.heads} heads, {start.kv_heads} kv heads: each head takes an "
            "even number of channels, and kv heads divide heads",
            hint="width 192 with 6 heads and 2 kv heads, for example",
        )
    return DecoderConfig(
        vocab=vocab, width=start.width, layers=start.layers, heads=start.heads, kv_heads=start.kv_heads,
        head_dim=head_dim, hidden=-(-8 * start.width // 3 // 32) * 32, context=context,
    )


def parts(config: Pretrain, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder = run.load(config.tokens, "Tokens")
    tokens = read_tokens(folder, "train")
    seed = run.options.seed
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(decoder_config(config.start, config.context, tokens.vocab), generator)
    look_back(model, generator)
    batches = update_batches(
        tokens, config.context, config.rows, config.micro, config.steps, seed, config.balance, config.dropout
    )
    schedule = Trapezoid(config.steps, warmup=min(40, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, config.optimiser)


def pretrain(config: Pretrain, run: Run) -> None:
    """Trains, measures on held-out text, samples, checkpoints, and saves a LanguageModel."""
    made, folder = parts(config, run), run.load(config.tokens, "Tokens")
    measure = HeldOut(folder, config.context, run)
    run.show(f"pretrain: {made.model.config.parameters:,} parameters, {config.steps:,} steps")
    with processes(config.parallel, choose_device(run.options.device), run.options.threads) as group:
        train(made, config, config.context, run, group, measure, lambda m, _: save_model(m, folder, run))
