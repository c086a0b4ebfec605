"""Arrow, which has no types of its own to check against, for the files of the engine."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet

pa, pc = cast(Any, pyarrow), cast(Any, pyarrow.compute)
ipc, pq = cast(Any, pyarrow.ipc), cast(Any, pyarrow.parquet)
Batch: TypeAlias = Any
Table: TypeAlias = Any
Schema: TypeAlias = Any
Array: TypeAlias = Any
ArrowType: TypeAlias = Any
"""A batch is some rows, column by column; a table, batches of one schema"""

LINE = pa.schema([("line", pa.string())])
ROWS, BYTES = 16_384, 4_000_000
"""A batch has about this many at most; a longer row is a batch of its own"""
table_of = pa.Table.from_batches
"""Batches as a table; nothing is copied"""


def one_batch(batches: Sequence[Batch], schema: Schema) -> Batch:
    """The rows of several batches as one."""
    whole = table_of(batches, schema).combine_chunks().to_batches()
    assert len(whole) < 2, "more bytes than one Arrow array of strings can hold"
    return whole[0] if whole else pa.RecordBatch.from_pylist([], schema)


def pieces(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same rows in batches of about `BYTES`: small ones joined, large ones cut."""
    held: list[Batch] = []
    rows = size = 0
    for batch in batches:
        step = max(1, min(ROWS, batch.num_rows * BYTES // max(1, batch.nbytes)))  # of these rows alone
        for start in range(0, batch.num_rows, step):
            held.append(batch.slice(start, step))
            rows, size = rows + len(held[-1]), size + held[-1].nbytes
            if size >= BYTES or rows >= ROWS:
                yield one_batch(held, batch.schema)
                held, rows, size = [], 0, 0
    if held:
        yield one_batch(held, held[0].schema)
