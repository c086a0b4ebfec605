"""Frames of tables that a test holds."""

from itertools import pairwise

import pyarrow as pa

from tuti.systems.spark.engine import Frame, Job, Session
from tuti.systems.spark.engine.scheduler import Order
from tuti.systems.spark.query.arrow import pieces


def reported(session: Session) -> list[Order]:
    """What each task of the last action did, once it has ended."""
    report: list[Order] = []

    def ended(job: Job) -> None:
        report[:] = job.report

    session.ended = ended
    return report


def frame_of(session: Session, table: pa.Table, partitions: int = 0) -> Frame:
    """The table's rows, in as many partitions of nearly one size."""
    count = partitions or session.partitions
    ends = [len(table) * n // count for n in range(count + 1)]
    return session.items(
        pairwise(ends), lambda span, columns: pieces(table.select(columns)[slice(*span)].to_batches()),
        table.schema, "table",
    )
