"""What 10 TB would take on 100 executors, from what each stage of `tuti spark prepare` takes here.

    make bench NAME=terabytes        # rewrites the tables in docs/ten-terabytes.md

One executor prepares texts of benchmarks/prepare.py (TUTI_MEGABYTES=5: a quick look); its tasks' seconds, and
the bytes that they wrote for the next stage, become rates for a megabyte read. Nothing here has run on 100
executors: the page says what is supposed.
"""

import json
import os
import tempfile
from pathlib import Path

import harness
import prepare as texts

from tuti.run import Run, RunOptions, read_events
from tuti.systems.spark.doctor.facts import Facts, facts_from
from tuti.systems.spark.prepare import Prepare, prepare

PAGE = Path(__file__).parent.parent / "docs" / "ten-terabytes.md"
BUCKETS = 256  # by the first byte of a row's id
BEGIN, END = "<!-- made by benchmarks/terabytes.py -->", "<!-- /made -->"
WHOLE = 10_000_000
"""Megabytes"""
EXECUTORS = 100
TASK = 128
"""Megabytes of a task"""
NETWORK, DISK = 1250, 500
"""MB/s of an executor: 10 Gbit/s, and a disk's sequential writing"""
NAMES = {
    "read": "read, clean, judge",
    "write": "one of each content, sorted",
    "_signed": "minima and bands",
    "_candidates": "pairs whose bands agree",
    "_write_sets": "those pairs, each once, and the sets of candidates",
    "similar": "compared exactly",
    "without": "near duplicates taken out",
    "find": "long paragraphs found",
    "repeated": "all places but one",
    "edit": "paragraphs cut out",
    "words": "words counted",
}


def measured(megabytes: float) -> tuple[list[Facts], dict[str, object]]:
    """The jobs of one preparation with one executor, and what it kept."""
    texts.MEGABYTES = megabytes
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        texts.make(root / "in")
        config = Prepare((root / "in",), languages="fa,en", memory="2g")
        run = Run.create("spark", "prepare", config, RunOptions(out=root / "run", threads=1))
        prepare(config, run)
        events = read_events(run.folder, "job")
        jobs = [{k: v for k, v in event.items() if k not in ("event", "time")} for event in events]
        stats = json.loads((run.folder / "artifacts" / "documents" / "stats.json").read_text())
    return [facts_from(job) for job in jobs], stats


def rates(jobs: list[Facts], megabytes: float) -> list[tuple[str, float, float]]:
    """(what a stage does, its seconds, the megabytes it shuffles) for each megabyte read."""
    found = list[tuple[str, float, float]]()
    for job in jobs:
        for stage in job.stages:
            called = [step.split(" by ")[1] for step in stage.steps if step.startswith("map partitions by ")]
            name = ", ".join(NAMES.get(one, one) for one in called) or "summed and sorted"
            seconds = stage.total(lambda task: task.seconds) / megabytes
            found.append((name, seconds, stage.total(lambda task: task.shuffled) / 1e6 / megabytes))
    return found


def hours(seconds: float, shuffled: float, cores: int) -> tuple[float, float]:
    """(computing, moving) of a stage: rows go to a disk, over the network, and from a disk."""
    computing = seconds * WHOLE / (EXECUTORS * cores)
    moving = shuffled * WHOLE / EXECUTORS * (2 / DISK + 1 / NETWORK)
    return computing / 3600, moving / 3600


def tables(found: list[tuple[str, float, float]], kept: float) -> str:
    """The page's tables, in Markdown."""
    heads = ["stage", "s for a MB", "MB shuffled for a MB", "hours, 1 core", "hours, 8 cores", "hours moving"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    sums = [0.0, 0.0, 0.0]
    for name, seconds, shuffled in found:
        one, moving = hours(seconds, shuffled, 1)
        eight, _ = hours(seconds, shuffled, 8)
        sums = [total + more for total, more in zip(sums, (one, eight, moving), strict=True)]
        lines.append(f"| {name} | {seconds:.3f} | {shuffled:.3f} | {one:.1f} | {eight:.1f} | {moving:.2f} |")
    all_seconds, all_shuffled = (sum(row[column] for row in found) for column in (1, 2))
    rates = f"{all_seconds:.3f} | {all_shuffled:.3f}"
    total = f"| **all** | {rates} | {sums[0]:.1f} | {sums[1]:.1f} | {sums[2]:.2f} |"
    bucket = kept * WHOLE / BUCKETS / 1000
    facts = [
        ["tasks of 128 MB that read", f"{WHOLE / TASK:,.0f}"],
        ["blocks of the first shuffle, with as many reducers", f"{(WHOLE / TASK) ** 2 / 1e9:.1f} × 10⁹"],
        ["the same with 4,000 reducers", f"{WHOLE / TASK * 4000 / 1e6:.0f} × 10⁶"],
        [f"one of our {BUCKETS} buckets, held while it is sorted", f"{bucket:.0f} GB"],
        ["buckets of 128 MB", f"{kept * WHOLE / TASK:,.0f}"],
        [f"the driver writing all documents at {DISK} MB/s", f"{kept * WHOLE / DISK / 3600:.1f} hours"],
    ]
    more = ["| at 10 TB | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)]
    return "\n".join([*lines, total, "", *more])


def main() -> None:
    megabytes = float(os.environ.get("TUTI_MEGABYTES", "40"))
    jobs, stats = measured(megabytes)
    found = rates(jobs, megabytes)
    splits = stats["splits"]
    assert isinstance(splits, dict)
    kept = sum(part["bytes"] for part in splits.values()) / 1e6 / megabytes
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{tables(found, kept)}\n{END}{after}", encoding="utf-8")
    one = sum(hours(seconds, shuffled, 1)[0] for _, seconds, shuffled in found)
    moving = sum(hours(seconds, shuffled, 1)[1] for _, seconds, shuffled in found)
    stages = [{"stage": n, "s/MB": s, "shuffled": b} for n, s, b in found]
    facts = {"megabytes": megabytes, "kept": kept, "hours_moving": moving, "stages": stages}
    bar = {"ratio": 1.0, "spread": (1.0, 1.0), "n": 1}  # an extrapolation has none
    harness.write("terabytes", ours=one, peer=None, unit="hours, computed", **bar, **facts)


if __name__ == "__main__":
    main()
