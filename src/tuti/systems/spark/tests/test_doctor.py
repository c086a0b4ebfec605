"""The plan doctor on our engine: planted faults at two sizes are found, clean jobs are left alone."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.systems.spark.doctor.advice import advice
from tuti.systems.spark.doctor.event_log import Log, read_log
from tuti.systems.spark.doctor.facts import Facts, facts_from, facts_of
from tuti.systems.spark.engine import Frame, Session, col
from tuti.systems.spark.explain import Explain, explain, told
from tuti.systems.spark.tests.corpus import run_of, write_corpus
from tuti.systems.spark.tests.frames import frame_of

Job = Callable[[Session, int], object]


def ran(job: Job, size: int, memory: str = "2g", partitions: int = 8) -> list[Facts]:
    """What is known of a program's jobs."""
    found: list[Facts] = []
    with Session(executors=2, memory=memory, partitions=partitions) as session:
        session.ended = lambda done: found.append(replace(facts_of(done), driver=256 * 2**20))
        job(session, size)
    return found


def rows(session: Session, count: int, partitions: int = 8, skewed: bool = False) -> Frame:
    """`k` has a thousand values; skewed: nine rows in ten have the same."""
    chance = np.random.default_rng(0)
    keys = chance.integers(0, 1000, count)
    if skewed:
        keys[chance.random(count) < 0.9] = 7
    table = pa.table({"k": keys, "n": np.arange(count), "text": [f"{n:064x}" for n in range(count)]})
    return frame_of(session, table, partitions)


def slowly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Ten microseconds of work a row, as a real step might cost."""
    for batch in batches:
        time.sleep(1e-5 * batch.num_rows)
        yield batch


def skewed_key(session: Session, size: int) -> object:
    spread = rows(session, size, skewed=True).repartition("k")  # HERE
    return spread.map_partitions(slowly, spread.node.schema).count()


def needless_shuffle(session: Session, size: int) -> object:
    spread = rows(session, size).repartition("k")  # HERE
    return spread.filter(col("n") > 5).group_by("n").agg(most=("max", "k")).count()


def python_for_every_row(session: Session, size: int) -> object:
    return rows(session, size).filter(lambda row: row["n"] % 2 == 0).count()  # HERE


def cache_that_does_not_fit(session: Session, size: int) -> object:
    kept = rows(session, 5 * size).cache()
    return [kept.count() for _ in range(2)]


def too_few_partitions(session: Session, size: int) -> object:
    frame = rows(session, size, partitions=1)
    return frame.map_partitions(slowly, frame.node.schema).count()


def too_many_partitions(session: Session, size: int) -> object:
    return rows(session, 10_000, partitions=size // 1000).group_by("k").agg(n=("count", None)).count()


def collected(session: Session, size: int) -> object:
    return rows(session, 8 * size).select("n", a=col("text"), b=col("text")).collect()


FAULTS = [
    (skewed_key, "has 9", "take that key apart", "2g"),
    (needless_shuffle, "moves rows that the next shuffle moves again", "leave it out", "2g"),
    (python_for_every_row, "calls Python for each of", "as an expression", "2g"),
    (cache_that_does_not_fit, "of the cached tables", "memory", "560m"),
    (too_few_partitions, "1 partition(s) for 2 cores", "make 4", "2g"),
    (too_many_partitions, "tasks of", "partitions are enough", "2g"),
    (collected, "came to the driver (collect)", "save them", "2g"),
]


@pytest.mark.parametrize("size", [120_000, 300_000])
@pytest.mark.parametrize(("job", "says", "remedy", "memory"), FAULTS)
def test_a_planted_fault_is_found(job: Job, says: str, remedy: str, memory: str, size: int) -> None:
    """It alone, and by its line where the line is at fault."""
    found = [line for facts in ran(job, size, memory) for line in advice(facts)]
    assert [line for line in found if says in line and remedy in line], found
    assert all(says in line for line in found), found
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"def {job.__name__}("))
    marked = [n + 1 for n in range(begin, begin + 4) if lines[n].endswith("# HERE")]
    assert all(f"test_doctor.py:{number}" in found[0] for number in marked), found


def aggregated(session: Session, size: int) -> object:
    frame = rows(session, size, skewed=True)  # skewed keys are no fault where figures are made first
    return frame.filter(col("n") > 9).group_by("k").agg(n=("count", None), most=("max", "text")).collect()


def joined(session: Session, size: int) -> object:
    names = frame_of(session, pa.table({"k": range(1000), "name": [f"name {n}" for n in range(1000)]}), 2)
    return rows(session, size).join(names, "k").sort("name", "n").take(20)


def kept(session: Session, size: int) -> object:
    frame = rows(session, size).select("k", "n").distinct().cache()
    return frame.count(), frame.group_by("k").agg(n=("sum", "n")).count()


@pytest.mark.parametrize("job", [aggregated, joined, kept])
def test_a_clean_job_is_left_alone(job: Job) -> None:
    found = ran(job, 300_000)
    assert found and not [line for facts in found for line in advice(facts)]


def test_facts_survive_their_file_and_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    [facts] = ran(aggregated, 10_000)
    again = facts_from(json.loads(json.dumps(asdict(facts))))
    assert again == facts
    text = "\n".join(told(1, facts))
    assert "wide: exchange by hash of [k] into 8, made by test_doctor.py:" in text
    assert "(narrow to its end)" in text and "memory of an executor" in text


def test_a_run_of_prepare_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path / "run", write_corpus(tmp_path / "in"))
    explain(Explain(run.folder))
    text = capsys.readouterr().out
    assert "wide: exchange by hash of [bucket]" in text
    assert "jobs, nothing to change" in text


PROGRAM = """
import pyarrow as pa
from tuti.systems.spark.engine import Session
from tuti.systems.spark.tests.frames import frame_of
with Session(executors=1, memory="1g", partitions=2) as session:
    print(frame_of(session, pa.table({"n": range(100)})).group_by("n").agg(c=("count", None)).count())
