"""What the tests of this room share: a corpus of random words, and running the stage on it."""

import gzip
import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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


def write_every_kind(folder: Path) -> Path:
    """Every format, both scripts, duplicates across files, and something for each rule and skip."""
    write_corpus(folder, files=8)
    english = (folder / "0" / "0.txt").read_text()
    persian = (folder / "1" / "1.txt").read_text()
    (folder / "page.html").write_text(f"<h1>گل</h1><p>{persian[:3000]}<script>no</script>")
    rows = [{"text": english[:2500]}, {"text": persian[500:900]}, {"title": "none"}]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n{torn"
    (folder / "rows.jsonl").write_text(lines)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.table({"text": [english[:2500], persian[:100]]}), folder / "t.parquet")
    pq.write_table(pa.table({"n": [1]}), folder / "none.parquet")
    licence = "All of this may be copied by anyone who keeps these words at its head. " * 3
    for name in ("a", "b", "c"):
        (folder / f"licensed-{name}.txt").write_text(f"{licence}\n\n{name} {english[900:1050]}")
    (folder / "licence.txt").write_text(licence)
    (folder / "code.py").write_text("def parrot():\n    return 'طوطی'\n")
    (folder / "broken.txt").write_bytes(b"\xff\xfe\xfd\xfc" * 500)
    (folder / "image.bin").write_bytes(bytes(range(256)))
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as file:
        file.write("a name that is not UTF-8")
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"q{n % 9}"},
                {"role": "assistant", "content": "ok"},
            ]
        }
        for n in range(20)
    ]
    (folder / "x.chat.jsonl").write_text("\n".join(map(json.dumps, chats)))
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
