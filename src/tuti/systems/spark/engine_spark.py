"""The preparation on Apache Spark: the same functions inside `mapInArrow`, on this machine or a cluster."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from tuti.run import UserError
from tuti.systems.spark.frames import COUNTS, Function, Pairs
from tuti.systems.spark.words import Count

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


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


class SparkEngine:
    """`frames.Engine` on Spark; `pieces`: how many partitions (0: four for each core)."""

    def __init__(self, spark: "SparkSession", pieces: int) -> None:
        self.spark = spark
        self.pieces = pieces or 4 * spark.sparkContext.defaultParallelism

    def listed(self, lines: Sequence[tuple[str, int]]) -> "DataFrame":
        """Spread by Spark, which does not know how much work a line is."""
        frame = self.spark.createDataFrame([(line,) for line, _ in lines], "line string")
        return frame.repartition(max(1, min(self.pieces, len(lines))))

    def mapped(self, frame: "DataFrame", function: Function, schema: Any) -> "DataFrame":
        """A narrow step."""
        kinds = {"int32": "int", "int64": "long", "string": "string", "binary": "binary"}
        return frame.mapInArrow(function, ", ".join(f"{f.name} {kinds[str(f.type)]}" for f in schema))

    def by_bucket(self, frame: "DataFrame") -> "DataFrame":
        """A wide step."""
        return frame.repartition(self.pieces, "bucket").sortWithinPartitions("bucket")

    def lines(self, frame: "DataFrame") -> Pairs:
        """The buckets and lines."""
        for row in _collect(frame):
            yield row["bucket"], row["line"]

    def summed(self, frame: "DataFrame") -> Iterator[Count]:
        """The words and how often they stand there."""
        from pyspark.sql import functions

        self.spark.conf.set("spark.sql.shuffle.partitions", str(self.pieces))
        word, n = COUNTS.names
        total = frame.groupBy(word).agg(functions.sum(n).alias(n))
        for row in _collect(total.orderBy(functions.desc(n), word)):
            yield row[word], row[n]


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
