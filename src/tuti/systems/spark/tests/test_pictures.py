"""What the doctor shows: optimiser before and after, memory by level, predictions, and the page of them."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tuti.run import Run, RunOptions
from tuti.systems.spark.doctor.event_log import MB, bytes_of, levels_of_spark, optimised_in
from tuti.systems.spark.doctor.facts import (
    AT_WORK,
    Facts,
    Follower,
    facts_from,
    facts_of,
    predictions,
    rewritten,
)
from tuti.systems.spark.doctor.picture import NAMES, PHRASES, page
from tuti.systems.spark.engine import Frame, Job, Session, col
from tuti.systems.spark.explain import told
from tuti.systems.spark.tests.corpus import run_of, write_corpus
from tuti.systems.spark.tests.frames import frame_of
from tuti.ui.tests.reading import Reader


def ran(job: Callable[[Frame], object], count: int = 40_000) -> Facts:
    found: list[Facts] = []
    keys = np.random.default_rng(0).integers(0, 1000, count)
    table = pa.table({"k": keys, "n": np.arange(count)})
    table = table.append_column("text", pa.array([f"{n:064x}" for n in range(count)]))
    with Session(executors=2, memory="1g", partitions=8) as session:
        session.ended = lambda done: found.append(facts_of(done))
        job(frame_of(session, table, 8))
    return found[-1]


def many(frame: Frame) -> object:
    """Filters above a repartition and a sort; `text` is not read."""
    asked = frame.sort("n").repartition("k").filter((col("n") > 5) & (col("k") < 500))
    return asked.group_by("n").agg(most=("max", "k")).count()


def test_what_our_optimiser_changed_is_shown() -> None:
    assert ran(many).rewritten == [
        "- filter and(greater(n, 5), less(k, 500))",
        "- scan table [k, n, text]",
        "+ filter and(greater(n, 5), less(k, 500))",
        "+ scan table [k, n]",
    ]


def test_a_plan_that_was_left_as_it_is_has_no_lines() -> None:
    assert ran(lambda frame: frame.repartition("k").collect()).rewritten == []


PLANS = """== Parsed Logical Plan ==
whatever
== Analyzed Logical Plan ==
k: bigint, n: bigint
Filter (n#3L > cast(5 as bigint))
+- Sort [k#1L ASC NULLS FIRST], true
   +- SubqueryAlias t
      +- Join Inner, (k#1L = k#2L)
         :- Relation [k#1L,n#3L,x#4] parquet
         +- Range (0, 9)

== Optimized Logical Plan ==
Join Inner, (k#1L = k#2L)
:- Project [k#1L, n#3L]
:  +- Filter ((n#3L > 5) AND isnotnull(k#1L))
:     +- Relation [k#1L,n#3L,x#4] parquet
+- Range (0, 9)

== Physical Plan ==
whatever"""


def test_what_sparks_optimiser_changed_is_shown() -> None:
    assert optimised_in(PLANS) == [
        "- Filter (n > cast(5 as bigint))",
        "- Sort [k ASC NULLS FIRST], true",
        "+ Project [k, n]",
        "+ Filter ((n > 5) AND isnotnull(k))",
    ]
    assert rewritten(["Sort a"] * 2000, ["Range"] * 2000) == []  # too long to compare
    assert optimised_in("") == optimised_in("== Physical Plan ==\nScan") == []


@pytest.mark.parametrize(("text", "size"), [("1g", 2**30), ("512MB", 2**29), ("64", 64 * MB), ("9b", 9)])
def test_settings_of_memory_are_read_as_spark_reads_them(text: str, size: int) -> None:
    assert bytes_of(text) == size


def test_memory_of_spark_is_told_from_its_settings() -> None:
    settings = {"spark.master": "spark://h", "spark.executor.memory": "10300m", "spark.driver.memory": "2g"}
    peaks = {("driver", "JVMHeapMemory"): 5, ("executor", "OnHeapExecutionMemory"): 7}
    levels = {level.name: level for level in levels_of_spark(settings, peaks)}
    caps = {name: level.cap // MB for name, level in levels.items()}
    assert caps == {
        "driver: heap": 2048,
        "executor: heap": 10300,
        "executor: reserved": 300,
        "executor: user": 4000,
        "executor: execution": 6000,
        "executor: storage": 6000,
        "executor: overhead": 1030,
        "Python workers": 0,
    }
    assert levels["executor: storage"].safe == 3000 * MB
    assert (levels["driver: heap"].used, levels["executor: execution"].used) == (5, 7)
    assert levels["executor: heap"].used == -1  # no poll caught it
    small = {level.name: level.cap for level in levels_of_spark({"spark.master": "spark://h"}, {})}
    assert small["executor: overhead"] == 384 * MB


def test_memory_of_our_engine_is_measured_level_by_level() -> None:
    def kept(frame: Frame) -> object:
        again = frame.cache()
        return again.count(), again.sort("text").count()

    levels = {level.name: level for level in ran(kept).levels}
    execution, storage = levels["executor: execution"], levels["executor: storage"]
    assert 40_000 * 64 // 4 < execution.used <= execution.cap
    assert 40_000 * 64 // 4 < storage.used <= storage.cap == 2 * storage.safe
    assert levels["executor: user"].cap + levels["executor: reserved"].cap + execution.cap == pytest.approx(
        levels["driver: process"].cap, abs=2
    )
    own = "executor: process (Python itself)"
    assert 30 * MB < levels["driver: process"].used  # it is pytest, with what other tests have left in it
    assert 30 * MB < levels[own].used


def test_a_shuffle_is_predicted_from_its_first_task_and_measured() -> None:
    facts = ran(lambda frame: frame.repartition("k").count())
    [one] = predictions(facts)
    assert one.measured == sum(task.shuffled for task in facts.stages[0].tasks) > 500_000
    assert 0.9 < one.ratio < 1.1


def test_what_is_not_known_yet_is_not_told() -> None:
    facts = ran(lambda frame: frame.group_by("k").agg(n=("count", None)).sort("n").collect())
    first, second = predictions(facts)
    assert 0.8 < second.ratio < 1.2
    begun = replace(facts.stages[0], tasks=facts.stages[0].tasks[:1])
    [early] = predictions(replace(facts, stages=[begun]))
    assert (early.predicted, early.measured) == (first.predicted, 0)
    alone = replace(begun, planned=1)
    assert not list(predictions(replace(facts, stages=[alone])))


def test_the_terminal_tells_all_of_it() -> None:
    text = "\n".join(told(1, ran(many)))
    assert re.search(r"memory, executor: execution: \d+ KB at most, of \d+ MB", text)
    assert "memory, executor: user: not measured by itself, of" in text
    ratio = re.search(r"stage 0, predicted from its first task: .* ratio (\d\.\d\d)$", text, re.MULTILINE)
    assert ratio and 0.8 < float(ratio[1]) < 1.2  # which task ends first is not known
    assert "optimiser: + scan table [k, n]" in text


def test_facts_of_earlier_versions_are_read() -> None:
    found = json.loads(json.dumps(asdict(ran(many, 1000))))
    for name in ("levels", "rewritten"):
        del found[name]
    for stage in found["stages"]:
        for name in ("needs", "planned"):
            del stage[name]
        stage["largest"] = 9  # what has been told since then, and is no more
        for task in stage["tasks"]:
            del task["made"]
    facts = facts_from(found)
    assert facts.levels == [] and list(told(1, facts)) and list(predictions(facts))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    run_of(folder / "runs" / "<b>one", write_corpus(folder / "in"))
    stage = RunOptions(out=folder / "runs" / "taught" / "stages" / "prepare")
    inner = Run.create("spark", "prepare", None, stage)
    inner.log("job", **asdict(replace(ran(many, 1000), what="<script>")))
    Run.create("tests", "train", None, RunOptions(out=folder / "runs" / "other"))
    return folder / "runs"


@pytest.mark.parametrize("language", ["en", "fa"])
def test_the_page_shows_every_job_of_a_run(runs: Path, language: str) -> None:
    head, *jobs = page(runs, {"lang": language, "run": "<b>one"})
    assert head.count("<a ") == 2 and "?run=%3Cb%3Eone&amp;lang=" + language in head and "<b>" not in head
    assert head.count("aria-current") == 1 and "other" not in head
    events = (runs / "<b>one" / "events.jsonl").read_text().count('"event": "job"')
    assert len(jobs) == events > 2
    for job in jobs:
        Reader(job).check_alone()
    text = "".join(jobs)
    # Which stage is the slowest is the clock's affair; that one of each job is, is not.
    slowest = r">stage \d+ · slowest<" if language == "en" else r">مرحلهٔ \d+ · کندترین<"
    assert all(len(re.findall(slowest, job)) == 1 for job in jobs)
    assert 'direction="rtl"' in text if language == "fa" else "Nothing to change." in text
    assert "frames.py:" in text and "exchange by hash of [bucket] into" in text


def test_a_stage_inside_another_run_is_found_and_what_it_says_is_escaped(runs: Path) -> None:
    _, job = page(runs, {"lang": "en", "run": "taught"})
    assert "&lt;script&gt;" in job and "<script>" not in job
    assert "- scan table [k, n, text]" in job and "+ scan table [k, n]" in job


@pytest.mark.parametrize("name", ["..", "../runs/taught", "other", "\0", "x" * 5000])
def test_only_runs_in_the_list_are_opened(runs: Path, name: str) -> None:
    assert "No such run" in page(runs, {"lang": "en", "run": name})[-1]


def test_an_event_log_among_the_runs_is_shown_or_its_fault_told(tmp_path: Path) -> None:
    (tmp_path / "local-1").write_text("no log")
    assert "is no event log of Spark" in page(tmp_path, {"lang": "en"})[-1]
    (tmp_path / "local-1").write_text('{"Event": "SparkListenerApplicationStart"}')
    assert "has no jobs" in page(tmp_path, {"lang": "en"})[-1]


def test_a_job_is_shown_while_it_works(tmp_path: Path) -> None:
    run = Run.create("spark", "prepare", None, RunOptions(out=tmp_path / "live"))
    follow = Follower(run.path("scratch"))
    seen: list[str] = []

    def watch(job: Job) -> None:
        follow.next = 0.0
        follow(job)
        seen.append(page(tmp_path, {"lang": "en"})[-1])

    with Session(executors=1, memory="500m", partitions=4, told=watch) as session:
        frame_of(session, pa.table({"n": range(1000)}), 4).repartition("n").count()
    assert len(seen) == 8 and all("at work, as of" in one for one in seen)
    assert "1/4 tasks, 250 rows" in seen[0] and "0/4 tasks" in seen[0] and "4 tasks, 1,000 rows" in seen[-1]
    assert "Nothing to change" not in seen[0]
    follow.end()
    assert not (run.folder / "scratch" / AT_WORK).exists()
    assert "has no jobs" in page(tmp_path, {"lang": "en"})[-1]


def test_the_follower_writes_at_a_bounded_rate(tmp_path: Path) -> None:
    follow, times = Follower(tmp_path), list[int]()

    def watch(job: Job) -> None:
        follow(job)
        times.append((tmp_path / AT_WORK).stat().st_mtime_ns)

    with Session(executors=1, memory="500m", partitions=4, told=watch) as session:
        frame_of(session, pa.table({"n": range(1000)}), 30).count()
    assert len(times) == 30 and len(set(times)) <= 3


def test_the_page_speaks_both_languages() -> None:
    for name, (english, persian) in PHRASES.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", persian)), name
    for persian in (*(both[1] for both in PHRASES.values()), *NAMES.values()):
        assert re.search("[\u0600-\u06ff]", persian) and not re.search("[يك]", persian), persian
    facts = ran(many, 1000)
    sparks = [levels_of_spark({"spark.master": master}, {}) for master in ("local", "spark://h")]
    levels = [level for found in (facts.levels, *sparks) for level in found]
    assert {level.name for level in levels} <= NAMES.keys()
