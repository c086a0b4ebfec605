"""What the steps of a preparation stand on: what is asked of an engine; buckets, in batches and on disk.

A bucket holds the rows whose ids begin with the same byte, one JSON line each. Whatever engine fills them,
with any number of tasks, the files are the same.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Concatenate

from tuti.systems.spark.engine import Session
from tuti.systems.spark.query.arrow import LINE, Batch, pa
from tuti.systems.spark.tally import Tally, read_tally
from tuti.systems.spark.walk import Source

LINES = pa.schema([("bucket", pa.int32()), ("line", pa.string())])
COUNTS = pa.schema([("word", pa.string()), ("n", pa.int64())])
TALLY = -1
"""The bucket number of lines that carry a tally instead of a row."""
BATCH = 4_000_000
"""Characters in one Arrow batch."""
Frame = Any
"""Rows that are described, not yet computed: of our engine or of Spark"""
Pairs = Iterator[tuple[int, str]]
Function = Callable[[Iterator[Batch]], Iterator[Batch]]
Step = Callable[Concatenate[Iterator[Batch], ...], Pairs]
"""From the batches of a partition, and what goes along to the workers, to buckets and lines"""


@dataclass(frozen=True)
class Engine:
    """What the chain asks of an engine."""

    listed: Callable[[Sequence[Source]], Frame]
    """A frame of files, for `files_in`, spread over partitions"""
    mapped: Callable[[Frame, Function, Any], Frame]
    """A narrow step: a function over the batches of a partition, to rows of a schema"""
    by_bucket: Callable[[Frame], Frame]
    """A wide step: each bucket's lines beside each other, in one partition"""
    summed: Callable[[Frame], Frame]
    """A wide step: (word, n) summed by word, in the order of WordCounts"""
    pairs: Callable[[Frame], Iterator[Any]]
    """Computes a frame of two columns, as those of LINES and COUNTS"""

    def buckets(self, folder: Path, files: str = "[0-9]*") -> Frame:
        """The buckets (or other files) of a folder, for `paths_in`."""
        paths = sorted(folder.resolve().glob(files))
        return self.listed([Source(path.name, str(path), path.stat().st_size, 0) for path in paths])

    def lined(self, frame: Frame, function: Step, *given: Any) -> Frame:
        """A narrow step to buckets and lines; what is `given` goes along to the workers."""

        def step(batches: Iterator[Batch]) -> Iterator[Batch]:
            for buckets, lines in portions(function(batches, *given)):
                yield pa.record_batch([buckets, lines], schema=LINES)

        step.__name__ = function.__name__.strip("_")  # which plans show
        return self.mapped(frame, step, LINES)

    def rewrite(self, frame: Frame, function: Step, scratch: Path, total: Tally, *given: Any) -> None:
        """Leaves in `scratch/sorted` what a step writes; only what it keeps counts as kept."""
        folder, edits = scratch / "sorted", scratch.resolve() / "edited"
        edits.mkdir(parents=True)
        total.kept, total.kept_bytes = Counter(), Counter()
        for _, line in self.pairs(self.lined(frame, function, edits, *given)):
            total.add(read_tally(line))
        shutil.rmtree(folder, ignore_errors=True)
        edits.rename(folder)


def local_engine(session: Session) -> Engine:
    """Ours: processes on this machine, without a JVM."""

    def listed(files: Sequence[Source]) -> Frame:
        """As many partitions as a shuffle makes, of about as much work each: the largest are dealt first."""
        dealt: list[list[str]] = [[] for _ in range(min(session.partitions, len(files)))]
        work = [0] * len(dealt)
        for file in sorted(files, key=lambda one: (-one.size, one.name)):
            least = work.index(min(work))
            dealt[least].append(json.dumps(file))
            work[least] += file.size + 1000
        return session.items(dealt, _read, LINE, "files")

    def summed(frame: Frame) -> Frame:
        total = frame.group_by("word").agg(n=("sum", "n")).sort("n", "word", down=("n",))
        return total.select(*COUNTS.names)

    return Engine(
        listed, lambda frame, function, schema: frame.map_partitions(function, schema),
        lambda frame: frame.repartition("bucket").sort("bucket", within=True),
        summed, lambda frame: pairs_in(frame.batches()),
    )


def _read(lines: list[str], columns: Sequence[str]) -> Iterator[Batch]:
    """A batch for each line, so that what follows begins with the first."""
    for line in lines:
        yield pa.record_batch([[line]], schema=LINE)


def files_in(batches: Iterable[Batch]) -> Iterator[Source]:
    """What `Engine.listed` was given; what came as bytes is a file here until the next one is asked for."""
    for batch in batches:
        for place, line in enumerate(batch.column(0).to_pylist()):
            source, content = Source(*json.loads(line)), batch.columns[1:]
            if not content or not content[0][place].is_valid:
                yield source
                continue
            with tempfile.NamedTemporaryFile(suffix=Path(source.name).name[-80:]) as file:
                file.write(content[0][place].as_buffer())
                file.flush()
                yield source._replace(path=file.name)


def paths_in(batches: Iterable[Batch]) -> Iterator[Path]:
    """The files of `Engine.buckets`."""
    return (Path(file.path) for file in files_in(batches))


def pairs_in(batches: Iterable[Batch]) -> Iterator[Any]:
    """The rows of two columns, as those of LINES and COUNTS."""
    for batch in batches:
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def portions(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], list[str]]]:
    """The numbers and the texts of some megabytes at a time."""
    numbers, texts, size = list[int](), list[str](), 0
    for number, text in numbered:
        numbers.append(number)
        texts.append(text)
        size += len(text)
        if size > BATCH:
            yield numbers, texts
            numbers, texts, size = [], [], 0
    if texts:
        yield numbers, texts


@contextmanager
def whole(path: Path) -> Generator[BinaryIO]:
    """A file that is there whole or not at all (a worker may be tried twice, or two at once)."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    with open(partial, "wb") as file:
        yield file
    os.replace(partial, path)
