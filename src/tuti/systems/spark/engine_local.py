"""The preparation on our own engine: processes on this machine, without a JVM."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tuti.systems.spark.engine import Frame, Session
from tuti.systems.spark.frames import COUNTS, LINES, Count, Function, Pairs, pairs_in
from tuti.systems.spark.query.arrow import LINE, Batch, pa
from tuti.systems.spark.walk import Source


class LocalEngine:
    """`frames.Engine`, which says what each method is for, on a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def listed(self, files: Sequence[Source]) -> Frame:
        """As many partitions as a shuffle makes, of about as much work each: the largest are dealt first."""
        dealt: list[list[str]] = [[] for _ in range(min(self.session.partitions, len(files)))]
        work = [0] * len(dealt)
        for file in sorted(files, key=lambda one: (-one.size, one.name)):
            least = work.index(min(work))
            dealt[least].append(json.dumps(file))
            work[least] += file.size + 1000
        return self.session.items(dealt, _read, LINE, "files")

    def read(self, sources: Sequence[Source], function: Function) -> Frame:
        """Files of this machine."""
        return self.mapped(self.listed(sources), function, LINES)

    def mapped(self, frame: Frame, function: Function, schema: Any) -> Frame:
        return frame.map_partitions(function, schema)

    def by_bucket(self, frame: Frame) -> Frame:
        return frame.repartition("bucket").sort("bucket", within=True)

    def lines(self, frame: Frame) -> Pairs:
        return pairs_in(frame.batches())

    def summed(self, frame: Frame) -> Iterator[Count]:
        total = frame.group_by("word").agg(n=("sum", "n"))
        for batch in total.sort("n", "word", down=("n",)).batches():
            columns = batch.select(COUNTS.names).columns
            yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _read(lines: list[str], columns: Sequence[str]) -> Iterator[Batch]:
    """A batch for each line, so that what follows begins with the first."""
    for line in lines:
        yield pa.record_batch([[line]], schema=LINE)
