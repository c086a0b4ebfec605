"""Stage `sft`: a model of text learns to answer; only the assistant's words and stops are scored."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval
from tyro.conf import Positional

from tuti.data import Batch, PackedRows, read_tokens
from tuti.data.dialogues import PackedDialogues, join
from tuti.run import Run, UserError
from tuti.run.machine import choose_device
from tuti.systems.finetune.exercises import gather
from tuti.systems.finetune.held_out import HeldOut
from tuti.systems.finetune.methods import Full, Lora, open_model, optimiser_of, save_model
from tuti.text import ChatTemplate
from tuti.train import Parts, Processes, Trapezoid, batch_loss, train

if TYPE_CHECKING:
    from tuti.systems.finetune.adapt import Adapt


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


def tiny() -> Sft:
    """Lowers the held-out dialogue loss of a small model within a minute on two cores."""
    return Sft(model=Path("model"), documents=Path("documents"), tokens=Path("tokens"), steps=60, rows=8)


def parts(config: Sft, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder = run.load(config.model, "LanguageModel")
    documents = run.load(config.documents, "Documents")
    template, seed = ChatTemplate.load(folder), run.options.seed
    tokens = read_tokens(run.load(config.tokens, "Tokens"), "train", template.tokenizer.hash)
    model = open_model(folder, config.method, seed)
    context = min(config.context, model.config.context)
    count = min(config.exercises, 8 * config.rows * config.steps)
    found = gather(documents, "train", template, context, count, seed)
    if not found.dialogues:
        raise UserError(
            f"{documents} gives nothing to answer: no dialogue, and no exercise fits {context} tokens",
            hint="--exercises 4000, a larger --context, or *.chat.jsonl files in the folder",
        )
    run.log("material", dialogues=found.own, exercises=len(found.exercises), too_long=found.lost)
    plain = min(config.rows - 1, round(config.rows * config.keep))
    dialogues = PackedDialogues(found.repeated(), context, seed)
    text = PackedRows(tokens, context, seed)

    def batches(step: int) -> list[Batch]:
        answers = dialogues.batch(step * (config.rows - plain), config.rows - plain)
        return [join(answers, text.batch(step * plain, plain)) if plain else answers]

    schedule = Trapezoid(config.steps, warmup=min(20, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, optimiser_of(config.method))


def sft(config: Sft, run: Run) -> None:
    """Trains, measures dialogues and text before and after, checkpoints, and saves a LanguageModel."""
    made = parts(config, run)
    template = ChatTemplate.load(run.load(config.model, "LanguageModel"))
    context = min(config.context, made.model.config.context)
    documents, tokens = run.load(config.documents, "Documents"), run.load(config.tokens, "Tokens")
    held = gather(documents, "valid", template, context, config.held_out, run.options.seed)
    tune(made, config, HeldOut(run, tokens, context, config.held_out, template, held), run)


def tune(made: Parts, config: "Adapt | Sft", measure: HeldOut, run: Run) -> None:
    """The updates, measured before, between and after them; then the model is saved and judged."""
    model = made.model
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    run.show(f"{trained:,} of {model.config.parameters:,} parameters, {config.steps:,} steps")
    alone = Processes("ddp", device=choose_device(run.options.device))
    save = partial(save_model, run, run.load(config.model, "LanguageModel"), config.method)
    train(made, config, measure.context, run, alone, measure, save, measure_first=True)
    measure.verdict()
