"""Laziness, and what the optimiser makes of a plan before anything runs."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuti.systems.spark.engine import Frame, Session, col
from tuti.systems.spark.query.optimise import optimise
from tuti.systems.spark.query.plan import drawn
from tuti.systems.spark.tests.frames import frame_of, reported


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(executors=2, memory="1g", partitions=3) as made:
        yield made


@pytest.fixture(scope="module")
def stored(session: Session, tmp_path_factory) -> Frame:
    """Two files of columns a, b, c and a long text."""
    folder = tmp_path_factory.mktemp("stored")
    for part in range(2):
        ids = list(range(500 * part, 500 * part + 500))
        table = {"a": ids, "b": [n % 7 for n in ids], "c": [n % 3 for n in ids], "text": ["x" * 90] * 500}
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
    return session.parquet(sorted(folder.iterdir()))


def tasks(frame: Frame) -> list[int]:
    return [stage.tasks for stage in frame.session.stages(frame.node)]


def test_nothing_runs_until_rows_are_asked_for(session: Session, tmp_path: Path) -> None:
    def told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        (tmp_path / "ran").touch()
        yield from batches

    frame = frame_of(session, pa.table({"n": range(9)}), 1)
    described = frame.map_partitions(told, frame.node.schema).filter(col("n") > 3).sort("n")
    assert "sort by n" in drawn(described.node) and not (tmp_path / "ran").exists()
    assert described.take(1) == [{"n": 4}] and (tmp_path / "ran").exists()


def test_narrow_steps_stay_in_one_stage_and_wide_ones_cut_it(stored: Frame) -> None:
    narrow = stored.filter(col("a") > 9).select("a", "b", d=col("a") + col("b"))
    assert tasks(narrow) == [2]
    wide = narrow.group_by("b").agg(n=("count", None))
    assert tasks(wide) == [2, 3]
    assert tasks(wide.sort("n")) == tasks(wide.sort("n").sort("n", "b")) == [2, 3, 3]  # in ranges by n
    assert tasks(stored.group_by().agg(n=("count", None)).sort("n")) == [2, 1]  # one row
    assert tasks(wide.join(stored.select("b", z=col("c")), "b")) == [2, 2, 3]  # one side lies right


def test_a_filter_goes_to_where_the_rows_come_from(stored: Frame) -> None:
    frame = stored.select("b", "c", s=col("a") * 2).sort("s").distinct().filter(col("s") > 100)
    lines = [line.strip() for line in drawn(optimise(frame.node))]
    assert lines[-2:] == ["filter greater(multiply(a, 2), 100)", "scan 2 parquet files [a, b, c]"]
    assert frame.count() == 949


def test_columns_that_nobody_reads_are_never_read(stored: Frame) -> None:
    frame = stored.group_by("b").agg(n=("count", None), most=("max", "a")).select("n", "b")
    assert drawn(optimise(frame.node))[-1].strip() == "scan 2 parquet files [b]"
    assert sorted(frame.collect()["n"].to_pylist()) == [142] + [143] * 6


def test_grouping_moves_figures_and_not_rows(stored: Frame) -> None:
    """A thousand rows become at most seven for each of the two tasks before the shuffle."""
    frame = stored.group_by("b").agg(n=("count", None))
    report = reported(stored.session)
    assert frame.count() == 7
    moved = [order["rows"] for order in report if order["what"] == "shuffle"]
    assert moved == [7, 7]


def test_a_function_is_a_wall_for_the_optimiser(stored: Frame) -> None:
    """Through an expression a filter goes, past a function it cannot: the plan does not see into it."""
    mapped = stored.map(lambda row: {"a": row["a"]}, pa.schema([("a", pa.int64())]))
    lines = [line.strip() for line in drawn(optimise(mapped.filter(col("a") > 5).node))]
    assert lines == ["filter greater(a, 5)", "map by <lambda>", "scan 2 parquet files [a, b, c, text]"]
