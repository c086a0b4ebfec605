"""The engine in small against plain Python: every operator, short of memory, losing executors."""

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.systems.spark.engine import Frame, Session, col, shuffle
from tuti.systems.spark.engine.memory import REGION, Claim, Pool
from tuti.systems.spark.engine.operators import bounds_of, ordered, ranges_of
from tuti.systems.spark.engine.session import lines_of
from tuti.systems.spark.engine.shuffle import hash_column, hash_rows
from tuti.systems.spark.tests.frames import frame_of, reported

WORDS = pa.schema([("word", pa.string())])


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(executors=2, memory="1g", partitions=3) as made:
        yield made


def numbers(session: Session, rows: int = 1000, partitions: int = 3) -> Frame:
    table = pa.table({"n": range(rows), "k": [n % 7 for n in range(rows)]})
    return frame_of(session, table, partitions)


def test_word_count(session: Session, tmp_path: Path) -> None:
    """The words of lines, whatever the block at which files are cut."""
    text = "گل و بلبل و گل\nsun moon\n\nگل\r\n" * 50 + "no end"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text("moon\n", encoding="utf-8")
    wanted = Counter((text + " moon").split())

    def split(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"word": word} for word in row["line"].split()]

    for block in (7, 100, 10_000):
        lines = session.text(sorted(tmp_path.iterdir()), block)
        found = lines.flat_map(split, WORDS).group_by("word").agg(n=("count", None)).collect()
        assert dict(zip(*map(pa.ChunkedArray.to_pylist, found.columns), strict=True)) == wanted


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xff", "گ".encode()]), max_size=40).map(b"".join),
    st.integers(1, 30),
)
def test_every_line_is_read_once_whatever_the_block(content: bytes, block: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        starts = range(0, max(1, len(content)), block)
        found = [line for start in starts for line in lines_of(Path(file.name), start, block).to_pylist()]
    text = content.decode("utf-8", "replace")
    wanted = text.removesuffix("\n").split("\n") if text else []
    assert found == [line.rstrip("\r") for line in wanted]


def test_narrow_steps_and_actions(session: Session) -> None:
    frame = numbers(session).filter(lambda row: row["n"] % 2 == 0)
    tripled = frame.map(lambda row: {"m": 3 * row["n"]}, pa.schema([("m", pa.int64())]))
    assert tripled.count() == 500
    assert tripled.take(3) == [{"m": 0}, {"m": 6}, {"m": 12}]
    assert tripled.collect()["m"].to_pylist() == [3 * n for n in range(0, 1000, 2)]


def test_take_computes_no_more_partitions_than_it_needs(session: Session, tmp_path: Path) -> None:
    def seen(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            (tmp_path / str(batch["n"][0].as_py())).touch()
            yield batch

    frame = numbers(session, 1000, 50)
    assert len(frame.map_partitions(seen, frame.node.schema).take(25)) == 25
    assert len(list(tmp_path.iterdir())) <= 5


def test_reduce_by_key_counts_what_a_distinct_leaves(session: Session) -> None:
    """A fold is not a maximum: doubles matter to it, and the distinct below it stays."""
    twice = numbers(session).union(numbers(session))
    assert twice.distinct().count() == 1000
    found = twice.distinct().reduce_by_key("k", "n", lambda a, b: a + b).collect()
    wanted = {k: sum(range(k, 1000, 7)) for k in range(7)}
    assert dict(zip(found["k"].to_pylist(), found["n"].to_pylist(), strict=True)) == wanted


def test_sort_orders_across_partitions(session: Session) -> None:
    chance = np.random.default_rng(0)
    table = pa.table({"n": chance.integers(0, 40, 5000), "m": chance.integers(0, 9, 5000)})
    for down in (False, True):
        found = frame_of(session, table, 4).sort("n", "m", down=down).collect().to_pylist()
        wanted = sorted(table.to_pylist(), key=lambda row: (row["n"], row["m"]), reverse=down)
        assert found == wanted


def test_cached_rows_are_computed_once(session: Session, tmp_path: Path) -> None:
    def told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with open(tmp_path / "told", "a") as file:
            file.write("x")
        yield from batches

    frame = numbers(session)
    kept = frame.map_partitions(told, frame.node.schema).cache()
    assert [kept.count() for _ in range(3)] == [1000] * 3
    assert kept.group_by("k").agg(n=("count", None)).count() == 7
    assert (tmp_path / "told").read_text() == "xxx"  # once for each of the three partitions


def test_saved_whole_or_not_at_all(session: Session, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    frame = numbers(session).sort("n")
    frame.save(tmp_path / "out")
    assert pq.read_table(tmp_path / "out")["n"].to_pylist() == list(range(1000))
    with pytest.raises(UserError, match="exists") as caught:
        frame.save(tmp_path / "out")
    assert caught.value.hint

    def broken(row: dict[str, Any]) -> bool:
        return 1 // (row["n"] - 999) < 1

    with pytest.raises(UserError, match="ZeroDivisionError"):
        numbers(session).filter(broken).save(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def big(session: Session, rows: int) -> Frame:
    """Rows of a kilobyte that cannot be compressed much, every key twice."""
    ids, chance = np.arange(rows), np.random.default_rng(0)
    texts = [chance.bytes(500).hex() for _ in ids]
    return frame_of(session, pa.table({"id": ids, "k": ids % (rows // 2), "text": texts}), 4)


@pytest.mark.parametrize("what", ["group", "join", "sort", "distinct"])
def test_short_of_memory_it_spills_and_gives_the_same(what: str) -> None:
    """48 MB of rows through pools of 13 MB."""
    rows = 48_000
    with Session(executors=2, memory="520m", partitions=2) as session:
        report, frame = reported(session), big(session, rows)
        if what == "group":
            found = frame.group_by("k", "text").agg(n=("count", None)).select("n").collect()
            assert len(found) == rows
        elif what == "distinct":
            assert frame.union(frame).distinct().count() == rows
        elif what == "join":
            other = frame.select("k", other=col("id"), words=col("text"))
            assert frame.join(other, "k").count() == 2 * rows
        else:
            found = frame.sort("text", down=True).select("text").collect()["text"].to_pylist()
            assert len(found) == rows and found == sorted(found, reverse=True)
        assert sum(order["spilled"] for order in report) > 10_000_000
        assert max(order["peak"] for order in report) <= session.pool


@pytest.mark.parametrize("when", ["while it writes a shuffle", "after it wrote one"])
def test_a_lost_executor_changes_nothing(when: str, tmp_path: Path) -> None:
    """Whoever computes row 500 is killed once; what lay with it is computed again."""
    mark = tmp_path / "mark"

    def deadly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if 500 in batch["n"].to_pylist() and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    with Session(executors=2, memory="1g", partitions=3) as session:
        frame = numbers(session)
        if when == "after it wrote one":
            frame = frame.sort("n")  # its executors hold the shuffle's files when one of them dies
        killed = frame.map_partitions(deadly, frame.node.schema)
        found = killed.group_by("k").agg(n=("sum", "n")).sort("k").collect()
    assert mark.exists()
    assert found["n"].to_pylist() == [sum(range(k, 1000, 7)) for k in range(7)]


@pytest.mark.parametrize("gone", [1, 2, 4])
def test_an_output_that_is_gone_in_part_is_lost_not_short(gone: int, tmp_path: Path) -> None:
    """An executor's folder is removed file by file while others may read it: no row may be passed over."""
    schema = pa.schema([("n", pa.int64())])
    batches = [pa.record_batch([np.arange(1000)], schema=schema) for _ in range(4)]
    small = Pool(20_000, 0, {}, tmp_path, tmp_path)
    rows, _, folder = shuffle.write(
        tmp_path / "0" / "7", batches, lambda batch: batch["n"].to_numpy() % 2, 2, schema, small
    )
    runs = sorted(Path(folder).iterdir())
    assert rows == 4000 and len(runs) == 4 and folder.endswith("7-4")
    assert sum(len(batch) for target in (0, 1) for batch in shuffle.read([folder], 3, target)) == 4000
    for run in runs[-gone:]:
        run.unlink()
    with pytest.raises(shuffle.Lost):
        list(shuffle.read([folder], 3, 0))


def test_a_lost_cache_is_computed_again(tmp_path: Path) -> None:
    with Session(executors=2, memory="1g", partitions=3) as session:
        kept = numbers(session).cache()
        assert kept.count() == 1000
        for block in session.blocks.values():
            Path(block.path).unlink()
        assert kept.count() == 1000


def test_a_cache_that_went_to_disk_is_there_for_the_next_action() -> None:
    chance = np.random.default_rng(0)
    table = pa.table({"n": range(60_000), "text": [chance.bytes(200).hex() for _ in range(60_000)]})
    with Session(executors=2, memory="490m", partitions=3) as session:
        kept = frame_of(session, table, 5).repartition("n").cache()
        for _ in range(2):
            assert kept.collect().sort_by("n").equals(table)
            assert 0 in [block.size for block in session.blocks.values()]


ALONE = """
import os
import time
import pyarrow as pa
from tuti.systems.spark.engine import Session
from tuti.systems.spark.tests.frames import frame_of

def slowly(batches):
    os.write(1, b"at work\\n")  # whole, though two of them write
    time.sleep(60)
    yield from batches

with Session(executors=2, memory="1g") as session:
    frame = frame_of(session, pa.table({"n": range(9)}), 2)
    frame.map_partitions(slowly, frame.node.schema).count()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_executors_end_with_a_driver_that_is_killed() -> None:
    driver = subprocess.Popen([sys.executable, "-c", ALONE], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "at work\n"
    executors = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    assert len(executors) == 2
    gone, alive = psutil.wait_procs(executors, timeout=5)
    assert len(gone) == 2 and not alive


def test_a_task_that_always_dies_ends_the_job(session: Session) -> None:
    def deadly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from batches

    frame = numbers(session, 10, 1)
    with pytest.raises(UserError, match="its executor died") as caught:
        frame.map_partitions(deadly, frame.node.schema).count()
    assert "memory" in str(caught.value.hint)


def test_what_a_person_asks_wrongly_is_refused_before_it_runs(session: Session) -> None:
    frame = numbers(session)
    for wrong, says in [
        (lambda: frame.select("no"), "no column no"),
        (lambda: frame.filter(col("no") > 1), "no column no"),
        (lambda: frame.group_by("k").agg(n=("median", "n")), "median"),
        (lambda: frame.group_by("k").agg(n=("sum", None)), "of what"),
        (lambda: frame.union(frame.select("n")), "columns differ"),
        (lambda: frame.join(frame, "k"), "both sides"),
        (lambda: frame.filter(col("k") + 1), "no condition"),
        (lambda: frame.filter(col("k") > "x"), "greater"),
        (lambda: frame.join(frame_of(session, pa.table({"k": ["1"]})), "k"), "on the other"),
        (lambda: frame_of(session, pa.table({"l": [[1]]})).distinct(), "no key"),
        (lambda: frame.save(Path("/proc/no/where")), "cannot write"),
        (lambda: session.parquet([]), "no parquet files"),
        (lambda: frame.map(lambda row: {"z": 1}, WORDS).count(), "does not name"),
        (lambda: Session(executors=2, memory="100m"), "too little"),
        (lambda: Session(memory="lots"), "cannot be read"),
        (lambda: Session(memory="9000g"), "more than the"),
    ]:
        with pytest.raises(UserError, match=says) as caught:
            wrong()
        assert caught.value.hint
    with pytest.raises(TypeError, match="no truth"):
        bool(col("n") > 1)


def test_rows_and_figures_of_nothing(session: Session) -> None:
    """Frames without rows, and without a single partition."""
    kinds = pa.schema([("k", pa.int64()), ("w", pa.string())])
    for none in (frame_of(session, kinds.empty_table()), session.items([], lambda i, c: iter(()), kinds)):
        assert (none.count(), none.take(3), none.sort("k").collect().num_rows) == (0, [], 0)
        assert none.group_by("k").agg(n=("count", None)).count() == 0
        [row] = none.group_by().agg(n=("count", None), s=("sum", "k"), m=("mean", "k")).take(2)
        assert row == {"n": 0, "s": None, "m": None}
        other = frame_of(session, pa.table({"k": [1, None]}))
        assert other.join(none, "k", how="left").collect().to_pylist() == [
            {"k": 1, "w": None},
            {"k": None, "w": None},
        ]


def test_sums_that_do_not_fit_are_errors_and_others_exact(session: Session) -> None:
    large = pa.table({"k": [1, 1, 2, 2], "n": [2**62, 2**62 - 1, 2**62, 2**62]})
    frame = frame_of(session, large, 2)
    fits = frame.filter(col("k") == 1).group_by("k").agg(n=("sum", "n"))
    assert fits.collect()["n"].to_pylist() == [2**63 - 1]
    with pytest.raises(UserError, match="fit"):
        frame.group_by("k").agg(n=("sum", "n")).collect()


@settings(deadline=None)  # the first call compiles and imports
@given(st.lists(st.one_of(st.none(), st.text(max_size=9)), max_size=40), st.integers(0, 5))
def test_hashes_are_of_values_not_of_places(values: list[str | None], begin: int) -> None:
    """Equal strings hash alike wherever they stand, sliced or not; unlike ones differ."""
    column = pa.array(values, pa.string())
    alone = [int(hash_column(pa.array([value], pa.string()))[0]) for value in values]
    assert hash_column(column.slice(begin)).tolist() == alone[begin:]
    assert len(set(alone)) == len(set(values))


def test_the_hash_of_a_string_is_the_same_in_every_process() -> None:
    """Of a null, too, and of bytes and of larger offsets."""
    values = ["گل", "", None, "b"]
    wanted = [12307522040143519676, 8670812520888592119, 11562461410679940143, 7634610631256549904]
    assert hash_column(pa.array(values)).tolist() == wanted
    assert hash_column(pa.array(values, pa.large_string())).tolist() == wanted
    assert hash_column(pa.array(values).cast(pa.binary())).tolist() == wanted


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40))
def test_numbers_of_all_widths_hash_alike(values: list[int]) -> None:
    found = [hash_column(pa.array(values, kind)).tolist() for kind in (pa.int32(), pa.int64())]
    assert found[0] == found[1]
    assert len(set(found[0])) == len(set(values))


def test_floats_that_are_equal_hash_alike() -> None:
    found = hash_column(pa.array([0.0, -0.0, float("nan"), -float("nan"), 1.0, None])).tolist()
    assert found[0] == found[1] and found[2] == found[3] and len(set(found)) == 4


def test_hashes_of_rows_spread_and_do_not_depend_on_the_order_of_keys() -> None:
    batch = pa.record_batch({"a": list(range(8000)), "b": [n % 3 for n in range(8000)]})
    found = hash_rows(batch, ["a", "b"])
    assert (found == hash_rows(batch, ["b", "a"])).all()
    counts = np.bincount((found % np.uint64(8)).astype(int), minlength=8)
    assert ((counts - 1000) ** 2 / 1000).sum() < 30  # χ² of 7 degrees of freedom: 24 once in a thousand


@given(st.data())
def test_the_pool_never_grants_beyond_its_cap(data: st.DataObject) -> None:
    """Execution gives way to nobody, storage to execution down to its region."""
    blocks: list[int] = []

    def evict(wanted: int) -> int:
        freed = 0
        while blocks and freed < wanted:
            freed += blocks.pop(0)
        return freed

    pool, claims = Pool(100, 0, {}, Path(), Path()), list[Claim]()
    pool.evict = evict
    for _ in range(data.draw(st.integers(1, 30))):
        size, execution, storage = data.draw(st.integers(1, 60)), pool.execution, pool.storage
        act = data.draw(st.sampled_from(["compute", "keep", "end"]))
        if act == "compute":
            claims.append(Claim(pool))
            free = 100 - execution - storage
            granted = claims[-1].grow(size)
            assert granted >= (size <= free)
            assert granted <= (size <= free + max(0, storage - REGION * 100))
        elif act == "keep":
            if granted := pool.take(size, storage=True):
                blocks.append(size)
            assert pool.execution == execution and granted == (size <= 100 - execution)
        elif claims:
            claims.pop().clear()
        assert pool.execution + pool.storage <= 100
        assert pool.storage == sum(blocks) and pool.execution == sum(c.held for c in claims)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9) | st.none(), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(2, 8),
    st.booleans(),
)
def test_ranges_partition_an_order(rows: list[tuple[int | None, int]], count: int, down: bool) -> None:
    kinds = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    table = pa.table([[a for a, _ in rows], [b for _, b in rows]], kinds)
    by = (("a", down), ("b", not down))
    bounds = bounds_of(table, by, count)
    batch = table.combine_chunks().to_batches()[0]
    places = ranges_of(batch, bounds, by)
    assert places.max() <= 2 * len(bounds)
    whole = ordered(table, by).to_pylist()
    parts = [ordered(table.filter(pa.array(places == p)), by).to_pylist() for p in range(places.max() + 1)]
    assert [row for part in parts for row in part] == whole
    assert all(len({tuple(row.values()) for row in part}) <= 1 for part in parts[1::2])


def test_a_plan_may_end_in_a_shuffle(session: Session, tmp_path: Path) -> None:
    frame = numbers(session).repartition("k")
    assert sorted(frame.collect()["n"].to_pylist()) == list(range(1000))
    assert frame.count() == 1000 and len(session.stages(frame.node)) == 2
    frame.save(tmp_path / "saved")
    parts = [pq.read_table(path) for path in sorted((tmp_path / "saved").iterdir())]
    keys = [set(part["k"].to_pylist()) for part in parts]
    assert sum(map(len, keys)) == 7 and set.union(*keys) == set(range(7))
