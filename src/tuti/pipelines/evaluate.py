"""What a taught model is worth, in figures with intervals; a step that made its own measure worse is refused.

Pretraining is judged by held-out bits per byte, sft by the held-out dialogue loss. Counts bound the time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from tyro.conf import Positional

from tuti.data import read_tokens
from tuti.infer import laid_out
from tuti.nn import Decoder, load_decoder
from tuti.pipelines import scores
from tuti.pipelines.scores import Row, Texts, section
from tuti.run import Run, RunOptions, UserError, execute, find_artifact, red
from tuti.run.directory import read_config
from tuti.run.machine import choose_device
from tuti.systems.finetune.exercises import gather
from tuti.systems.finetune.held_out import WORSE, answer, dialogue_nats
from tuti.text import ChatTemplate


@dataclass(frozen=True)
class Evaluate:
    """Measures the models of a job on held-out documents and dialogues."""

    documents: Positional[Path]
    """The run that holds Documents"""
    tokens: Positional[Path]
    """The run that holds Tokens of them"""
    pretrained: Positional[Path]
    """The model after pretraining"""
    tuned: Path | None = None
    """The model after sft"""
    base: Path | None = None
    """The model that pretraining started from (none: random weights)"""
    context: Annotated[int, Ge(16)] = 256
    """Tokens a row"""
    held_out: Annotated[int, Ge(1)] = 200
    """Documents at most"""
    held_out_tokens: Annotated[int, Ge(1)] = 1_000_000
    """Tokens of them at most; two documents are always measured"""
    dialogues: Annotated[int, Ge(1)] = 200
    """Held-out dialogues and exercises at most"""
    samples: Annotated[int, Ge(0)] = 40
    """Texts that the model writes"""
    length: Annotated[int, Ge(8)] = 160
    """Tokens of each"""
    ngram_bytes: Annotated[int, Ge(0)] = 8_000_000
    """Training text of the byte n-gram at most (0: leave it out)"""


def evaluate(config: Evaluate, run: Run) -> None:
    """Measures and writes artifacts/evaluation (Evaluation): evaluation.json with sections and verdicts."""
    kinds = {"documents": "Documents", "tokens": "Tokens"}
    for name in ("documents", "tokens", "pretrained", "tuned", "base"):
        if (path := getattr(config, name)) is not None:
            run.load(path, kinds.get(name, "LanguageModel"))
    found = measure(config, choose_device(run.options.device), run.options.seed, run.show)
    save_evaluation(run, found)
    for name, verdict in found["verdicts"].items():
        run.log("verdict", step=name, **verdict)
    for warning in found["warnings"]:
        run.log("warning", text=warning)
    for line in conclusions(found):
        run.show(line)


def save_evaluation(run: Run, found: Row, more: Mapping[str, str] | None = None) -> None:
    """Writes the artifact: evaluation.json, and `more` files of text by name."""
    texts = {"evaluation.json": json.dumps(found, ensure_ascii=False, indent=1)} | dict(more or {})
    with run.save("evaluation", "Evaluation") as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")


def read_evaluation(path: Path) -> Row:
    """What `evaluate` wrote, for reports, and for a chain that promotes."""
    return json.loads((find_artifact(path, "Evaluation") / "evaluation.json").read_text("utf-8"))


def promoted(path: Path, step: str) -> bool:
    """Whether the step of this name ("pretrain", "sft") improved its own measure."""
    return bool(read_evaluation(path)["verdicts"].get(step, {}).get("promoted", False))


@dataclass(frozen=True)
class EvaluateRun:
    """Prints the evaluation of a run; one that has none is measured now."""

    run: Positional[Path]
    """A run of teach, pretrain, adapt or sft"""
    again: bool = False
    """Measure anew"""
    samples: Annotated[int, Ge(0)] = 40
    """Texts that the model writes"""
    device: str = "auto"
    """auto, cpu or cuda"""
    task: Literal["held-out", "humaneval", "bits", "choice", "passkey"] = "held-out"
    """humaneval: 164 programs to write, run in a sandbox. bits: of given texts. choice: the most probable of
    options. passkey: a number found again in a long text. Each makes a run; what follows is for them"""
    items: tuple[Path, ...] = ()
    """bits: texts; choice: JSON lines with prompt, options and right (from 0)"""
    tries: Annotated[int, Ge(1)] = 1
    """Programs a problem, pass@k is told for k = 1, 10, 100 up to it; pass-keys at each place"""
    temperature: Annotated[float, Ge(0)] = 0.0
    """0: the most probable token, which more tries would repeat; .2 for pass@1, .8 for pass@100"""
    max_tokens: Annotated[int, Ge(1)] = 512
    """Tokens of a program at most; half the context where that is less"""
    problems: Annotated[int, Ge(0)] = 0
    """The first so many problems (0: all)"""
    seed: int = 0
    """Seed of the draws"""
    out: Path | None = None
    """The new run's directory"""


