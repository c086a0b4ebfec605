"""How rows are matched with a table that is held: row numbers first, then the rows that these name.

One key with many rows on both sides has the product of them as matches; so they are found and taken a few
at a time, whatever comes out.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tuti.systems.spark.query.arrow import BYTES, ROWS, Batch, Table, pa, pc, size_of, table_of
from tuti.systems.spark.query.plan import Join

MOST = 500_000
"""Matches found at a time, but for those of one row"""
KINDS = {"left": "left outer", "semi": "left semi", "anti": "left anti"}


def joined(batches: Iterable[Batch], right: Table, node: Join) -> Iterator[Batch]:
    """The joined rows of batches of the left side, which go past the right one."""
    keys = list(node.on)
    counts = right.select(keys).group_by(keys, use_threads=False).aggregate([([], "count_all")])
    most = pc.max(counts["count_all"]).as_py() or 0
    others = _numbered(right, keys, "\0right")
    for batch in batches:
        left = table_of([batch], node.inputs[0].schema)
        numbers = _numbered(left, keys, "\0left")
        many = node.how in ("inner", "left") and most * len(left) > MOST
        for part in _parts(numbers, counts, keys) if many else [numbers]:
            found = part.join(others, keys, join_type=KINDS.get(node.how, "inner"), use_threads=False)
            yield from _taken(left, right, found, node)


def _numbered(table: Table, keys: Sequence[str], name: str) -> Table:
    return table.select(list(keys)).append_column(name, pa.array(np.arange(len(table))))


def _parts(left: Table, counts: Table, keys: Sequence[str]) -> Iterator[Table]:
    """Rows that stand together and have about `MOST` matches together."""
    found = left.join(counts, list(keys), join_type="inner", use_threads=False)
    matches = np.zeros(len(left), np.int64)
    matches[found["\0left"].to_numpy()] = found["count_all"].to_numpy()
    part = np.cumsum(matches) // MOST
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(left)], strict=True):
        yield left.slice(start, end - start)


def _taken(left: Table, right: Table, found: Table, node: Join) -> Iterator[Batch]:
    """The rows of both sides that are named: columns of any type may go along."""
    keys = list(node.on)
    names = keys + [name for name in left.schema.names if name not in keys]
    width = sum(size_of(side) // max(1, len(side)) for side in (left, right))
    step = max(1, min(ROWS, BYTES // max(1, width)))
    for start in range(0, len(found), step):
        piece = found.slice(start, step)
        columns = left.select(names).take(piece["\0left"]).columns
        if node.how in ("inner", "left"):
            columns += right.drop_columns(keys).take(piece["\0right"]).columns
        yield from pa.table(columns, schema=node.schema).to_batches()
