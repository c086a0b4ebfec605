"""`kill -9` at any moment, then --resume: the final weights are those of an uninterrupted run, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuti.run import read_events
from tuti.run.files import hash_file

STAGES = ("prepare", "tokenizer", "pack", "pretrain", "sft", "evaluate")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Some 80 KB of text in two scripts, with lines to make exercises from."""
    chance = random.Random(5)
    words = "the parrot sings of sugar and roses while night falls over old river towns".split()
    persian = "طوطی شکر می‌خورد و از قند پارسی به بنگاله سخن می‌گوید تا شب".split()
    folder = tmp_path_factory.mktemp("texts")
    for name, bag, lines in (("a", words, 1500), ("b", persian, 700)):
        text = "\n".join(" ".join(chance.choices(bag, k=6)) for _ in range(lines))
        (folder / f"{name}.txt").write_text(text)
    return folder


class Nursery:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, out: Path, source: Path, kill: dict | None = None, after: float = 0.0) -> bool:
        """One attempt; True when it came to its end."""
        order = {"out": str(out), "source": str(source), "seed": 3, "kill": kill}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        if after:
            time.sleep(after)
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                after = 0.0  # it was quicker
        status = int(self.process.stdout.readline())
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return not os.WIFSIGNALED(status)


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.process.stdin.close()
    nursery.process.wait(timeout=20)


def weights(run: Path) -> dict[str, str]:
    names = ("pretrain", "sft")
    return {n: hash_file(run / "stages" / n / "artifacts/model/model.safetensors") for n in names}


@pytest.fixture(scope="module")
def whole(nursery, source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert nursery.run(out, source)
    return out


def test_two_runs_of_one_config_give_the_same_bits(nursery, source, whole, tmp_path) -> None:
    assert nursery.run(tmp_path / "run", source)
    assert weights(tmp_path / "run") == weights(whole)


def test_killed_at_random_events_twice_in_every_stage(nursery, source, whole, tmp_path) -> None:
    chance, out = random.Random(os.environ.get("TUTI_KILL_SEED", "1")), tmp_path / "run"
    for stage in STAGES:
        events = len(read_events(whole / "stages" / stage))
        for _ in range(2):
            # A stage that resumes logs fewer events the second time; the first third is always there.
            count = chance.randint(1, max(1, events // 3))
            kill = {"stage": stage, "event": "any", "count": count}
            assert not nursery.run(out, source, kill), f"{stage} was not killed at event {count}"
    assert nursery.run(out, source)
    assert weights(out) == weights(whole)


def test_killed_inside_writes(nursery, source, whole, tmp_path) -> None:
    """Between temporary file and rename, and during a checkpoint's fsync."""
    out = tmp_path / "run"
    kills = [
        {"stage": "prepare", "call": "rename", "where": "documents", "count": 1},
        {"stage": "pretrain", "call": "fsync", "where": "checkpoints", "count": 1},
        {"stage": "pretrain", "call": "rename", "where": "checkpoints", "count": 1},
        {"stage": "pretrain", "call": "rename", "where": "model", "count": 1},
        {"stage": "sft", "call": "fsync", "where": "checkpoints", "count": 2},
        {"stage": "sft", "call": "rename", "where": "model", "count": 1},
    ]
    for kill in kills:
        assert not nursery.run(out, source, kill), kill
    assert nursery.run(out, source)
    assert weights(out) == weights(whole)


def test_killed_by_the_clock(nursery, source, whole, tmp_path) -> None:
    chance, out, kills = random.Random(7), tmp_path / "run", 0
    while kills < 6:
        if nursery.run(out, source, after=chance.uniform(0.3, 2.5)):
            break
        kills += 1
    assert kills >= 1 and (kills < 6 or nursery.run(out, source))
    assert weights(out) == weights(whole)