def evaluate_run(config: EvaluateRun) -> None:
    """The verb `tuti evaluate RUN`: a table on stdout."""
    if config.task != "held-out":
        from tuti.pipelines.tasks import run_task

        options = RunOptions(config.out, config.seed, config.device)
        made = Run.create("evaluate", config.task, config, options)
        execute(run_task, config, made)
        return print(as_text(read_evaluation(made.folder)))
    kept = config.run / "stages" / "evaluate"
    if (kept / "artifacts" / "evaluation").exists() and not config.again:
        found = read_evaluation(kept)
    else:
        inputs = inputs_of(config.run, config.samples)
        found = measure(inputs, choose_device(config.device), 0, lambda text: None)
    print(as_text(found))


def inputs_of(folder: Path, samples: int) -> Evaluate:
    """What a run was made from, found by its stages or by its own config."""
    stages = folder / "stages"
    if stages.is_dir():
        first = next((s for s in ("adapt", "pretrain") if (stages / s).exists()), "pretrain")
        tuned = stages / "sft" if (stages / "sft" / "artifacts" / "model").exists() else None
        base = Path(read_config(stages / first)["config"]["model"]) if first == "adapt" else None
        return Evaluate(stages / "prepare", stages / "pack", stages / first, tuned, base, samples=samples)
    about = read_config(folder)
    made: Row = about["config"]
    if about["stage"] not in ("sft", "adapt", "pretrain"):
        raise UserError(f"{folder} is a run of {about['stage']}, which makes no model", hint="tuti runs ls")
    tokens = Path(made["tokens"])
    if about["stage"] == "sft":
        return Evaluate(Path(made["documents"]), tokens, Path(made["model"]), folder, samples=samples)
    documents = Path(read_config(tokens)["config"]["documents"])
    base = Path(made["model"]) if "model" in made else None
    return Evaluate(documents, tokens, folder, base=base, samples=samples)


def measure(config: Evaluate, device: str, seed: int, show: Callable[[str], None]) -> Row:
    """All sections and verdicts, as JSON has them."""
    documents = find_artifact(config.documents, "Documents")
    tokens = read_tokens(find_artifact(config.tokens, "Tokens"), "valid")
    texts = Texts(documents, tokens, tokens.leading(config.held_out, config.held_out_tokens))
    names = {"base": config.base, "pretrained": config.pretrained, "tuned": config.tuned}
    models = {name: find_artifact(path, "LanguageModel") for name, path in names.items() if path}
    bits: dict[str, scores.Costs] = {}
    for name, folder in models.items():
        show(f"evaluate: {name}, {texts.count} held-out documents")
        bits[name] = texts.bits(_open(folder, device), config.context)
    sections = [scores.text_section(texts, bits)]
    if config.ngram_bytes:
        show("evaluate: the byte n-gram on the same bytes")
        sections.append(scores.ngram_section(texts, bits["pretrained"], config.ngram_bytes))
    # Against the base model; from scratch against a model that knows only its vocabulary.
    before = bits.get("base", texts.untrained())
    row, change = scores.change("held-out bits per byte", before, bits["pretrained"], texts.bytes)
    verdicts, warnings = {"pretrain": row | {"promoted": change.value < 0}}, list[str]()
    if config.tuned is not None:
        answers, verdicts["sft"], warnings = _answers(config, texts, bits, device, seed)
        sections += answers
    chosen = "tuned" if verdicts.get("sft", {}).get("promoted") else "pretrained"
    if config.samples:
        show(f"evaluate: {config.samples} samples of the {chosen} model")
        sections += _samples(config, models[chosen], texts, device, chosen == "tuned")
    kept = [table for table in sections if table["rows"]]
    return {"sections": kept, "verdicts": verdicts, "warnings": warnings, "model": chosen}


