"""Stages `adapt` and `sft`: a pretrained model goes on learning a person's own text, or learns to answer.

Of an answer only the assistant's words and stops are scored.
"""

import json
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from tyro.conf import Positional

from tuti.data import Batch, PackedRows, read_tokens
from tuti.data.dialogues import Dialogue, PackedDialogues, join
from tuti.nn import Decoder, LoRA, add_lora, load_decoder, merge_lora, save_decoder, save_lora
from tuti.run import Run, UserError, atomic_write
from tuti.run.machine import choose_device
from tuti.systems.finetune.exercises import gather
from tuti.systems.finetune.held_out import HeldOut
from tuti.text import ChatTemplate
from tuti.train import AdamW, Optimiser, Parts, Processes, Trapezoid, Updates, batch_loss, train


@dataclass(frozen=True)
class Full:
    """Every weight is trained: for small models."""

    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate"""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters beside frozen matrices (Hu et al. 2021): for pretrained models."""

    rank: Annotated[int, Ge(1)] = 16
    """Rank of each adapter"""
    alpha: Annotated[float, Gt(0)] = 32.0
    """The adapter's output is scaled by alpha / rank"""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate: some ten times that of full fine-tuning"""


@dataclass(frozen=True)
class Adapt(Updates):
    """Continued pretraining; judged by bits per byte on held-out documents."""

    model: Positional[Path]
    """The run (or folder) that holds the LanguageModel to start from"""
    tokens: Positional[Path]
    """The run that holds Tokens made with the model's own tokenizer"""
    method: Full | Lora = Lora()
    """Train low-rank adapters, or every weight"""
    context: Annotated[int, Ge(16)] = field(default=128, kw_only=True)
    rows: Annotated[int, Ge(1)] = field(default=4, kw_only=True)
    steps: Annotated[int, Ge(1)] = field(default=100, kw_only=True)
    every: Annotated[int, Ge(1)] = field(default=50, kw_only=True)
    held_out: Annotated[int, Ge(1)] = 16
    """Held-out documents measured before and after, or those that fill as many rows"""


@dataclass(frozen=True)
class Sft(Updates):
    """Supervised fine-tuning on dialogues; judged by the held-out dialogue loss."""

    model: Positional[Path]
    """The run (or folder) that holds the LanguageModel to start from"""
    documents: Positional[Path]
    """The run that holds Documents: its dialogues, and the texts that exercises are made from"""
    tokens: Positional[Path]
    """The run that holds Tokens of the same texts: plain rows are mixed in so that text is not forgotten"""
    method: Full | Lora = Full()
    """Train every weight, or low-rank adapters"""
    steps: Annotated[int, Ge(1)] = field(default=100, kw_only=True)
    keep: Annotated[float, Interval(ge=0, lt=1)] = 0.25
    """Share of the rows that are plain text"""
    exercises: Annotated[int, Ge(0)] = 4000
    """Exercises made from the corpus at most"""
    every: Annotated[int, Ge(1)] = field(default=50, kw_only=True)
    held_out: Annotated[int, Ge(1)] = 64
    """Held-out dialogues measured before and after; as many documents, or those that fill as many rows"""


tiny = partial(Sft, Path("model"), Path("documents"), Path("tokens"), steps=60, rows=8)
"""Lowers the held-out dialogue loss of a small model within a minute on two cores"""


