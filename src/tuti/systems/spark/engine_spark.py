"""The preparation on Apache Spark: the same functions inside `mapInArrow`, on this machine or a cluster."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tuti.run import UserError
from tuti.systems.spark.frames import COUNTS, LINES, Count, Function, Pairs, lines_of
from tuti.systems.spark.java import cause, ready
from tuti.systems.spark.masters import await_executors, check_master
from tuti.systems.spark.query.arrow import Batch
from tuti.systems.spark.remote import address, contents, on_disk
from tuti.systems.spark.shares import limited, shares
from tuti.systems.spark.walk import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def session(master: str, memory: str) -> "SparkSession":
    """The running session, or a new one; Spark's own defaults that hurt are set here."""
    check_master(master)
    ready()
    # Spark would start PATH's python3 on its workers, which is another than this one in a venv.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
        "spark.sql.execution.arrow.maxBytesPerBatch": "64m",
        "spark.sql.session.timeZone": "UTC",
        **shares(master, memory),
    }
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    builder = cast(Any, SparkSession.builder).master(master).appName("tuti")
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        spark: SparkSession = builder.getOrCreate()
    except (PySparkException, Py4JError, RuntimeError, OSError) as error:
        hint = "tuti doctor names the Java that was taken; or leave --master out"
        what = f"Spark did not start on {master}: {cause(error)}"
        raise UserError(what, hint) from None  # its trace is Java's
    spark.sparkContext.setLogLevel("ERROR")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    await_executors(spark, master)
    return spark


def _interrupt(*_: object) -> None:
    """Ctrl-C in place of pyspark's own, which asks the JVM, amid an answer, to cancel, and waits for it."""
    logging.disable(logging.ERROR)  # py4j would print where it was
    raise KeyboardInterrupt


def _end(context: Any, java: Any) -> None:
    """Ends the JVM, which ends its workers and sweeps its folders; its tasks would go on to their end."""
    logging.disable(logging.NOTSET)
    context.setLogLevel("OFF")  # else every task that it ends is told with a trace
    java.terminate()
    try:
        java.wait(5)
    except subprocess.TimeoutExpired:
        java.kill()
        java.wait()


class SparkEngine:
    """`frames.Engine`, see there; `pieces`: partitions (0: four a core); `remote`: addresses of sources."""

    def __init__(self, spark: "SparkSession", pieces: int, remote: Sequence[str] = ()) -> None:
        self.spark, self.remote = spark, remote
        self.pieces = pieces or 4 * spark.sparkContext.defaultParallelism

    def listed(self, lines: Sequence[tuple[str, int]]) -> "DataFrame":
        """Spread by Spark, which does not know how much work a line is."""
        frame = self.spark.createDataFrame([(line,) for line, _ in lines], "line string")
        return frame.repartition(max(1, min(self.pieces, len(lines))))

    def read(self, sources: Sequence[Source], function: Function) -> "DataFrame":
        """Files of all machines at the same paths, and those that Spark's connectors reach."""
        there = [source for source in sources if address(Path(os.fsdecode(source.path)))]
        here = [source for source in sources if source not in there]
        parts = [self.mapped(self.listed(lines_of(here)), function, LINES)] if here else []
        if there:

            def read(batches: Iterator[Batch]) -> Iterator[Batch]:
                return function(on_disk(batches))

            parts.append(self.mapped(contents(self.spark, there, self.remote), read, LINES))
        return reduce(lambda one, other: one.union(other), parts)

    def mapped(self, frame: "DataFrame", function: Function, schema: Any) -> "DataFrame":
        kinds = {"int32": "int", "int64": "long", "string": "string", "binary": "binary"}
        columns = ", ".join(f"{f.name} {kinds[str(f.type)]}" for f in schema)
        return frame.mapInArrow(limited(function), columns)

    def by_bucket(self, frame: "DataFrame") -> "DataFrame":
        return frame.repartition(self.pieces, "bucket").sortWithinPartitions("bucket")

    def lines(self, frame: "DataFrame") -> Pairs:
        for row in _collect(frame):
            yield row["bucket"], row["line"]

    def summed(self, frame: "DataFrame") -> Iterator[Count]:
        from pyspark.sql import functions

        self.spark.conf.set("spark.sql.shuffle.partitions", str(self.pieces))
        word, n = COUNTS.names
        total = frame.groupBy(word).agg(functions.sum(n).alias(n))
        for row in _collect(total.orderBy(functions.desc(n), word)):
            yield row[word], row[n]


def _collect(frame: "DataFrame") -> Iterator[Any]:
    """The rows of a frame, one partition at a time; a full disk on a worker is told as such."""
    from pyspark.errors import PySparkException

    context = cast(Any, frame.sparkSession.sparkContext)
    java, frame = context._gateway.proc, frame.persist()
    try:
        frame.count()
        yield from frame.toLocalIterator()
    except KeyboardInterrupt:
        _end(context, java)
        raise
    except PySparkException as error:
        text = str(error)
        if "MemoryError" in text or "OutOfMemoryError" in text:
            hint = "more --memory, or more --partitions (smaller pieces)"
            raise UserError("the memory of a Spark process did not suffice", hint) from None
        if "no space left" in text.lower():
            hint = "free some space, or point SPARK_LOCAL_DIRS elsewhere, then --resume"
            raise UserError("no space left on a disk that Spark writes to", hint) from error
        raise
    finally:
        if java.poll() is None:
            frame.unpersist()