def _open(folder: Path, device: str) -> Decoder:
    return load_decoder(folder, device=device).eval()


def _answers(
    config: Evaluate, texts: Texts, bits: dict[str, scores.Costs], device: str, seed: int
) -> tuple[list[Row], Row, list[str]]:
    """sft: the dialogue loss and the choices before and after, and what it did to the text."""
    assert config.tuned is not None
    folders = [find_artifact(p, "LanguageModel") for p in (config.pretrained, config.tuned)]
    models, template = [_open(folder, device) for folder in folders], ChatTemplate.load(folders[1])
    context = min(config.context, models[1].config.context)
    held = gather(texts.folder, "valid", template, context, config.dialogues, seed)
    dialogues = held.dialogues[: config.dialogues]
    row, difference = scores.change("text: bits per byte", bits["pretrained"], bits["tuned"], texts.bytes)
    text = section("What sft did to the text", [row])
    warnings: list[str] = []
    if difference.value > WORSE:
        warnings.append(f"sft made text worse by {difference.value:.3f} bits per byte (limit {WORSE})")
    if not dialogues:
        warnings.append("no held-out dialogue or exercise fits a row: sft cannot be judged")
        return [text], {"measure": "held-out dialogue loss", "promoted": False}, warnings
    before, after = (dialogue_nats(model, dialogues) for model in models)
    said = np.asarray([dialogue.predictions for dialogue in dialogues])
    row, difference = scores.change("held-out dialogue loss (nats a token)", before, after, said)
    asked = [exercise for exercise in held.exercises if exercise.options]
    (old, kept), (new, _) = (scores.choose(model, template, asked, context) for model in models)
    sections = [section("Answers", [row]), scores.choice_section(old, new, kept), text]
    return sections, row | {"promoted": difference.value < 0}, warnings


def _samples(config: Evaluate, folder: Path, texts: Texts, device: str, chat: bool) -> list[Row]:
    """The parrot score, and some of what was written."""
    model, template = laid_out(_open(folder, device)), ChatTemplate.load(folder)
    written = scores.write_samples(model, template.tokenizer, texts, config.samples, config.length)
    shown: list[Row] = [{"prompt": row["prompt"], "text": row["text"]} for row in written[:6]]
    if chat:
        held = gather(texts.folder, "valid", template, model.config.context, 12, 0)
        for exercise in held.exercises[:6]:
            said = answer(model, template, exercise.messages[:1])
            shown.append({"prompt": exercise.messages[0]["content"], "text": said})
    return [scores.copying_section(written, texts.folder), section("Samples", shown)]


def conclusions(found: Row) -> list[str]:
    """One line a verdict and a warning; red where something became worse."""
    lines: list[str] = []
    for name, verdict in found["verdicts"].items():
        figures = ": {before} → {after} (difference {difference} [{low}, {high}])"
        measured = figures.format(**verdict) if "difference" in verdict else ""
        text = f"{name}: {verdict['measure']}{measured}"
        worse = "made its own measure worse: not promoted"
        lines.append(f"{text}: promoted" if verdict["promoted"] else red(f"{text}: {worse}"))
    for table in found["sections"]:
        for row in table["rows"]:
            if row.get("model is better") is False:
                worse = f"{row['script']}: the model is worse than the byte n-gram by"
                lines.append(red(f"{worse} {row['model minus n-gram']} bits per byte"))
    return lines + [red(f"warning: {warning}") for warning in found["warnings"]]


def as_text(found: Row) -> str:
    """The evaluation as tables for a terminal."""
    parts: list[str] = []
    for table in found["sections"]:
        parts += [table["title"], "─" * len(table["title"])]
        if table["title"] == "Samples":
            parts += [f"{row['prompt']}⟫ {row['text']}\n" for row in table["rows"]]
        else:
            parts += _columns(table["rows"])
        parts.append("")
    return "\n".join(parts + conclusions(found))


def _columns(rows: Sequence[Row]) -> list[str]:
    """Rows of plain values under their names, columns aligned."""
    names = list(rows[0])
    table = [names, *([str(row.get(name, "")).replace("\n", " ⏎ ") for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(names))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]
