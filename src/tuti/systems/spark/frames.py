"""What the steps of a preparation stand on: what is asked of an engine, and batches of buckets and lines."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tuti.systems.spark.query.arrow import Batch, pa
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
Count = tuple[str, int]
"""A word and how often it stands there"""
Function = Callable[[Iterator[Batch]], Iterator[Batch]]


class Engine(Protocol):
    """What the chain asks of an engine."""

    def listed(self, lines: Sequence[tuple[str, int]]) -> Frame:
        """A frame of these lines (column `line`), spread over partitions by the work that each is."""
        ...

    def read(self, sources: Sequence[Source], function: Function) -> Frame:
        """What a function from lines (`listed_in`: the fields of a Source) to LINES makes of files."""
        ...

    def mapped(self, frame: Frame, function: Function, schema: Any) -> Frame:
        """A narrow step: a function over the batches of a partition."""
        ...

    def by_bucket(self, frame: Frame) -> Frame:
        """A wide step: each bucket's lines beside each other, in one partition."""
        ...

    def lines(self, frame: Frame) -> Pairs:
        """Computes a frame of buckets and lines."""
        ...

    def summed(self, frame: Frame) -> Iterator[Count]:
        """Computes (word, n) summed by word, in the order of WordCounts."""
        ...


def buckets_of(engine: Engine, folder: Path, files: str = "[0-9]*") -> Frame:
    """One line for each bucket (or other file) of a folder: its path."""
    paths = sorted(folder.resolve().glob(files))
    return engine.listed([(json.dumps(str(path)), path.stat().st_size) for path in paths])


def lines_of(sources: Sequence[Source]) -> list[tuple[str, int]]:
    """A line and its work for each file of this machine."""
    full = [source._replace(path=os.path.abspath(source.path)) for source in sources]
    return [(json.dumps([s.name, os.fsdecode(s.path), s.size, s.modified]), s.size) for s in full]


def listed_in(batches: Iterable[Batch]) -> Iterator[Any]:
    """What `Engine.listed` was given, as JSON."""
    for batch in batches:
        yield from map(json.loads, batch.column(0).to_pylist())


def paths_in(batches: Iterable[Batch]) -> Iterator[Path]:
    """The files of `buckets_of`."""
    return map(Path, listed_in(batches))


def lined(engine: Engine, frame: Frame, function: Callable[..., Pairs], *given: Any) -> Frame:
    """A narrow step to buckets and lines; what is `given` goes along to the workers."""

    def step(batches: Iterator[Batch]) -> Iterator[Batch]:
        return batches_of(function(batches, *given))

    step.__name__ = function.__name__.strip("_")  # which plans show
    return engine.mapped(frame, step, LINES)


def pairs_in(batches: Iterable[Batch]) -> Pairs:
    """The buckets and lines of LINES."""
    for batch in batches:
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def batches_of(pairs: Pairs) -> Iterator[Batch]:
    """Pairs as Arrow batches of bounded size."""
    for buckets, lines in portions(pairs):
        yield pa.record_batch([buckets, lines], schema=LINES)


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
