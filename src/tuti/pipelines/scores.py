"""The sections of an evaluation: each a function from models and held-out material to rows of figures."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuti import measure
from tuti.data import Tokens
from tuti.data.dialogues import Dialogue
from tuti.infer import Engine, Model, Request, Sampling, document_nats, fitting
from tuti.nn import Decoder
from tuti.run import read_documents
from tuti.systems.finetune.exercises import Exercise
from tuti.systems.finetune.held_out import dialogue_nats
from tuti.text import ChatTemplate, Tokenizer

Row = dict[str, Any]
Costs = NDArray[np.float64]
"""Of each document or dialogue"""


def section(title: str, rows: list[Row]) -> Row:
    """A titled table."""
    return {"title": title, "rows": rows}


def figure(name: str, found: measure.Interval) -> Row:
    """A figure and the ends of its 95 % interval as three columns."""
    return {name: round(found.value, 3), "low": round(found.low, 3), "high": round(found.high, 3)}


class Texts:
    """The held-out documents that are scored: the same bytes for every model."""

    def __init__(self, documents: Path, tokens: Tokens, count: int) -> None:
        self.folder, self.tokens, self.count = documents, tokens, count
        rows = read_documents(documents, "valid")
        self.texts = [row["text"] for row, _ in zip(rows, range(self.count), strict=False)]
        self.bytes = tokens.bytes[: self.count]
        assert [len(text.encode()) for text in self.texts] == self.bytes.tolist()
        self.names = np.asarray(tokens.names)[tokens.groups[: self.count]]

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Which documents belong to each script; `all` first where there are several."""
        scripts = list(dict.fromkeys(self.names.tolist()))
        own = {script: self.names == script for script in scripts}
        return ({"all": np.ones(self.count, bool)} if len(own) > 1 else {}) | own

    def bits(self, model: Decoder, context: int) -> Costs:
        """Bits that each document costs a model."""
        context = min(context, model.config.context)
        return document_nats(model, self.tokens, context, self.count) / math.log(2)

    def untrained(self) -> Costs:
        """Bits that each document costs a model that knows only its vocabulary."""
        lengths = np.diff(self.tokens.starts)[: self.count] - 1
        return lengths * math.log2(self.tokens.vocab)


def text_section(texts: Texts, models: Mapping[str, Costs]) -> Row:
    """Held-out bits per byte of each model by script."""
    rows: list[Row] = []
    for script, own in texts.groups().items():
        for name, bits in models.items():
            found = measure.ratio_interval(bits[own], texts.bytes[own])
            row: Row = {"script": script, "model": name, "documents": int(own.sum())}
            rows.append(row | figure("bits per byte", found))
    return section("Held-out text", rows)


def ngram_section(texts: Texts, ours: Costs, limit: int) -> Row:
    """The best byte n-gram of each script, trained on the script's text or on all (up to `limit`
    bytes), whichever is better, beside the model.
    """
    bits, names = np.zeros(texts.count), dict[str, str]()
    train = _train_bytes(texts.folder, limit)
    everything = [text for part in train.values() for text in part]
    for script, own in texts.groups().items():
        if script == "all":
            continue
        held = [text.encode() for text, mine in zip(texts.texts, own, strict=True) if mine]
        tried = [everything, *([train[script]] if script in train and len(train) > 1 else [])]
        seen, best = measure.best_ngram(tried, held)
        bits[own] = best.document_bits
        names[script] = f"{best.kind}, order {best.order}, {sum(map(len, seen)) / 1e6:.1f} MB"
    rows: list[Row] = []
    for script, own in texts.groups().items():
        difference = measure.ratio_interval(ours[own] - bits[own], texts.bytes[own])
        row: Row = {"script": script, "n-gram": names.get(script, "the best of each script")}
        row |= {"its bits per byte": round(float(bits[own].sum() / texts.bytes[own].sum()), 3)}
        row |= figure("model minus n-gram", difference)
        rows.append(row | {"model is better": difference.value < 0})
    return section("Against the byte n-gram", rows)


def _train_bytes(folder: Path, limit: int) -> dict[str, list[bytes]]:
    """The first training documents by script; their order is that of a hash, so they are a fair sample."""
    found: dict[str, list[bytes]] = {}
    total = 0
    for row in read_documents(folder, "train"):
        text = row["text"].encode()
        found.setdefault(row["script"], []).append(text)
        total += len(text)
        if total >= limit:
            break
    return found


