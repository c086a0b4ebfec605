"""evaluate: figures against plain sums, verdicts that refuse, the table and the file."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuti.data import read_tokens
from tuti.nn import load_decoder
from tuti.pipelines import scores
from tuti.pipelines.evaluate import (
    Evaluate,
    EvaluateRun,
    as_text,
    conclusions,
    evaluate,
    evaluate_run,
    inputs_of,
    promoted,
    read_evaluation,
)
from tuti.run import RunOptions, UserError, find_artifact, read_events
from tuti.run.directory import Run
from tuti.systems.finetune.exercises import make_exercises
from tuti.systems.finetune.sft import Adapt, Full, Sft, adapt, sft
from tuti.systems.finetune.tests.small import build, go, rows
from tuti.text import ChatTemplate


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job as teach lays it out: stages/prepare, pack, adapt, sft."""
    folder = tmp_path_factory.mktemp("job")
    build(folder)
    stages = folder / "stages"
    stages.mkdir()
    for name, made in (("prepare", "documents"), ("pack", "tokens")):
        (stages / name).symlink_to(folder / made)
    first = Adapt(folder / "model", folder / "tokens", Full(4e-3), rows=8, steps=50, held_out=4)
    run = Run(stages / "adapt", RunOptions())
    run.write_config("finetune", "adapt", first)
    go(stages / "adapt", adapt, first)
    second = Sft(stages / "adapt", folder / "documents", folder / "tokens", Full(4e-3))
    second = dataclasses.replace(second, context=128, rows=8, steps=40, exercises=300, held_out=4)
    Run(stages / "sft", RunOptions()).write_config("finetune", "sft", second)
    go(stages / "sft", sft, second)
    return folder


@pytest.fixture(scope="module")
def found(job: Path) -> dict[str, Any]:
    config = dataclasses.replace(inputs_of(job, 6), dialogues=60, length=40)
    run = go(job / "stages" / "evaluate", evaluate, config)
    assert {event["step"] for event in read_events(run.folder, "verdict")} == {"pretrain", "sft"}
    return read_evaluation(run.folder)


def table(found: dict[str, Any], title: str) -> list[dict[str, Any]]:
    [section] = [s for s in found["sections"] if s["title"].startswith(title)]
    return section["rows"]


def test_steps_that_learnt_are_promoted(job: Path, found: dict[str, Any]) -> None:
    verdicts = found["verdicts"]
    assert verdicts["pretrain"]["promoted"] and verdicts["pretrain"]["high"] < 0
    assert verdicts["sft"]["promoted"] and verdicts["sft"]["high"] < 0
    assert found["model"] == "tuned" and promoted(job / "stages" / "evaluate", "sft")


def test_every_section_is_plain_json_with_its_intervals(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found)) == found
    titles = [section["title"] for section in found["sections"]]
    assert titles[:3] == ["Held-out text", "Against the byte n-gram", "Answers"]
    for row in table(found, "Held-out text"):
        assert row["low"] <= row["bits per byte"] <= row["high"]
    assert {row["script"] for row in table(found, "Held-out text")} == {"all", "Latin", "Arabic"}
    assert {row["model"] for row in table(found, "Held-out text")} == {
        "base",
        "pretrained",
        "tuned",
    }
    for row in table(found, "Multiple choice"):
        assert 0.25 <= row["chance"] <= 0.5 and row["low"] <= row["after"] <= row["high"]
    copied = table(found, "Parrot score")
    assert sum(row["outputs"] for row in copied) == 6
    assert {row["script"] for row in copied} == {"Latin", "Arabic"}
    assert all(0 <= row["share copied"] <= 1 for row in copied)
    assert len(table(found, "Samples")) == 12


def test_bits_per_byte_is_the_plain_sum(job: Path, found: dict[str, Any]) -> None:
    folder = find_artifact(job / "stages" / "adapt", "LanguageModel")
    tokens = read_tokens(find_artifact(job / "tokens", "Tokens"), "valid")
    model, nats = load_decoder(folder), 0.0
    for number in range(len(tokens)):
        ids = torch.from_numpy(tokens.document(number))[None]
        with torch.no_grad():
            scored = model.logits(model(ids[:, :-1])).log_softmax(-1)
        nats -= float(scored.gather(-1, ids[:, 1:, None]).sum())
    plain = nats / math.log(2) / int(tokens.bytes.sum())
    row = next(r for r in table(found, "Held-out text") if r["model"] == "pretrained")
    # Documents longer than the context are scored in stretches, which costs a little.
    assert row["bits per byte"] == pytest.approx(plain, abs=0.02)


def test_the_verb_prints_what_was_kept(
    job: Path, found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_run(EvaluateRun(job))
    printed = capsys.readouterr().out
    assert printed.strip() == as_text(found).strip()
    assert "Against the byte n-gram" in printed and "sft: held-out dialogue loss" in printed


def test_a_single_stage_says_what_it_was_made_from(job: Path) -> None:
    inputs = inputs_of(job / "stages" / "sft", 3)
    assert inputs.tuned == job / "stages" / "sft" and inputs.pretrained == job / "stages" / "adapt"
    assert inputs_of(job, 3).base == job / "model"


def test_a_run_that_makes_no_model_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, RunOptions()).write_config("spark", "prepare", EvaluateRun(tmp_path))
    with pytest.raises(UserError, match="makes no model"):
        inputs_of(tmp_path, 1)


def test_a_step_that_made_it_worse_is_refused_in_words(job: Path, tmp_path: Path) -> None:
    # The two models exchanged: "sft" unlearns to answer, "pretraining" starts from the better one.
    stages = job / "stages"
    config = Evaluate(
        job / "documents",
        job / "tokens",
        pretrained=stages / "sft",
        tuned=job / "model",
        base=stages / "adapt",
        dialogues=40,
        samples=2,
        length=16,
        ngram_bytes=0,
    )
    run = go(tmp_path, evaluate, config)
    refused = read_evaluation(run.folder)
    assert not refused["verdicts"]["sft"]["promoted"] and refused["model"] == "pretrained"
    assert any("worse by" in warning for warning in refused["warnings"])
    assert any("not promoted" in line for line in conclusions(refused))
    assert read_events(run.folder, "warning")


def test_choices_by_likelihood_find_what_the_model_surely_says(job: Path) -> None:
    template = ChatTemplate.load(find_artifact(job / "model", "LanguageModel"))
    exercises = [e for e in make_exercises(rows(40, 7), 200, 1) if e.options]
    model = load_decoder(find_artifact(job / "stages" / "sft", "LanguageModel"))
    right, kept = scores.choose(model, template, exercises, 128)
    assert 0 < len(kept) <= len(exercises) and len(right) == len(kept)
    short, few = scores.choose(model, template, exercises, 40)
    assert len(few) < len(kept) and len(short) == len(few)


def test_change_is_paired() -> None:
    before, after = np.array([10.0, 20, 30]), np.array([9.0, 18, 27])
    row, difference = scores.change("x", before, after, np.array([10, 20, 30]))
    assert row["before"] == 1 and row["after"] == 0.9
    assert difference.value == pytest.approx(-0.1) and difference.high == pytest.approx(-0.1)