"""


def test_a_program_on_our_engine_is_explained(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "mine.py"
    program.write_text(PROGRAM)
    explain(Explain(program))
    assert "made by mine.py:6" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("no.py", None, "is no file"),
        ("broken.py", "def", "SyntaxError"),
        ("idle.py", "print(1)", "ran no job"),
        ("missing", None, "does not exist"),
        ("log", "no JSON at all\n", "no event log"),
        ("log", "", "no event log"),
    ],
)
def test_what_cannot_be_explained(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says) as caught:
        explain(Explain(tmp_path / name))
    assert caught.value.hint


VALUE = st.none() | st.integers(-9, 9) | st.text(max_size=4) | st.just({}) | st.just([])
KEYS = ["Job ID", "Stage ID", "Stage Infos", "Stage IDs", "Properties", "Task Metrics", "Stage Info"]


KINDS = [name.removeprefix("on_") for name in vars(Log) if name.startswith("on_")]


@settings(deadline=None)
@given(st.sampled_from([*KINDS, "plan", "facts"]), st.dictionaries(st.sampled_from(KEYS), VALUE))
def test_any_event_is_read_or_refused_with_a_hint(kind: str, fields: dict[str, object]) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(json.dumps({"Event": f"SparkListener{kind}", **fields}))
        file.flush()
        try:
            assert read_log(Path(file.name)) == []
        except UserError as error:
            assert error.hint


def test_a_log_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    events = [
        {"Event": "SparkListenerExecutorAdded", "Executor Info": {"Total Cores": 2}},
        {"Event": "SparkListenerSomethingNew", "x": 1},
    ]
    text = "\n".join(map(json.dumps, events))
    (tmp_path / "log").write_text(text + '\n{"Event": "SparkListenerTaskE')
    assert read_log(tmp_path / "log") == []
