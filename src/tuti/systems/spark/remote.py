"""Sources that Spark's connectors reach (hdfs://, s3a:// …): whole files, as temporary files on workers.

Reading by path instead would need Hadoop's native library on every worker. So a file is in memory once, as
bytes of Arrow; one above `LARGEST` is passed over, with its reason.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuti.systems.spark.java import spark_errors
from tuti.systems.spark.query.arrow import LINE, Batch, pa
from tuti.systems.spark.walk import Skip, Source, unused

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FORM = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")
LARGEST = 500_000_000
"""Bytes of a file; it stands in Java's heap and in a Python worker at once"""


def address(path: Path) -> str:
    """The address that pathlib took one slash from ("": a path of this machine)."""
    found = FORM.fullmatch(str(path))
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
    """(line, content): each file's `Source` as JSON without its path, and its bytes."""
    from pyspark.sql import functions

    names = {source.path: json.dumps(source._replace(path="")) for source in sources}
    lines = spark.createDataFrame(list(names.items()), "path string, line string")
    # Before it is read: what the condition refuses is never opened.
    frame = _opened(spark, roots).where(functions.col("length").between(1, LARGEST))
    return frame.join(functions.broadcast(lines), "path").select("line", "content")


def on_disk(batches: Iterator[Batch]) -> Iterator[Batch]:
    """A line for each of `contents`, as of a file here, which stays until the next one is asked for."""
    for batch in batches:
        for place in range(len(batch)):
            source = Source(*json.loads(batch.column(0)[place].as_py()))
            with tempfile.NamedTemporaryFile(suffix=Path(source.name).name[-80:]) as file:
                file.write(batch.column(1)[place].as_buffer())
                file.flush()
                yield pa.record_batch([[json.dumps(source._replace(path=file.name))]], schema=LINE)


def _opened(spark: "SparkSession", roots: Sequence[str]) -> "DataFrame":
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    return reader.load(list(roots))


def _below(root: str, path: str) -> str:
    """The path of a file relative to its root, both with or without their host."""
    top, own = (re.sub(r"^[a-z][a-z0-9+.-]+:(//[^/]*)?", "", text).rstrip("/") for text in (root, path))
    return own.removeprefix(top).lstrip("/") or own.rpartition("/")[2]
