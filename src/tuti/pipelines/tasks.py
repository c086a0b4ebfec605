"""What a model makes of given texts: bits per byte, multiple choice, a pass-key in a long text.

All by the log-likelihood that one engine gives (`Engine.score`), with 95 % intervals.
"""

import json
import math
import os
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from tuti import measure
from tuti.infer import Engine, load_model
from tuti.pipelines.evaluate import EvaluateRun, save_evaluation
from tuti.pipelines.humaneval import humaneval
from tuti.pipelines.scores import Row, figure, section
from tuti.run import Run, UserError
from tuti.run.machine import choose_device
from tuti.run.sandbox import check_kernel

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where in the text the pass-key stands"""
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
"""Between which it is hidden (Mohtashami & Jaggi 2023)"""
TOLD = "The pass key is {key}. Remember it. {key} is the pass key.\n"
ASKED = "What is the pass key? The pass key is"


def nats(engine: Engine, text: str) -> float:
    """What a text costs in pieces as long as the engine takes; of each the first token is foretold."""
    ids, most, total = engine.tokenizer.encode(text), engine.length - 1, 0.0
    for start in range(0, len(ids), most):
        total -= sum(engine.score([engine.tokenizer.end, *ids[start : start + most]]))
    return total


def said(engine: Engine, prompt: str, ending: str) -> float:
    """log P(ending | prompt) in nats; of a prompt that is too long the end is seen."""
    before, whole = engine.tokenizer.encode(prompt), engine.tokenizer.encode(prompt + ending)
    same = len(os.path.commonprefix([before, whole]))
    seen = [engine.tokenizer.end, *whole][-engine.length :]
    return sum(engine.score(seen)[same - len(whole) :])


def bits(engine: Engine, config: EvaluateRun) -> list[Row]:
    """Bits per byte of each file, and of all."""
    texts = {str(path): _read(path) for path in config.items}
    costs = [nats(engine, text) / math.log(2) for text in texts.values()]
    sizes = [len(text.encode()) for text in texts.values()]
    rows: list[Row] = [
        {"text": name, "bytes": size, "bits per byte": round(cost / size, 3)}
        for name, cost, size in zip(texts, costs, sizes, strict=True)
    ]
    if len(rows) > 1:
        found = measure.ratio_interval(costs, sizes)
        rows.append({"text": "all", "bytes": sum(sizes)} | figure("bits per byte", found))
    return [section("Bits per byte", rows)]


def choice(engine: Engine, config: EvaluateRun) -> list[Row]:
    """Accuracy of the most probable option, and of the one most probable by the byte (lm-eval's acc_norm)."""
    items = [item for path in config.items for item in _questions(path)]
    hits, hits_by_byte = 0, 0
    for prompt, options, right in items:
        costs = [said(engine, prompt, option) for option in options]
        by_byte = [cost / len(option.encode()) for cost, option in zip(costs, options, strict=True)]
        hits += costs.index(max(costs)) == right
        hits_by_byte += by_byte.index(max(by_byte)) == right
    chance = sum(1 / len(options) for _, options, _ in items) / len(items)
    rows: list[Row] = []
    for name, count in (("most probable", hits), ("most probable by the byte", hits_by_byte)):
        found = measure.binomial_interval(count, len(items))
        row: Row = {"chosen": name, "items": len(items), "chance": round(chance, 3)}
        rows.append(row | figure("right", found))
    return [section("Multiple choice", rows)]


def passkey(engine: Engine, config: EvaluateRun) -> list[Row]:
    """Which of ten five-digit keys stood in a text of so many tokens (Mohtashami & Jaggi 2023)."""
    rows: list[Row] = []
    longest = engine.length
    if longest < (least := len(engine.tokenizer.encode(TOLD + ASKED))):
        raise UserError(f"the context of {longest:,} tokens does not hold a pass-key's {least:,}")
    for length in [*(2**n for n in range(8, 20) if least <= 2**n < longest), longest]:
        row: Row = {"tokens": length}
        for depth in DEPTHS:
            right = [_finds(engine, length, depth, seed) for seed in range(config.tries)]
            row[f"{depth:.0%} deep"] = f"{sum(right)}/{len(right)}"
        rows.append(row)
    return [section("Pass-key among ten (chance: one of ten)", rows)]


def _finds(engine: Engine, length: int, depth: float, seed: int) -> bool:
    chance = random.Random(f"{length} {depth} {seed}")
    keys = chance.sample(range(10_000, 100_000), 10)
    told = TOLD.format(key=keys[0])
    around, one = (len(engine.tokenizer.encode(text)) for text in (told + ASKED, FILLER))
    lines = max(0, (length - around - 10) // one)  # with room for a key after the question
    first = round(lines * depth)
    prompt = FILLER * first + told + FILLER * (lines - first) + ASKED
    costs = [said(engine, prompt, f" {key}") for key in keys]
    return costs.index(max(costs)) == 0


TASKS = {"bits": bits, "choice": choice, "passkey": passkey}


def run_task(config: EvaluateRun, run: Run) -> None:
    """Writes artifacts/evaluation: evaluation.json; for humaneval completions.jsonl, too."""
    programs, texts = config.task == "humaneval", dict[str, str]()
    if programs:
        check_kernel()  # before minutes are spent
        if config.tries > 1 and not config.temperature:
            raise UserError("at temperature 0 all tries are one program", hint="--temperature .2 to .8")
    elif not config.items and config.task != "passkey":
        raise UserError(f"the task {config.task} needs files", hint="--items FILE…")
    run.load(config.run, "LanguageModel")
    loaded = load_model(config.run, device=choose_device(run.options.device))
    with closing(Engine(loaded.model, loaded.tokenizer)) as engine:
        if programs:
            sections, texts["completions.jsonl"] = humaneval(engine, loaded.ends, config, run)
        else:
            sections = TASKS[config.task](engine, config)
    save_evaluation(run, {"sections": sections, "verdicts": {}, "warnings": []}, texts)


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable text: {error}", hint="give UTF-8 files") from error
    if not text:
        raise UserError(f"{path} is empty", hint="give a text")
    return text


def _questions(path: Path) -> list[tuple[str, Sequence[str], int]]:
    """(prompt, options, which is right) of each line."""
    found: list[tuple[str, Sequence[str], int]] = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        try:
            row = cast(dict[str, Any], json.loads(line))
            prompt, options, right = row["prompt"], row["options"], row["right"]
            texts = isinstance(prompt, str) and all(isinstance(o, str) and o for o in options)
            if not texts or len(options) < 2 or type(right) is not int or not 0 <= right < len(options):
                raise ValueError("prompt and options are texts, right is an option's number from 0 on")
        except (ValueError, KeyError, TypeError) as error:
            hint = '{"prompt": "2 + 2 =", "options": [" 3", " 4"], "right": 1} on each line'
            raise UserError(f"{path}, line {number} is no question: {error!r}", hint=hint) from error
        found.append((prompt, options, right))
    return found
