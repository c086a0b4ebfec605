"""The Spark engine: the same pure functions inside `mapInArrow`, shuffles by bucket.

    files ─ mapInArrow(rows_of) ─ repartition by bucket ─ mapInArrow(unique, write bucket) ─ tallies
            narrow                wide: the one shuffle    narrow

Where paragraphs stand in more than one document, `_cut_repeated` finds them in a shuffle of their hashes,
and the edited documents go to their new buckets in a last one.

Source, run and this package must be seen at the same paths by all workers.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tuti.run import UserError
from tuti.systems.spark.engine_local import Spill, edited, iterate_lines, sort_bucket
from tuti.systems.spark.paragraphs import places, repeated
from tuti.systems.spark.rows import read_row, rows_of
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import Source
from tuti.systems.spark.words import Count, words_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LINES = "bucket int, line string"
TALLY = -1
"""The bucket number of lines that carry a tally instead of a row."""
BATCH = 4_000_000
"""Characters in one Arrow batch on its way to the JVM."""


def session(master: str, memory: str) -> "SparkSession":
    """The running session, or a new one; Spark's own defaults that hurt are set here."""
    if not shutil.which("java") and not os.environ.get("JAVA_HOME"):
        raise UserError(
            "Spark needs Java 17 or later: neither a program `java` nor JAVA_HOME was found",
            hint="apt install openjdk-17-jre-headless (or your system's), or engine:local",
        )
    # Spark would start PATH's python3 on its workers, which is another than this one in a venv.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise UserError(
            "the Spark engine needs pyspark, which is not installed",
            hint="pip install 'tuti[spark]', or engine:local",
        ) from error
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": memory,
        "spark.executor.memory": memory,
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
        "spark.sql.session.timeZone": "UTC",
    }
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    builder = cast(Any, SparkSession.builder).master(master).appName("tuti")
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        spark: SparkSession = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise UserError(
            f"Spark did not start on {master}: {str(error)[:300]}",
            hint="check `java -version` (17 or later) and JAVA_HOME, or take engine:local",
        ) from error
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def gather(
    spark: "SparkSession",
    sources: Sequence[Source],
    scratch: Path,
    limit: int,
    broken: float,
    pieces: int,
) -> Tally:
    """As `engine_local.gather`: leaves `scratch/sorted/<bucket>` and returns the tally."""
    pieces = pieces or 4 * spark.sparkContext.defaultParallelism
    listed = [(s.name, bytearray(os.path.abspath(s.path)), s.size, s.modified) for s in sources]
    files = spark.createDataFrame(listed, "name string, path binary, size long, modified long")

    def read(batches: Iterable[Any]) -> Iterator[Any]:
        return _batches(_read(batches, limit, broken))

    lines = files.repartition(min(pieces, max(1, len(sources)))).mapInArrow(read, LINES)
    total = Tally()
    _sort_buckets(lines, scratch / "sorted", pieces, total)
    _cut_repeated(spark, scratch, pieces, total)
    return total


def _sort_buckets(lines: "DataFrame", folder: Path, pieces: int, total: Tally) -> None:
    """As `engine_local.sort_buckets`: the shuffle, and one file for each bucket."""
    folder.mkdir(parents=True)
    target = folder.resolve()

    def write(batches: Iterable[Any]) -> Iterator[Any]:
        return _batches(_write(batches, target))

    total.kept = {}
    for line in _collect(_by_bucket(lines, pieces).mapInArrow(write, LINES)):
        total.add(Tally.from_json(line["line"]))


def _by_bucket(lines: "DataFrame", pieces: int) -> "DataFrame":
    """Each bucket's lines beside each other, in one partition."""
    return lines.repartition(pieces, "bucket").sortWithinPartitions("bucket")


def _cut_repeated(spark: "SparkSession", scratch: Path, pieces: int, total: Tally) -> None:
    """As `engine_local.cut_repeated`. The cuts are gathered here: they are few beside the corpus."""
    folder, edits = scratch / "sorted", scratch / "edited"

    def find(batches: Iterable[Any]) -> Iterator[Any]:
        rows = (row for path in _paths(batches) for row in map(read_row, iterate_lines(path)))
        return _batches(place for row in rows for place in places(row))

    def compare(batches: Iterable[Any]) -> Iterator[Any]:
        return _batches(_repeated(batches))

    found = _bucket_paths(spark, folder, pieces).mapInArrow(find, LINES)
    cuts = Spill(scratch / "cuts")
    for row in _collect(_by_bucket(found, pieces).mapInArrow(compare, LINES)):
        cuts.add(row["bucket"], row["line"])
    cuts.flush()
    if not any(cuts.folder.iterdir()):
        return
    listed = cuts.folder.resolve()

    def edit(batches: Iterable[Any]) -> Iterator[Any]:
        return _batches(_edit(batches, listed))

    changed = _bucket_paths(spark, folder, pieces).mapInArrow(edit, LINES)
    _sort_buckets(changed, edits, pieces, total)
    shutil.rmtree(folder)
    edits.rename(folder)


