"""The preparation on Apache Spark: the same functions inside `mapInArrow`, on this machine or a cluster.

Sources that Spark's connectors reach (hdfs://, s3a:// …) come as whole files, temporary ones on workers: to
read by path would need Hadoop's native library there. So a file is in memory once, as bytes of Arrow.
"""

import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import psutil

from tuti.run import UserError
from tuti.run.machine import cores
from tuti.systems.spark.engine.session import bytes_of
from tuti.systems.spark.frames import COUNTS, Engine, Function
from tuti.systems.spark.java import ready, spark_errors
from tuti.systems.spark.walk import Skip, Source, unused

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FORM = re.compile(r"local(\[(\*|[1-9]\d*)(,\d+)?\])?|spark://[^\s,]+:\d+|yarn")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")
LARGEST = 500_000_000
"""Bytes of such a file; it stands in Java's heap and in a Python worker at once"""
PATIENCE = {"spark": 45, "yarn": 180}
"""Seconds until the first executor must have come; YARN has to make containers first"""
ASIDE = 150
"""MB of this process beyond what it has now (lines on their way to disk), and of what workers fork from"""
JVM = 400
"""MB of a JVM beside its heap: classes, compiled code, threads, buffers of Arrow and of the network"""
BUFFERS = 96
"""MB of those that may be buffers; Java's own limit is another heap's worth"""
HEAP = 500
"""MB below which Spark does not start"""
WORKER = 180
"""MB of a Python worker"""
ADDRESSES = 250
"""MB that a worker maps without touching them: the limit that a process can have counts them"""
LIMIT = "TUTI_WORKER_MB"
"""Where a worker reads it: spark.executor.pyspark.memory does the same, but prints two lines for each task"""


def session(master: str, memory: str) -> "SparkSession":
    """The running session, or a new one; Spark's own defaults that hurt are set here."""
    check_master(master)
    ready()
    # Spark would start PATH's python3 on its workers, which is another than this one in a venv.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
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
    builder = cast(Any, SparkSession.builder).master(master).appName("tuti").config(map=settings)
    hint = "tuti doctor names the Java that was taken; or leave --master out"
    with spark_errors(f"Spark did not start on {master}", hint):
        spark: SparkSession = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    await_executors(spark, master)
    return spark


def check_master(master: str) -> None:
    """Refuses what is no master, or does not answer, before a JVM is started, which would wait a minute."""
    if not FORM.fullmatch(master):
        forms = "local, local[N], local[*], spark://HOST:PORT, yarn"
        hint = "one only, as --master 'local[2]', or leave it out for the engine on this machine"
        raise UserError(f"{master!r} is no master of Spark: {forms}", hint)
    if master == "yarn" and not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
        what = "master yarn: neither HADOOP_CONF_DIR nor YARN_CONF_DIR says where it is"
        raise UserError(what, hint="point one at the folder of yarn-site.xml")
    if master.startswith("spark://"):
        place = urlsplit(master)
        try:
            socket.create_connection((place.hostname or "", place.port or 0), timeout=3).close()
        except (OSError, ValueError) as error:  # ValueError: a port above 65535
            hint = "start it, or correct HOST:PORT; 7077 is Spark's own"
            raise UserError(f"no master answers at {master} ({error})", hint) from None


def await_executors(spark: "SparkSession", master: str) -> None:
    """Returns when the first executor has come; where none comes, refuses (Spark itself waits for ever)."""
    context = cast(Any, spark.sparkContext)
    seconds = PATIENCE.get(master.partition(":")[0], 0)
    if not seconds or context.getConf().get("spark.dynamicAllocation.enabled") == "true":
        return
    until = time.monotonic() + seconds
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver is in it too
        if time.monotonic() > until:
            each = context.getConf().get("spark.executor.memory")
            spark.stop()
            what = f"{master} gave no executor within {seconds} s: no worker has a core and {each} free"
            hint = "start workers, or ask for less (--memory); if executors came and went, see their logs"
            raise UserError(what, hint)
        time.sleep(0.2)


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


def shares(master: str, memory: str) -> dict[str, str]:
    """Spark's settings for a cap ("": half of what is free; on a cluster 2g), to which all processes keep.

    local[N]    cap  = this process + one JVM (heap and what it needs beside it) + N Python workers
    a cluster   cap  = this process + the driver's JVM; and again for each executor: a JVM + one Python worker

    Spark's own spark.driver.memory and spark.executor.memory are heaps alone.
    """
    local = master.startswith("local")
    if not memory:
        memory = f"{psutil.virtual_memory().available // 2**21}m" if local else "2g"
    cap, workers = bytes_of(memory) // 2**20, threads(master) if local else 1
    here = int(psutil.Process().memory_info().rss) // 2**20 + ASIDE
    least = here + JVM + HEAP + (workers * WORKER if local else 0)
    if cap < least:
        of = f"{workers} Python workers of {WORKER}" if local else "each executor's the same"
        raise UserError(
            f"{memory} are too little for {master}: {here} MB for this process, {JVM + HEAP} for Java, {of}",
            hint=f"--memory {least}m" + ("; or fewer workers" if workers > 1 else ""),
        )
    worker = WORKER + (cap - least) // 2 // workers
    buffers = f"-XX:MaxDirectMemorySize={BUFFERS}m"
    settings = {
        "spark.driver.memory": f"{cap - here - JVM - (workers * worker if local else 0)}m",
        "spark.driver.extraJavaOptions": buffers,
        f"spark.executorEnv.{LIMIT}": str(worker + ADDRESSES),
        "spark.executorEnv.ARROW_DEFAULT_MEMORY_POOL": "system",  # the other ones map a GB at once
        "spark.executorEnv.MALLOC_ARENA_MAX": "2",
    }
    if not local:
        settings |= {
            "spark.executor.cores": "1",  # as many Python workers has an executor as it has cores
            "spark.executor.memory": f"{cap - JVM - worker}m",
            "spark.executor.memoryOverhead": f"{JVM + worker}m",
            "spark.executor.extraJavaOptions": buffers,
            "spark.network.maxRemoteBlockSizeFetchToMem": f"{BUFFERS // 2}m",  # larger: by way of a disk
        }
    return settings


