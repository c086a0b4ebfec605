"""Stage `sft`: a model of text learns to answer; only the assistant's words and stops are scored."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from annotated_types import Ge, Interval
from tyro.conf import Positional

from tuti.data import Batch, PackedRows, Tokens, read_tokens
from tuti.data.dialogues import PackedDialogues, join
from tuti.nn import Decoder
from tuti.run import Run, UserError
from tuti.run.machine import choose_device
from tuti.systems.finetune import material
from tuti.systems.finetune.held_out import HeldOut
from tuti.systems.finetune.methods import Full, Lora, flops, open_model, optimiser_of, save_model
from tuti.text import ChatTemplate
from tuti.train import (
    Checkpoints,
    Optimiser,
    Parts,
    Step,
    Trapezoid,
    as_dtype,
    batch_loss,
    fit,
    load_checkpoint,
)


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning on dialogues; judged by the held-out dialogue loss."""

    model: Positional[Path]
    """The run (or folder) that holds the LanguageModel to start from"""
    documents: Positional[Path]
    """The run that holds Documents: its dialogues, and the texts that exercises are made from"""
    tokens: Positional[Path]
    """The run that holds Tokens of the same texts: plain rows are mixed in so that text is not forgotten"""
    method: Full | Lora = Full()
    """Train every weight, or low-rank adapters"""
    context: Annotated[int, Ge(16)] = 256
    """Tokens a row (at most the model's)"""
    rows: Annotated[int, Ge(1)] = 16
    """Rows an update"""
    steps: Annotated[int, Ge(1)] = 100
    """Updates"""
    keep: Annotated[float, Interval(ge=0, lt=1)] = 0.25
    """Share of the rows that are plain text"""
    exercises: Annotated[int, Ge(0)] = 4000
    """Exercises made from the corpus at most"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights and activations; the masters are fp32 always"""
    every: Annotated[int, Ge(1)] = 50
    """Updates between checkpoints and measurements"""
    held_out: Annotated[int, Ge(1)] = 64
    """Held-out dialogues measured before and after; as many documents, or those that fill as many rows"""


def parts(config: Sft, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder = run.load(config.model, "LanguageModel")
    documents = run.load(config.documents, "Documents")
    tokens = tokens_of(run.load(config.tokens, "Tokens"), ChatTemplate.load(folder))
    seed = run.options.seed
    model = open_model(folder, config.method, seed)
    context = min(config.context, model.config.context)
    count = min(config.exercises, 8 * config.rows * config.steps)
    found = material.gather(documents, "train", ChatTemplate.load(folder), context, count, seed)
    if not found.dialogues:
        raise UserError(
            f"{documents} gives nothing to answer: no dialogue, and no exercise fits {context} tokens",
            hint="--exercises 4000, a larger --context, or *.chat.jsonl files in the folder",
        )
    run.log(
        "material", dialogues=len(found.own), exercises=len(found.exercises), too_long=found.lost
    )
    plain = min(config.rows - 1, round(config.rows * config.keep))
    dialogues = PackedDialogues(found.repeated(), context, seed)
    text = PackedRows(tokens, context, seed)

    def batches(step: int) -> list[Batch]:
        answers = dialogues.batch(step * (config.rows - plain), config.rows - plain)
        return [join(answers, text.batch(step * plain, plain)) if plain else answers]

    schedule = Trapezoid(config.steps, warmup=min(20, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, optimiser_of(config.method))


def tokens_of(folder: Path, template: ChatTemplate, split: str = "train") -> Tokens:
    """A split of Tokens, once they are known to be those of the model's own tokenizer."""
    about = json.loads((folder / "tuti.json").read_text())
    if about.get("tokenizer") not in (None, template.tokenizer.hash):
        raise UserError(
            f"the tokens in {folder} were made with another tokenizer than the model's",
            hint="tuti spark pack DOCUMENTS_RUN MODEL_FOLDER makes them with the model's own",
        )
    return read_tokens(folder, split)


def sft(config: Sft, run: Run) -> None:
    """Trains, measures dialogues and text before and after, checkpoints, and saves a LanguageModel."""
    made = parts(config, run)
    base = run.load(config.model, "LanguageModel")
    template, seed = ChatTemplate.load(base), run.options.seed
    context = min(config.context, made.model.config.context)
    documents, tokens = run.load(config.documents, "Documents"), run.load(config.tokens, "Tokens")
    held = material.gather(documents, "valid", template, context, config.held_out, seed)
    measure = HeldOut(run, tokens, context, config.held_out, template, held)
    model, optimiser = train(made, config, measure, run)
    predicted = config.steps * config.rows * context
    run.log("cost", flops=flops(model, config.method, context, predicted))
    save_model(run, base, model, optimiser, config.method, chat=True)
    measure.verdict()


class Updates(Protocol):
    """What the configs of this room's training stages have in common."""

    @property
    def steps(self) -> int: ...
    @property
    def every(self) -> int: ...
    @property
    def precision(self) -> str: ...


def train(made: Parts, config: Updates, measure: HeldOut, run: Run) -> tuple[Decoder, Optimiser]:
    """The updates, from the last checkpoint on; measured at step 0, now and then, and at the end."""
    device = choose_device(run.options.device)
    model = made.model.to(device, as_dtype(config.precision))
    optimiser = Optimiser(model, made.optimiser)
    checkpoints, start = Checkpoints(run), 0
    if (found := run.resume()) is not None:
        start, state, _ = load_checkpoint(found)
        optimiser.restore(state)
        run.log("resumed", step=start)
    trained = sum(weight.numel() for weight in optimiser.weights)
    run.show(f"{trained:,} of {model.config.parameters:,} parameters, {config.steps:,} steps")
    if start == 0:
        measure(model, 0)

    def batches(step: int) -> list[Batch]:
        return [batch.to(device) for batch in made.batches(step)]

    updates = fit(
        model, optimiser, made.schedule, batches, made.loss, start=start, steps=config.steps
    )
    for step in updates:
        report(step, config.steps, run)
        if step.number % config.every == 0 and step.number < config.steps:
            checkpoints.save(step.number, optimiser.state())
            measure(model, step.number)
    checkpoints.wait()
    measure(model, config.steps, last=True)
    return model, optimiser


def report(step: Step, steps: int, run: Run) -> None:
    """One line a step on the screen, one event in the stream."""
    left = (steps - step.number) * step.seconds
    run.show(
        f"step {step.number}/{steps}  loss {step.loss:.3f}  {step.tokens / step.seconds:,.0f} tok/s  "
        f"{left / 60:.1f} min left",
        passing=True,
    )
    run.log(
        "step",
        step=step.number,
        steps=steps,
        loss=round(step.loss, 6),
        norm=round(step.norm, 4),
        tokens=step.tokens,
        seconds=round(step.seconds, 4),
    )
