"""Stage `pretrain`: a Llama-shaped decoder learns to predict the next token of packed documents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from tuti.data import Batch, PackedRows, Tokens, read_tokens
from tuti.nn import Decoder, DecoderConfig, look_back, save_decoder
from tuti.run import Run, UserError
from tuti.run.machine import choose_device
from tuti.systems.transformer.held_out import HeldOut
from tuti.text import ChatTemplate
from tuti.train import AdamW, Muon, Parts, Trapezoid, batch_loss, processes, train

REPEATS = 30
"""Times that a small group's text is read at most, for the sake of balance"""


@dataclass(frozen=True)
class Scratch:
    """A decoder from random weights."""

    width: Annotated[int, Ge(16)] = 192
    """Size of the residual stream"""
    layers: Annotated[int, Ge(1)] = 6
    """Blocks"""
    heads: Annotated[int, Ge(1)] = 6
    """Query heads"""
    kv_heads: Annotated[int, Ge(1)] = 2
    """Key-value heads, shared by groups of query heads"""
    look_back: bool = True
    """The first block's heads begin by looking 0 to 3 tokens back, not at random"""


@dataclass(frozen=True)
class Pretrain:
    """Predicts the next token; judged by bits per byte on held-out documents."""

    tokens: tyro.conf.Positional[Path]
    """The run (or folder) that holds Tokens"""
    start: Scratch = Scratch()
    """What the weights start from"""
    context: Annotated[int, Ge(16)] = 256
    """Tokens a row"""
    rows: Annotated[int, Ge(1)] = 16
    """Rows an update"""
    micro: Annotated[int, Ge(1)] = 1
    """Micro-batches an update is computed in (memory shrinks, the result stays)"""
    steps: Annotated[int, Ge(1)] = 1000
    """Updates"""
    optimiser: AdamW | Muon = Muon()
    """Muon for matrices, or AdamW for all"""
    balance: Annotated[float, Gt(0), Le(1)] = 0.15
    """Groups (scripts) are drawn as often as their share of bytes to this power; 1: as they come"""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Probability that a channel is dropped, for text that is read 12 times and more (up to 4 times: none)"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights and activations; the masters are fp32 always"""
    every: Annotated[int, Ge(1)] = 200
    """Updates between checkpoints, held-out measurements and samples"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun, each process holds a copy of the model (ddp) or a shard of it (fsdp)"""


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
        vocab=vocab,
        width=start.width,
        layers=start.layers,
        heads=start.heads,
        kv_heads=start.kv_heads,
        head_dim=head_dim,
        hidden=-(-8 * start.width // 3 // 32) * 32,
        context=context,
    )


def parts(config: Pretrain, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder = run.load(config.tokens, "Tokens")
    tokens = read_tokens(folder, "train")
    seed = run.options.seed
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(decoder_config(config.start, config.context, tokens.vocab), generator)
    if config.start.look_back:
        look_back(model, generator)
    epochs = config.steps * config.rows * config.context / len(tokens.ids)
    weights = draw_weights(tokens, config.balance, epochs)
    dropped = config.dropout * tiredness(weights * epochs)
    rows = PackedRows(tokens, config.context, seed, weights, dropped)
    share = config.rows // config.micro
    if share * config.micro != config.rows:
        raise UserError(
            f"{config.rows} rows do not make {config.micro} equal micro-batches",
            hint=f"--rows {max(1, share) * config.micro}",
        )

    def batches(step: int) -> list[Batch]:
        first = step * config.rows
        return [rows.batch(first + n * share, share) for n in range(config.micro)]

    schedule = Trapezoid(config.steps, warmup=min(40, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, config.optimiser)


def draw_weights(tokens: Tokens, balance: float, epochs: float = 1.0) -> NDArray[np.float64]:
    """How often each document is drawn an epoch, so that small groups are not drowned.

    Group g has the share p(g) of the bytes; it is drawn with p(g)^balance, renormalised so that an
    epoch keeps its length (temperature sampling, Conneau et al. 2020, section 3.1). But no group is
    read more than `REPEATS` times in all, unless the whole corpus is: text read more often than that
    teaches next to nothing (Muennighoff et al. 2023, section 6), and others need the time.
    """
    total = np.bincount(tokens.groups, weights=tokens.bytes, minlength=len(tokens.names))
    share = np.maximum(total / total.sum(), 1e-12)
    weights = share**balance / (share**balance).sum() / share
    limit = max(1.0, REPEATS / epochs)
    for _ in share:  # capping one group gives to the others, who may reach the limit by that
        capped = weights >= limit
        if not capped.any() or capped.all():
            break
        weights[capped] = limit
        weights[~capped] *= (1 - limit * share[capped].sum()) / (weights * share)[~capped].sum()
    return np.minimum(weights, limit)[tokens.groups]


def tiredness(passes: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the dropout a document gets that is read so often: nothing up to 4 times, all from 12.

    Four readings are worth as much as new text, later ones less and less (Muennighoff et al. 2023); it is
    then that a model begins to learn by heart.
    """
    return np.clip((passes - 4) / 8, 0, 1)


def pretrain(config: Pretrain, run: Run) -> None:
    """Trains, measures on held-out text, samples, checkpoints, and saves a LanguageModel."""
    made = parts(config, run)
    tokens_folder = run.load(config.tokens, "Tokens")
    measure = HeldOut(tokens_folder, config.context, run)
    shape = made.model.config
    run.show(f"pretrain: {shape.parameters:,} parameters, {config.steps:,} steps")
    with processes(config.parallel, choose_device(run.options.device), run.options.threads) as group:
        train(made, config, run, group, measure)
        predicted = config.steps * config.rows * config.context
        run.log("cost", flops=shape.flops_per_token(config.context) * predicted)
        with group.whole(made.model) as whole:
            if whole is not None:
                measure(whole, config.steps, last=True)
                save_model(whole, tokens_folder, run)


def save_model(model: Decoder, tokens_folder: Path, run: Run) -> None:
    """The model folder: Hugging Face's files, the chat template and its tokenizer."""
    template = ChatTemplate.load(tokens_folder)
    with run.save("model", "LanguageModel", chat=False, template=template.hash) as folder:
        save_decoder(model, folder)
        template.save(folder)
