"""The whole preparation: ours against datatrove with the same rules, two processes each.

    python -m venv /tmp/peer
    /tmp/peer/bin/pip install 'datatrove[io,processing]' 'xxhash<4' fasteners fasttext-numpy2-wheel
    TUTI_DATATROVE=/tmp/peer/bin/python make bench NAME=prepare        # TUTI_MEGABYTES=5 for a quick look

Both read JSON lines, tell the language (lid.176, the same file), ask Gopher's and FineWeb's rules with the
same bounds, mask e-mail and IP addresses, and leave one of each set of near duplicates (14 bands of 8). Ours
also normalises, asks C4's rules, compares candidates exactly, cuts repeated paragraphs, splits by hash and
counts the words. datatrove splits words at white space here, as ours does: its own choice, spaCy, takes each
comma for a word, so that Gopher's rule on letters throws plays away, and three times as long. Texts:
handbook, plays and fortunes from the assets, many of them again with words changed. Printed: MB/s, and how
far the survivors agree: nine in ten of 8 MB, where few are copies; of more, each keeps another text of a set
of near duplicates, and ours keeps those which bands of hashes alone take for near.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import labelled
import numpy as np

from tuti.run import Run, RunOptions
from tuti.systems.spark.clean import model_file
from tuti.systems.spark.prepare import Prepare, prepare
from tuti.systems.spark.rules import STOP_WORDS

MEGABYTES = float(os.environ.get("TUTI_MEGABYTES", "20"))
PEER = os.environ.get("TUTI_DATATROVE", sys.executable)
FILES = 8
PROGRAM = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter, LanguageFilter)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
import datatrove.pipeline.dedup.minhash as minhash
import datatrove.utils.lid as lid
import datatrove.utils.word_tokenizers as tokenizers
source, work, model, stop = sys.argv[1:]
class AtWhiteSpace(tokenizers.WhitespaceTokenizer):  # its own is spaCy's: a comma is a word
    def word_tokenize(self, text):
        return text.split()
minhash.load_word_tokenizer = tokenizers.load_word_tokenizer = lambda language: AtWhiteSpace()
lid.cached_asset_path_or_download = lambda *a, **k: model
config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
def run(number, pipeline, tasks):
    LocalPipelineExecutor(
        pipeline=pipeline, tasks=tasks, workers=min(2, tasks), logging_dir=f"{work}/logs{number}").run()
if __name__ == "__main__":
    run(0, [JsonlReader(source), LanguageFilter(["en", "fa"], language_threshold=0.3),
            GopherRepetitionFilter(), GopherQualityFilter(stop_words=stop.split()),
            FineWebQualityFilter(char_duplicates_ratio=0.2), PIIFormatter(),
            JsonlWriter(f"{work}/clean", compression=None)], 8)
    run(1, [JsonlReader(f"{work}/clean"), MinhashDedupSignature(f"{work}/signatures", config)], 8)
    run(2, [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], 14)
    run(3, [MinhashDedupCluster(f"{work}/buckets", f"{work}/removed", config=config)], 1)
    run(4, [JsonlReader(f"{work}/clean"), MinhashDedupFilter(f"{work}/removed"),
            JsonlWriter(f"{work}/out", compression=None)], 8)
"""


def make(source: Path) -> float:
    """Writes the texts, and returns how many megabytes they are."""
    chance = np.random.default_rng(0)
    texts = [text for _, text in labelled.texts() if 100 < len(text) <= 4000]
    size, number = 0, 0
    source.mkdir()
    files = [open(source / f"{n}.jsonl", "w", encoding="utf-8") for n in range(FILES)]
    while size < MEGABYTES * 1_000_000:
        text = texts[number % len(texts)]
        if number >= len(texts):  # again, with words changed
            words = text.split(" ")
            for place in np.flatnonzero(chance.random(len(words)) < chance.random() ** 2 / 4):
                words[place] = f"{words[place]}{chance.integers(100)}"
            text = " ".join(words)
        own = f"{number % FILES}.jsonl#{number // FILES + 1}"
        line = json.dumps({"id": own, "text": text}, ensure_ascii=False)
        files[number % FILES].write(line + "\n")
        size, number = size + len(text.encode()), number + 1
    for file in files:
        file.close()
    return size / 1e6


def ours(source: Path, out: Path) -> set[str]:
    """The texts that stay, by name."""
    shutil.rmtree(out, ignore_errors=True)
    config = Prepare((source,), languages="fa,en", genre="prose", edits=("private",))
    prepare(config, Run.create("spark", "prepare", config, RunOptions(out=out, threads=2)))
    paths = (out / "artifacts" / "documents").glob("*-0*.jsonl")
    return {json.loads(line)["source"] for path in paths for line in path.open(encoding="utf-8")}


def theirs(source: Path, work: Path) -> set[str]:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    program = work / "program.py"
    program.write_text(PROGRAM)
    stop = " ".join(sorted(STOP_WORDS["en"] | STOP_WORDS["fa"]))
    done = subprocess.run(
        [PEER, program, source, work, model_file(), stop], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    paths = (work / "out").glob("*.jsonl")
    return {json.loads(line)["id"] for path in paths for line in path.open(encoding="utf-8")}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        size = make(root / "in")
        kept: dict[str, set[str]] = {}

        def mine() -> float:
            kept["ours"] = ours(root / "in", root / "run")
            return size

        def peer() -> float:
            kept["theirs"] = theirs(root / "in", root / "work")
            return size

        pairs = harness.compare(mine, peer, pairs=5)
        one, other = kept["ours"], kept["theirs"]
    agree = len(one & other) / len(one | other)
    print(f"kept: ours {len(one):,}, datatrove {len(other):,}, the same {agree:.3f} of all that either kept")
    facts = {"megabytes": round(size, 1), "kept": [len(one), len(other)], "agree": round(agree, 3)}
    harness.report("prepare", pairs, unit="MB/s", **facts)


if __name__ == "__main__":
    main()
