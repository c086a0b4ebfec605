"""Near duplicates: ours against datatrove, two processes each, 14 bands of 8 minima over runs of five words.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install 'datatrove[io,processing]' 'xxhash<4'
    TUTI_DATATROVE=/tmp/peer/bin/python make bench NAME=dedup         # TUTI_MEGABYTES=30 for a quick look

Texts in two scripts, 300 MB; a third of them are copies of another in which words were changed, so that
Jaccard similarities from .5 to .95 are met. Both read JSON lines, write those that stay, and split words at
white space (datatrove's own choice, spaCy, is slower). Ours compares candidates exactly, at .85;
datatrove drops whatever shares a band. Printed: MB/s, precision and recall at J ≥ .85, share dropped by J.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np

MEGABYTES = int(os.environ.get("TUTI_MEGABYTES", "300"))
PEER = os.environ.get("TUTI_DATATROVE", sys.executable)
BANDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
LEAST = 0.85
FILES = 8
PROGRAM = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
import datatrove.pipeline.dedup.minhash as minhash
from datatrove.utils.word_tokenizers import WhitespaceTokenizer
class AtWhiteSpace(WhitespaceTokenizer):  # its own is spaCy's, which takes longer than all that follows
    def word_tokenize(self, text):
        return text.split()
minhash.load_word_tokenizer = lambda language: AtWhiteSpace()
source, work = sys.argv[1:]
config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
def run(number, pipeline, tasks):
    LocalPipelineExecutor(
        pipeline=pipeline, tasks=tasks, workers=min(2, tasks), logging_dir=f"{work}/logs{number}").run()
if __name__ == "__main__":
    run(1, [JsonlReader(source), MinhashDedupSignature(f"{work}/signatures", config)], 8)
    run(2, [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], 14)
    run(3, [MinhashDedupCluster(f"{work}/buckets", f"{work}/removed", config=config)], 1)
    run(4, [JsonlReader(source), MinhashDedupFilter(f"{work}/removed"),
            JsonlWriter(f"{work}/out", compression=None)], 8)
"""


def make(source: Path, sorted_rows: Path) -> tuple[dict[tuple[str, str], float], float]:
    """Writes the texts for both; the planted pairs with their Jaccard similarities, and megabytes."""
    from tuti.systems.spark.rows import Row

    chance = np.random.default_rng(0)
    letters = [list("abcdefghijklmnopqrstuvwxyz"), list("ابپتثجچحخدذرزسشصضطظعغفقکگلمنوهی")]
    words = [
        np.array(["".join(chance.choice(part, 3 + n % 6)) for n in range(100_000)]) for part in letters
    ]
    pairs: dict[tuple[str, str], float] = {}
    size = number = 0
    source.mkdir()
    sorted_rows.mkdir(parents=True)
    files = [open(source / f"{n}.jsonl", "w", encoding="utf-8") for n in range(FILES)]
    buckets: dict[int, list[str]] = {}

    def write(text: list[str]) -> str:
        nonlocal size, number
        own = f"{int(chance.integers(0, 2**62)):032x}"[::-1]
        row = Row(own, "document", f"{number:08d}", 1, "", "", " ".join(text))
        files[number % FILES].write(
            json.dumps({"id": row.id, "text": row.body}, ensure_ascii=False) + "\n"
        )
        buckets.setdefault(row.bucket(), []).append(row.line())
        size, number = size + len(row.body.encode()), number + 1
        return row.id

    while size < MEGABYTES * 1_000_000:
        known = words[int(chance.integers(2))]
        text = list(known[chance.zipf(1.3, int(chance.integers(150, 700))) % len(known)])
        one = write(text)
        if chance.random() < 0.5:
            changed = list(text)
            for place in np.flatnonzero(chance.random(len(text)) < chance.random() ** 2 / 8):
                changed[place] = str(chance.choice(known))
            if changed != text:
                pairs[one, write(changed)] = jaccard(text, changed)
    for file in files:
        file.close()
    for bucket, lines in buckets.items():
        (sorted_rows / f"{bucket:03d}").write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    return pairs, size / 1e6


def jaccard(one: list[str], other: list[str]) -> float:
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def ours(scratch: Path) -> set[str]:
    """The ids that stay."""
    from tuti.systems.spark.engine import Session
    from tuti.systems.spark.frames import local_engine
    from tuti.systems.spark.near import drop_near
    from tuti.systems.spark.tally import Tally

    with Session(executors=2, memory="3g", partitions=8, folder=scratch) as session:
        drop_near(local_engine(session), scratch, Tally(), LEAST)
    paths = (scratch / "sorted").glob("[0-9]*")
    return {json.loads(line)[0] for path in paths for line in path.open(encoding="utf-8")}


def theirs(source: Path, work: Path) -> set[str]:
    program = work / "program.py"
    work.mkdir()
    program.write_text(PROGRAM)
    subprocess.run(
        [PEER, program, source, work], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    paths = (work / "out").glob("*.jsonl")
    return {json.loads(line)["id"] for path in paths for line in path.open(encoding="utf-8")}


def figures(pairs: dict[tuple[str, str], float], kept: set[str], total: int) -> dict[str, Any]:
    """Precision and recall over planted pairs at LEAST, and the share of pairs with one dropped, by J."""
    alike = np.array(list(pairs.values()))
    dropped = np.array([one not in kept or other not in kept for one, other in pairs])
    known = {one for pair, j in pairs.items() if j >= LEAST for one in pair}
    gone = total - len(kept)
    right = len(known - kept)
    curve = {
        f"{low:.2f}–{high:.2f}": [round(float(dropped[own].mean()), 3), int(own.sum())]
        for low, high in zip(BANDS, BANDS[1:], strict=False)
        if (own := (low <= alike) & (alike < high)).any()
    }
    return {
        "precision": right / max(1, gone),
        "recall": float(dropped[alike >= LEAST].mean()),
        "dropped by Jaccard": curve,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pairs, megabytes = make(folder / "source", folder / "kept" / "sorted")
        total = sum(1 for path in (folder / "source").iterdir() for _ in path.open(encoding="utf-8"))
        harness.show(f"{megabytes:.0f} MB, {total} documents, {len(pairs)} planted pairs")
        told: dict[str, Any] = {}
        found: list[harness.Pair] = []
        for number in range(5):
            rates: dict[str, float] = {}
            for whose in ("ours", "peer") if number % 2 else ("peer", "ours"):
                work = folder / f"{whose}-{number}"
                if whose == "ours":
                    subprocess.run(["cp", "-r", str(folder / "kept"), str(work)], check=True)
                began = time.perf_counter()
                kept = ours(work) if whose == "ours" else theirs(folder / "source", work)
                rates[whose] = megabytes / (time.perf_counter() - began)
                told[whose] = figures(pairs, kept, total)
                subprocess.run(["rm", "-r", str(work)], check=True)
            found.append(harness.Pair(rates["ours"], rates["peer"]))
            harness.show(f"pair {number + 1}/5: {found[-1]}")
        for whose, values in told.items():
            harness.show(f"{whose}: {json.dumps(values, ensure_ascii=False)}")
    harness.report("dedup", found, unit="MB/s", megabytes=round(megabytes), quality=told)


if __name__ == "__main__":
    main()