def change(name: str, before: Costs, after: Costs, sizes: NDArray[Any]) -> tuple[Row, measure.Interval]:
    """Before, after and their paired difference, for each unit of size."""
    difference, total = measure.ratio_interval(after - before, sizes), float(sizes.sum())
    row: Row = {"measure": name, "before": round(float(before.sum()) / total, 3)}
    row |= {"after": round(float(after.sum()) / total, 3)} | figure("difference", difference)
    return row | {"items": difference.n}, difference


def choose(
    model: Decoder, template: ChatTemplate, exercises: Sequence[Exercise], context: int
) -> tuple[list[bool], list[Exercise]]:
    """Which multiple-choice exercises the model gets right, and those that fit a row.

    Chosen is the option that the question makes cheapest, compared with what it costs after no question:
    argmax log P(option | question) - log P(option), since a common word is cheap anywhere (Holtzman et al.
    2021, Surface Form Competition).
    """
    kept: list[Exercise] = []
    asked: list[Dialogue] = []
    alone: list[Dialogue] = []
    for exercise in exercises:
        said = [{"role": "assistant", "content": option} for option in exercise.options]
        full = [template.render([exercise.messages[0], answer]) for answer in said]
        if len(full) > 1 and max(len(rendered.ids) for rendered in full) <= context + 1:
            kept.append(exercise)
            asked += [Dialogue(r.ids, r.mask) for r in full]
            bare = [template.render([{"role": "user", "content": "?"}, answer]) for answer in said]
            alone += [Dialogue(r.ids, r.mask) for r in bare]
    costs, right = dialogue_nats(model, asked) - dialogue_nats(model, alone), list[bool]()
    for exercise in kept:
        own, costs = np.split(costs, [len(exercise.options)])
        right.append(int(own.argmin()) == exercise.right)
    return right, kept


def choice_section(before: list[bool], after: list[bool], exercises: Sequence[Exercise]) -> Row:
    """Accuracy against chance by kind, with intervals."""
    rows: list[Row] = []
    kinds = list(dict.fromkeys(exercise.kind for exercise in exercises))
    for kind in ["all", *kinds] if len(kinds) > 1 else kinds:
        places = [i for i, e in enumerate(exercises) if kind in ("all", e.kind)]
        chance = float(np.mean([1 / len(exercises[i].options) for i in places]))
        found = measure.binomial_interval(sum(after[i] for i in places), len(places))
        row: Row = {"kind": kind, "items": len(places), "chance": round(chance, 3)}
        row |= {"before": round(sum(before[i] for i in places) / len(places), 3)}
        rows.append(row | figure("after", found) | {"above chance": found.low > chance})
    return section("Multiple choice", rows)


def write_samples(model: Model, tokenizer: Tokenizer, texts: Texts, count: int, length: int) -> list[Row]:
    """Continuations of the first two lines of held-out documents, scripts in turn: script, prompt, text."""
    groups = [np.flatnonzero(own) for name, own in texts.groups().items() if name != "all"]
    rows: list[Row] = []
    asked: list[Request] = []
    for n in range(count):
        group = groups[n % len(groups)]
        number = int(group[n // len(groups) % len(group)])
        prompt = "".join(texts.texts[number].splitlines(keepends=True)[:2])[:200]
        rows.append({"script": str(texts.names[number]), "prompt": prompt})
        ids = fitting([tokenizer.end, *tokenizer.encode(prompt)], model, length)
        rule = Sampling(temperature=0.8, top_p=0.95, max_tokens=length, seed=n)
        asked.append(Request(ids, rule, ends=(tokenizer.end,)))
    with closing(Engine(model, tokenizer, waiting=count)) as engine:
        told = engine.complete_all(asked)
    for row, events in zip(rows, told, strict=True):
        row["text"] = "".join(event.text for event in events)
    return rows


def copying_section(samples: Sequence[Row], folder: Path) -> Row:
    """The parrot score of samples by script: the share copied from training text, the longest copied run."""
    scripts = list(dict.fromkeys(str(sample["script"]) for sample in samples))
    groups = [[str(s["text"]) for s in samples if s["script"] == script] for script in scripts]
    training = (row["text"] for row in read_documents(folder, "train"))
    rows: list[Row] = []
    for script, outputs, found in zip(scripts, groups, measure.parrot_scores(groups, training), strict=True):
        row: Row = {"script": script, "outputs": len(outputs), "characters": sum(map(len, outputs))}
        row |= {"share copied": round(found.share, 3), "longest run": found.longest}
        rows.append(row | {"example": found.example})
    return section("Parrot score (copied runs of 20 characters or more)", rows)
