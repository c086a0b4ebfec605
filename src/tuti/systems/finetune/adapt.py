"""Stage `adapt`: a pretrained model goes on learning the next token, on a person's own text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge
from tyro.conf import Positional

from tuti.data import Batch, PackedRows, read_tokens
from tuti.run import Run
from tuti.systems.finetune.held_out import HeldOut
from tuti.systems.finetune.methods import Full, Lora, open_model, optimiser_of
from tuti.systems.finetune.sft import tune
from tuti.text import ChatTemplate
from tuti.train import Parts, Trapezoid, batch_loss


@dataclass(frozen=True)
class Adapt:
    """Continued pretraining; judged by bits per byte on held-out documents."""

    model: Positional[Path]
    """The run (or folder) that holds the LanguageModel to start from"""
    tokens: Positional[Path]
    """The run that holds Tokens made with the model's own tokenizer"""
    method: Full | Lora = Lora()
    """Train low-rank adapters, or every weight"""
    context: Annotated[int, Ge(16)] = 128
    """Tokens a row (at most the model's)"""
    rows: Annotated[int, Ge(1)] = 4
    """Rows an update"""
    steps: Annotated[int, Ge(1)] = 100
    """Updates"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights and activations; the masters are fp32 always"""
    every: Annotated[int, Ge(1)] = 50
    """Updates between checkpoints and measurements"""
    held_out: Annotated[int, Ge(1)] = 16
    """Held-out documents measured before and after, or those that fill as many rows"""


def parts(config: Adapt, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder = run.load(config.model, "LanguageModel")
    tokenizer = ChatTemplate.load(folder).tokenizer
    tokens = read_tokens(run.load(config.tokens, "Tokens"), "train", tokenizer.hash)
    model = open_model(folder, config.method, run.options.seed)
    context = min(config.context, model.config.context)
    rows = PackedRows(tokens, context, run.options.seed)

    def batches(step: int) -> list[Batch]:
        return [rows.batch(step * config.rows, config.rows)]

    schedule = Trapezoid(config.steps, warmup=min(20, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, optimiser_of(config.method))


def adapt(config: Adapt, run: Run) -> None:
    """Trains, measures text before and after, checkpoints; saves the merged model and the adapter."""
    made = parts(config, run)
    context = min(config.context, made.model.config.context)
    tune(made, config, HeldOut(run, run.load(config.tokens, "Tokens"), context, config.held_out), run)