def threads(master: str) -> int:
    """N of local[N]."""
    wanted = master.removeprefix("local").strip("[]").partition(",")[0] or "1"
    return cores() if wanted == "*" else int(wanted)


def spark_engine(spark: "SparkSession", pieces: int, remote: Sequence[str] = ()) -> Engine:
    """Spark as an `Engine`; `pieces`: partitions (0: four a core); `remote`: addresses of sources."""
    from pyspark.sql import functions
    from pyspark.sql.pandas import types

    pieces = pieces or 4 * spark.sparkContext.defaultParallelism
    spark.conf.set("spark.sql.shuffle.partitions", str(pieces))

    def listed(files: Sequence[Source]) -> "DataFrame":
        """Spread by Spark, which does not know how much work a file is.

        Files of all machines are at the same paths; those that Spark's connectors reach come as bytes.
        """
        there = [file for file in files if address(Path(file.path))]
        here = [(json.dumps(file),) for file in files if not address(Path(file.path))]
        frame = spark.createDataFrame(here, "line string").repartition(max(1, min(pieces, len(here))))
        if not there:
            return frame
        frame = frame.selectExpr("line", "CAST(NULL AS BINARY) AS content")
        return frame.union(contents(spark, there, remote))

    def mapped(frame: "DataFrame", function: Function, schema: Any) -> "DataFrame":
        def limited(batches: Iterator[Any]) -> Iterator[Any]:
            """The function in a worker that cannot have more memory than its share."""
            if sys.platform == "linux" and (megabytes := int(os.environ.get(LIMIT, "0"))):
                resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
            yield from function(batches)

        return frame.mapInArrow(limited, cast(Any, types).from_arrow_schema(schema))

    def summed(frame: "DataFrame") -> "DataFrame":
        word, n = COUNTS.names
        return frame.groupBy(word).agg(functions.sum(n).alias(n)).orderBy(functions.desc(n), word)

    return Engine(
        listed, mapped, lambda frame: frame.repartition(pieces, "bucket").sortWithinPartitions("bucket"),
        summed, lambda frame: map(tuple, _collect(frame)),
    )


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


def address(path: Path) -> str:
    """The address that pathlib took one slash from ("": a path of this machine)."""
    found = ADDRESS.fullmatch(str(path))
    return f"{found[1]}:{'///' if found[1] == 'file' else '//'}{found[2]}" if found else ""


def listed(spark: "SparkSession", roots: Sequence[str], *, several: bool) -> tuple[list[Source], list[Skip]]:
    """The files below addresses; names are relative, after the root's own name where there are `several`."""
    sources, skips, taken = list[Source](), list[Skip](), set[str]()
    for root in roots:
        prefix = unused(root.rstrip("/").rpartition("/")[2] or "root", taken) + "/" if several else ""
        hint = "give the whole address, as hdfs://HOST:8020/folder; s3a:// needs its own jar"
        with spark_errors(f"{root} cannot be read by Spark", hint):
            rows: list[Any] = _opened(spark, [root]).select("path", "length", "modificationTime").collect()
        for path, size, modified in sorted(rows):
            name = prefix + _below(root, path)
            reason = "0 bytes" if not size else f"larger than {LARGEST:,} bytes" if size > LARGEST else ""
            if reason:
                skips.append(Skip(name, 0, reason))
            else:
                sources.append(Source(name, path, size, int(modified.timestamp() * 1e9)))
    return sources, skips


def contents(spark: "SparkSession", sources: Sequence[Source], roots: Sequence[str]) -> "DataFrame":
    """(line, content), for `files_in`: each file's `Source` as JSON, and its bytes."""
    from pyspark.sql import functions

    names = {source.path: json.dumps(source) for source in sources}
    lines = spark.createDataFrame(list(names.items()), "path string, line string")
    # Before it is read: what the condition refuses is never opened.
    frame = _opened(spark, roots).where(functions.col("length").between(1, LARGEST))
    return frame.join(functions.broadcast(lines), "path").select("line", "content")


def _opened(spark: "SparkSession", roots: Sequence[str]) -> "DataFrame":
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    return reader.load(list(roots))


def _below(root: str, path: str) -> str:
    """The path of a file relative to its root, both with or without their host."""
    top, own = (re.sub(r"^[a-z][a-z0-9+.-]+:(//[^/]*)?", "", text).rstrip("/") for text in (root, path))
    return own.removeprefix(top).lstrip("/") or own.rpartition("/")[2]
