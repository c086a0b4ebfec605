"""What the tests of this room share: a corpus of random words, and running the stage on it."""

import json
import random
from pathlib import Path

from tuti.run import Run, RunOptions
from tuti.systems.spark.prepare import Prepare, prepare


def write_corpus(folder: Path, files: int = 12, seed: int = 0) -> Path:
    """Paragraphs of random words, Persian and English by turns, some of them repeated."""
    chance = random.Random(seed)
    english = [
        chance.choice("bcdfgmnprst") + chance.choice("aeiou") + chance.choice("nrst")
        for _ in range(300)
    ]
    persian = [
        "می‌" + chance.choice("بپتجچدر") + chance.choice("اوی") + chance.choice("نمشد")
        for _ in range(300)
    ]
    for number in range(files):
        words = persian if number % 2 else english
        lines = [" ".join(chance.choices(words, k=9)) for _ in range(200)]
        path = folder / f"{number % 3}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "again.txt").write_bytes((folder / "0" / "0.txt").read_bytes())
    return folder


def run_of(out: Path, source: Path, threads: int = 0, **fields) -> Run:
    config = Prepare(source=(source,), **{"genre": "any"} | fields)  # random words please no rule
    run = Run.create("spark", "prepare", config, RunOptions(out=out, threads=threads))
    prepare(config, run)
    return run


def rows(run: Run, name: str) -> list[dict]:
    text = (run.folder / "artifacts" / "documents" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]


def told(run: Run, name: str) -> dict:
    return json.loads((run.folder / "artifacts" / "documents" / f"{name}.json").read_text())
