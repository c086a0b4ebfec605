"""`tuti doctor` on real stages: sound ones pass, broken ones end with exit code 1 and the remedy."""

import json
import os
from pathlib import Path

import pytest

from tuti import systems
from tuti.app import doctor as house
from tuti.app.cli import main
from tuti.run import Card, Run, RunOptions, UserError, config_to_json
from tuti.systems.finetune.sft import Sft
from tuti.systems.finetune.tests.small import build
from tuti.systems.transformer import pretrain
from tuti.systems.transformer.pretrain import Pretrain, Scratch
from tuti.train.doctor import CHECKS


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    build(folder)
    return folder


def run_of(folder: Path, room: str, stage: str, config) -> Path:
    run = Run(folder, RunOptions(out=folder, device="cpu"))
    folder.mkdir(parents=True)
    run.write_config(room, stage, config)
    return folder


def pretraining(inputs: Path) -> Pretrain:
    return Pretrain(
        tokens=inputs / "tokens",
        start=Scratch(width=32, layers=2, heads=2, kv_heads=1),
        context=64,
        rows=4,
        steps=30,
    )


def tuning(inputs: Path) -> Sft:
    return Sft(
        model=inputs / "model",
        documents=inputs / "documents",
        tokens=inputs / "tokens",
        context=96,
        rows=4,
        steps=20,
    )


def outcome(capsys, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *map(str, words)])
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err


def test_each_training_stage_of_a_job_is_examined(inputs, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    job = run_of(tmp_path / "job", "teach", "teach", None)
    run_of(job / "stages" / "pretrain", "transformer", "pretrain", pretraining(inputs))
    run_of(job / "stages" / "sft", "finetune", "sft", tuning(inputs))
    before = sorted(p for p in tmp_path.rglob("*"))
    code, out, err = outcome(capsys, job)
    assert code == 0, out + err
    assert "── transformer pretrain" in out and "── finetune sft" in out
    assert out.count("\nok ") == 2 * len(CHECKS) and "FAIL" not in out
    assert "<|end|>]" in out
    assert sorted(p for p in tmp_path.rglob("*")) == before  # it looks, and writes nothing


def test_a_broken_schedule_fails_with_the_remedy(inputs, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "Trapezoid", lambda steps, warmup: lambda step: 1 - step / 20)
    stage = {"room": "transformer", "stage": "pretrain"}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(stage | {"config": config_to_json(pretraining(inputs))}))
    code, out, err = outcome(capsys, file)
    assert code == 1 and out.count("FAIL") == 1
    assert "1 of 7 checks failed: schedule" in err and "hint: it is -0.05 at update 21" in err


def test_a_template_whose_mask_trains_the_questions_fails(inputs, tmp_path, capsys, monkeypatch) -> None:
    from tuti.systems.finetune import exercises

    honest = exercises.render

    def careless(template, messages, context):
        if (made := honest(template, messages, context)) is None:
            return None
        return type(made)(made.ids, [True] * len(made.ids))

    monkeypatch.setattr(exercises, "render", careless)
    folder = run_of(tmp_path / "sft", "finetune", "sft", tuning(inputs))
    code, _, err = outcome(capsys, folder / "config.json")
    assert code == 1 and "checks failed: mask" in err and "trains nothing, or the questions too" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "describes no stage"),
        ('{"room": "spark", "stage": "cook", "config": {}}', "no stage spark cook"),
        ('{"room": "transformer", "stage": "pretrain", "config": {"steps": 0}}', "steps is 0"),
        ('{"room": "spark", "stage": "pack", "config": {}}', "no stage that trains"),
    ],
)
def test_what_describes_no_training_is_refused(tmp_path, capsys, content: str, said: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    code, _, err = outcome(capsys, tmp_path / "mine.json")
    assert code == 1 and said in err and "hint:" in err


def test_the_machine_and_the_checks_of_the_rooms(capsys, monkeypatch) -> None:
    target = f"{__name__}:"
    checks = {"sound": f"{target}sound", "unsound": f"{target}unsound"}
    monkeypatch.setattr(systems, "cards", lambda: {"zoo": Card("", "", checks=checks)})
    code, out, err = outcome(capsys)
    rows = {line.split()[1] for line in out.splitlines() if not line.startswith(" ")}
    assert {"python", "torch", "memory", "disk", "cuda", "chromium", "sandbox"} <= rows
    assert "zoo: sound" in out and "three parrots" in out
    assert code == 1 and "zoo: unsound" in err and "hint: feed it" in err


def test_what_is_missing_is_named_with_its_use(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(house, "check_kernel", unsound)
    rows = {row.name: row for row in house.examine_machine()}
    for name in ("chromium", "sandbox"):
        assert rows[name].figure == "missing" and rows[name].bound.startswith("needed only for")


def test_a_container_has_no_more_memory_than_its_limit(monkeypatch) -> None:
    real, read = house.free_bytes("cpu"), Path.read_text

    def limited(self: Path, *rest: str) -> str:
        found = {"memory.max": "3000000", "memory.current": "1000000"}
        return found[self.name] if self.name in found else read(self, *rest)

    monkeypatch.setattr(Path, "read_text", limited)
    assert house.free_bytes("cpu") == 2_000_000 < real


def sound() -> str:
    return "three parrots"


def unsound() -> str:
    raise UserError("the parrot is hungry", hint="feed it")
