"""Our engine against PySpark `local[2]`: words counted in 200 MB of text, and 200 MB of rows grouped.

    make bench NAME=engine           # TUTI_MEGABYTES=20 for a quick look

Each turn is a process of its own that starts a session and does both jobs twice. `engine` compares all of
that time, session start included; `engine-warm` the second time of each job, when Spark has compiled its
plans. The lower of the two jobs' ratios counts. Both must give the same figures.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MEGABYTES = int(os.environ.get("TUTI_MEGABYTES", "200"))
PAIRS = 5
Jobs = dict[str, Callable[[], tuple[int, ...]]]
WORDS = pa.schema([("word", pa.string())])


def make(folder: Path) -> None:
    """Text of 200,000 words in two scripts, as frequent as words are; rows of a key, a figure and a text."""
    chance = np.random.default_rng(0)
    letters = [list("abcdefghijklmnopqrstuvwxyz"), list("ابپتثجچحخدذرزسشصضطظعغفقکگلمنوهی")]
    words = ["".join(chance.choice(letters[n % 2], 3 + n % 7)) for n in range(200_000)]
    (folder / "text").mkdir()
    (folder / "rows").mkdir()
    for part in range(8):
        with open(folder / "text" / f"{part}.txt", "w", encoding="utf-8") as file:
            while file.tell() < MEGABYTES * 125_000:
                found = [words[n] for n in chance.zipf(1.2, 100_000) % len(words)]
                file.writelines(" ".join(found[i : i + 12]) + "\n" for i in range(0, len(found), 12))
        size = MEGABYTES * 125_000 // 56
        keys = chance.integers(0, 50_000, size)
        table = pa.table(
            {
                "key": keys,
                "figure": chance.integers(0, 1000, size),
                "text": [f"{n:032x}" for n in chance.integers(0, 2**62, size)],
            }
        )
        pq.write_table(table, folder / "rows" / f"{part}.parquet", compression="none")


def split(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Lines to words."""
    for batch in batches:
        yield pa.record_batch([pc.split_pattern(batch["line"], " ").flatten()], schema=WORDS)


def ours(folder: Path) -> tuple[Jobs, Callable[[], None]]:
    from tuti.systems.spark.engine import Session

    session = Session(executors=2, memory="2g", partitions=8)
    text, rows = (sorted((folder / name).iterdir()) for name in ("text", "rows"))

    def words() -> tuple[int, ...]:
        counted = session.text(text).map_partitions(split, WORDS).group_by("word").agg(n=("count", None))
        found = counted.group_by().agg(words=("count", None), n=("sum", "n"), most=("max", "n"))
        return tuple(found.collect().to_pylist()[0].values())

    def grouped() -> tuple[int, ...]:
        figures = session.parquet(rows).group_by("key").agg(
            s=("sum", "figure"), most=("max", "text"), n=("count", None)
        )
        found = figures.group_by().agg(n=("sum", "n"), s=("sum", "s"), most=("max", "s"))
        return tuple(found.collect().to_pylist()[0].values())

    return {"words": words, "grouped": grouped}, lambda: session.__exit__(None, None, None)


def theirs(folder: Path) -> tuple[Jobs, Callable[[], None]]:
    from pyspark.sql import functions as f

    from tuti.systems.spark.engine_spark import session

    spark = session("local[2]", "2g")
    spark.conf.set("spark.sql.shuffle.partitions", "8")

    def words() -> tuple[int, ...]:
        lines = spark.read.text(str(folder / "text"))
        counted = lines.select(f.explode(f.split("value", " ")).alias("word")).groupBy("word").count()
        return tuple(counted.agg(f.count("*"), f.sum("count"), f.max("count")).first())

    def grouped() -> tuple[int, ...]:
        rows = spark.read.parquet(str(folder / "rows"))
        figures = rows.groupBy("key").agg(
            f.sum("figure").alias("s"), f.max("text").alias("most"), f.count("*").alias("n")
        )
        return tuple(figures.agg(f.sum("n"), f.sum("s"), f.max("s")).first())

    return {"words": words, "grouped": grouped}, spark.stop


def turn(folder: Path, whose: str) -> None:
    """What a child does: prints the seconds and the figures of each job."""
    began = time.perf_counter()
    jobs, stop = (ours if whose == "ours" else theirs)(folder)
    told: dict[str, Any] = {"start": time.perf_counter() - began}
    for name, job in jobs.items():
        for which in ("cold", "warm"):
            began = time.perf_counter()
            told[name] = job()
            told[f"{name} {which}"] = time.perf_counter() - began
    stop()
    print(json.dumps(told))


def child(folder: Path, whose: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(folder), whose]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder)
        found: list[dict[str, dict[str, Any]]] = []
        for number in range(PAIRS):
            order = ("ours", "theirs") if number % 2 else ("theirs", "ours")
            pair = {whose: child(folder, whose) for whose in order}
            for job in ("words", "grouped"):
                assert pair["ours"][job] == pair["theirs"][job], pair
            found.append(pair)
            harness.show(f"pair {number + 1}/{PAIRS}: {json.dumps(pair)}")
    for name, seconds in {
        "engine": lambda told, job: told["start"] + told[f"{job} cold"],
        "engine-warm": lambda told, job: told[f"{job} warm"],
    }.items():
        rates = {
            job: [
                harness.Pair(*(MEGABYTES / seconds(pair[whose], job) for whose in ("ours", "theirs")))
                for pair in found
            ]
            for job in ("words", "grouped")
        }
        medians = {job: float(np.median([pair.ratio for pair in pairs])) for job, pairs in rates.items()}
        worst = min(medians, key=medians.__getitem__)
        harness.report(name, rates[worst], unit="MB/s", job=worst, ratios=medians, megabytes=MEGABYTES)


if __name__ == "__main__":
    turn(Path(sys.argv[1]), sys.argv[2]) if len(sys.argv) > 1 else main()
