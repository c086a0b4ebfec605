"""Stage `train`: experts, their dense twin of equal FLOPs, or a dense model's copies learn the next token."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import tyro
from annotated_types import Ge

from tuti.data import read_tokens, update_batches
from tuti.infer import HeldOut, save_model
from tuti.nn import Decoder, DecoderConfig, load_decoder, look_back
from tuti.nn.moe import Penalty
from tuti.run import Run, UserError
from tuti.run.machine import choose_device
from tuti.text import Tokenizer
from tuti.train import AdamW, Muon, Parts, Trapezoid, Updates, batch_loss, processes
from tuti.train import train as updates

BALANCE, DROPOUT = 0.15, 0.1
"""How groups of text are drawn, and channels dropped: as the room `transformer` does it by default"""


@dataclass(frozen=True)
class Experts:
    """Feed-forward layers that a router chooses from, for each token and layer."""

    experts: Annotated[int, Ge(1)] = 8
    """Experts of a layer"""
    active: Annotated[int, Ge(1)] = 2
    """Experts that a token takes"""
    balance: Annotated[float, Ge(0)] = 0.01
    """Weight of the balancing loss: it is `active` where all experts get the same, at most `experts`"""
    z: Annotated[float, Ge(0)] = 0.001
    """Weight of the router's squared logsumexp"""


@dataclass(frozen=True, kw_only=True)
class Upcycled(Experts):
    """A dense model's feed-forward layers, each copied into experts; all its other sizes are its own."""

    start: Path
    """The run (or folder) that holds the dense LanguageModel"""


@dataclass(frozen=True)
class Twin:
    """One feed-forward layer, as wide as the active experts together: the same FLOPs a token."""


@dataclass(frozen=True)
class Train(Updates):
    """Experts on the same data, seed and schedule as their dense twin; judged by bits per byte."""

    tokens: tyro.conf.Positional[Path]
    """The run (or folder) that holds Tokens"""
    model: Experts | Twin | Upcycled = Experts()
    """Sparse, the dense twin, or sparse from a dense model's weights"""
    width: Annotated[int, Ge(16)] = 192
    """Size of the residual stream"""
    layers: Annotated[int, Ge(1)] = 6
    """Blocks"""
    heads: Annotated[int, Ge(1)] = 6
    """Query heads; a third as many, or one, hold keys and values"""
    hidden: Annotated[int, Ge(8)] = 512
    """Width of the feed-forward layers that a token takes, all together"""
    optimiser: AdamW | Muon = Muon()
    """Muon for matrices, or AdamW for all"""


tiny = partial(
    Train, Path("tokens"), width=96, layers=3, heads=3, hidden=256, context=128, rows=16, steps=250
)
"""Eight experts learn to beat a byte n-gram on a small corpus within a minute on two cores"""


def shape(config: Train, vocab: int) -> DecoderConfig:
    """The decoder: each expert has an equal part of `hidden`, the twin all of it."""
    head_dim = config.width // config.heads
    if head_dim * config.heads != config.width or head_dim % 2:
        what = f"width {config.width} is not {config.heads} heads of an even number of channels"
        raise UserError(what, hint="width 192 with 6 heads, for example")
    sparse = config.model if isinstance(config.model, Experts) else Experts(experts=1, active=1)
    if sparse.active > sparse.experts or config.hidden % sparse.active:
        raise UserError(
            f"{sparse.active} of {sparse.experts} experts, {config.hidden} wide together: a token takes no "
            "more experts than there are, and each has an equal part of the width",
            hint="--hidden 512 model:experts --model.experts 8 --model.active 2",
        )
    return DecoderConfig(
        vocab=vocab, width=config.width, layers=config.layers, heads=config.heads,
        kv_heads=config.heads // 3 if config.heads % 3 == 0 else 1, head_dim=head_dim,
        hidden=config.hidden // sparse.active, context=config.context,
        experts=sparse.experts if config.model is sparse else 0, active=sparse.active,
    )


def upcycled(start: Path, experts: int, active: int, generator: torch.Generator) -> Decoder:
    """A dense model's feed-forward layers, each copied into experts (Komatsuzaki et al. 2022).

    At first the dense model's very function, since weights of the chosen sum to 1; routers are random. The
    copies part because each is trained on what the router gives it.
    """
    dense = load_decoder(start)
    if dense.config.experts:
        raise UserError(f"{start} has experts already", hint="give a dense model's run, such as model:twin")
    if active > experts:
        hint = "--model.experts 8 --model.active 2"
        raise UserError(f"a token takes {active} of {experts} experts", hint=hint)
    model = Decoder(replace(dense.config, experts=experts, active=active), generator)
    given = dense.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".router." not in name:
                block, _, expert = name.partition(".experts.")
                parameter.copy_(given[f"{block}.{expert.partition('.')[2]}" if expert else name])
    return model


def parts(config: Train, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder, seed = run.load(config.tokens, "Tokens"), run.options.seed
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config.model, Upcycled):
        start = run.load(config.model.start, "LanguageModel")
        tokens = read_tokens(folder, "train", Tokenizer.load(start).hash)
        model = upcycled(start, config.model.experts, config.model.active, generator)
    else:
        tokens = read_tokens(folder, "train")
        model = Decoder(shape(config, tokens.vocab), generator)
        look_back(model, generator)
    if isinstance(config.model, Experts):
        model.balance = Penalty(config.model.balance, config.model.z)
    context = min(config.context, model.config.context)
    batches = update_batches(tokens, context, config.rows, 1, config.steps, seed, BALANCE, DROPOUT)
    schedule = Trapezoid(config.steps, warmup=min(40, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, config.optimiser)


def train(config: Train, run: Run) -> None:
    """Trains, measures on held-out text, samples, checkpoints, and saves a LanguageModel."""
    made, folder = parts(config, run), run.load(config.tokens, "Tokens")
    c = made.model.config
    context = min(config.context, c.context)
    measure = HeldOut(folder, context, run)
    run.show(f"train: {c.parameters:,} parameters, {c.active_parameters:,} active, {config.steps:,} steps")
    with processes("ddp", choose_device(run.options.device), run.options.threads) as group:
        updates(made, config, context, run, group, measure, lambda m, _: save_model(m, folder, run))