def _bucket_paths(spark: "SparkSession", folder: Path, pieces: int) -> "DataFrame":
    """One row for each bucket file of a folder."""
    paths = [(str(path.resolve()),) for path in sorted(folder.glob("[0-9]*"))]
    return spark.createDataFrame(paths, "path string").repartition(pieces)


def _paths(batches: Iterable[Any]) -> Iterator[Path]:
    for batch in batches:
        for (path,) in zip(batch.column(0).to_pylist(), strict=True):
            yield Path(path)


def count(spark: "SparkSession", scratch: Path, cut: str, pieces: int) -> Iterator[Count]:
    """(word, n) of the train split: words are counted where the buckets are, then summed in one shuffle."""
    from pyspark.sql import functions

    def words(batches: Iterable[Any]) -> Iterator[Any]:
        return _count(batches, cut)

    pieces = pieces or 4 * spark.sparkContext.defaultParallelism
    spark.conf.set("spark.sql.shuffle.partitions", str(pieces))
    buckets = _bucket_paths(spark, scratch / "sorted", pieces)
    counts = buckets.mapInArrow(words, "word string, n long")
    summed = counts.groupBy("word").agg(functions.sum("n").alias("n"))
    for row in _collect(summed.orderBy(functions.desc("n"), "word")):
        yield row["word"], row["n"]


def _collect(frame: "DataFrame") -> Iterator[Any]:
    """The rows of a frame, one partition at a time; a full disk on a worker is told as such."""
    from pyspark.errors import PySparkException

    frame = frame.persist()
    try:
        frame.count()
        yield from frame.toLocalIterator()
    except PySparkException as error:
        text = str(error)
        if "No space left" in text or "no space left" in text:
            raise UserError(
                "no space left on a disk that Spark writes to",
                hint="free some space, or point SPARK_LOCAL_DIRS elsewhere, then --resume",
            ) from error
        raise
    finally:
        frame.unpersist()


def _read(batches: Iterable[Any], limit: int, broken: float) -> Iterator[tuple[int, str]]:
    tally = Tally()
    for batch in batches:
        for entry in batch.to_pylist():
            source = Source(entry["name"], entry["path"], entry["size"], entry["modified"])
            for row in rows_of(source, limit, broken, tally):
                yield row.bucket(), row.line()
    yield TALLY, tally.to_json()


def _write(batches: Iterable[Any], folder: Path) -> Iterator[tuple[int, str]]:
    tally = Tally()
    for bucket, lines in _grouped(batches):
        if bucket == TALLY:
            for line in lines:
                tally.add(Tally.from_json(line))
        else:
            sort_bucket(lines, folder / f"{bucket:03d}", tally)
    yield TALLY, tally.to_json()


def _repeated(batches: Iterable[Any]) -> Iterator[tuple[int, str]]:
    for _, lines in _grouped(batches):
        yield from repeated(lines)


def _edit(batches: Iterable[Any], cuts: Path) -> Iterator[tuple[int, str]]:
    tally = Tally()
    for path in _paths(batches):
        for row in edited(path, cuts, tally):
            yield row.bucket(), row.line()
    yield TALLY, tally.to_json()


def _grouped(batches: Iterable[Any]) -> Iterator[tuple[int, Iterator[str]]]:
    """Each bucket with its lines, which lie beside each other."""
    pairs = (pair for batch in batches for pair in zip(*_columns(batch), strict=True))
    for bucket, group in groupby(pairs, key=lambda pair: pair[0]):
        yield bucket, (line for _, line in group)


def _columns(batch: Any) -> tuple[list[int], list[str]]:
    return batch.column(0).to_pylist(), batch.column(1).to_pylist()


def _count(batches: Iterable[Any], cut: str) -> Iterator[Any]:
    from collections import Counter

    import pyarrow

    library = cast(Any, pyarrow)
    for path in _paths(batches):
        total: Counter[str] = Counter()
        for row in map(read_row, iterate_lines(path)):
            if row.kind == "document" and row.id >= cut:
                total.update(words_of(row.body))
        words, counts = list(total), list(total.values())
        for start in range(0, len(words), 20_000):
            part = slice(start, start + 20_000)
            columns = [
                library.array(words[part], "string"),
                library.array(counts[part], "int64"),
            ]
            yield library.RecordBatch.from_arrays(columns, names=["word", "n"])


def _batches(pairs: Iterator[tuple[int, str]]) -> Iterator[Any]:
    """Pairs as Arrow batches of bounded size."""
    import pyarrow

    library = cast(Any, pyarrow)
    buckets: list[int] = []
    lines: list[str] = []
    size = 0

    def batch() -> Any:
        columns = [library.array(buckets, "int32"), library.array(lines, "string")]
        return library.RecordBatch.from_arrays(columns, names=["bucket", "line"])

    for bucket, line in pairs:
        buckets.append(bucket)
        lines.append(line)
        size += len(line)
        if size > BATCH:
            yield batch()
            buckets, lines, size = [], [], 0
    if buckets:
        yield batch()