def parts(config: Adapt | Sft, run: Run) -> Parts:
    """The model, the batches as a pure function of the step, the loss and the schedule."""
    folder, seed = run.load(config.model, "LanguageModel"), run.options.seed
    template, model = ChatTemplate.load(folder), open_model(folder, config.method, seed)
    context = min(config.context, model.config.context)
    plain, dialogues = config.rows, None
    if isinstance(config, Sft):
        plain = min(config.rows - 1, round(config.rows * config.keep))
        dialogues = PackedDialogues(material(config, run, template, context), context, seed)
    tokens = read_tokens(run.load(config.tokens, "Tokens"), "train", template.tokenizer.hash)
    text = PackedRows(tokens, context, seed)

    def batches(step: int) -> list[Batch]:
        rows = [text.batch(step * plain, plain)] if plain else []
        if dialogues is not None:
            rows.insert(0, dialogues.batch(step * (config.rows - plain), config.rows - plain))
        return [reduce(join, rows)]

    schedule = Trapezoid(config.steps, warmup=min(20, config.steps // 10))
    return Parts(model, batches, batch_loss, schedule, optimiser_of(config.method))


def material(config: Sft, run: Run, template: ChatTemplate, context: int) -> list[Dialogue]:
    """An epoch of dialogues and exercises; none at all is refused."""
    documents = run.load(config.documents, "Documents")
    count = min(config.exercises, 8 * config.rows * config.steps)
    found = gather(documents, "train", template, context, count, run.options.seed)
    if not found.dialogues:
        what = f"{documents} gives nothing to answer: no dialogue, and no exercise fits {context} tokens"
        hint = "--exercises 4000, a larger --context, or *.chat.jsonl files in the folder"
        raise UserError(what, hint)
    run.log("material", dialogues=found.own, exercises=len(found.exercises), too_long=found.lost)
    return found.repeated()


def adapt(config: Adapt, run: Run) -> None:
    """Trains, measures text before and after, checkpoints; saves the merged model and the adapter."""
    _tune(config, run)


def sft(config: Sft, run: Run) -> None:
    """Trains, measures dialogues and text before and after, checkpoints, and saves a LanguageModel."""
    _tune(config, run)


def _tune(config: Adapt | Sft, run: Run) -> None:
    """The updates, measured before, between and after them; then the model is saved and judged."""
    made, template, held = parts(config, run), None, None
    model, base = made.model, run.load(config.model, "LanguageModel")
    context = min(config.context, model.config.context)
    if isinstance(config, Sft):
        documents, template = run.load(config.documents, "Documents"), ChatTemplate.load(base)
        held = gather(documents, "valid", template, context, config.held_out, run.options.seed)
    measure = HeldOut(run, run.load(config.tokens, "Tokens"), context, config.held_out, template, held)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    run.show(f"{trained:,} of {model.config.parameters:,} parameters, {config.steps:,} steps")
    alone = Processes("ddp", device=choose_device(run.options.device))
    save = partial(save_model, run, base, config.method)
    train(made, config, context, run, alone, measure, save, measure_first=True)
    measure.verdict()


def open_model(folder: Path, method: Full | Lora, seed: int) -> Decoder:
    """The model in fp32 with exactly the weights of the method trainable."""
    model = load_decoder(folder)
    if isinstance(method, Lora):
        generator = torch.Generator().manual_seed(seed)
        add_lora(model, LoRA(method.rank, method.alpha), generator)
    return model


def optimiser_of(method: Full | Lora) -> AdamW:
    """AdamW without decay: what was learnt before must stay."""
    return AdamW(lr=method.lr, weight_decay=0.0, beta2=0.99)


def save_model(run: Run, base: Path, method: Full | Lora, model: Decoder, optimiser: Optimiser) -> None:
    """The LanguageModel `model`; with LoRA also the artifact `adapter` in PEFT's format.

    Adapters are merged in fp32 into the weights of `base`, whatever precision they were trained in.
    """
    if isinstance(method, Lora):
        whole = open_model(base, method, 0)
        with torch.no_grad():
            for name, weight in whole.named_parameters():
                if name in optimiser.masters:
                    weight.copy_(optimiser.masters[name])
        with run.save("adapter", "Adapter", base=str(base)) as folder:
            save_lora(whole, LoRA(method.rank, method.alpha), folder, base=str(base))
        model = merge_lora(whole)
    template = ChatTemplate.load(base)
    with run.save("model", "LanguageModel", chat=True, template=template.hash) as folder:
        write_model(model, template, folder)


def write_model(model: Decoder, template: ChatTemplate, folder: Path) -> None:
    """Hugging Face's files of a model that answers: an answer ends where its template says."""
    save_decoder(model, folder, extra={"eos_token_id": list(template.stops)})
    template.save(folder)
    stops = {"eos_token_id": list(template.stops), "pad_token_id": template.tokenizer.end}
    atomic_write(folder / "generation_config.json", json.dumps(stops, indent=2) + "\n")
