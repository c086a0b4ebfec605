"""What a wide step does with the rows of one partition, in the memory that it is granted.

Grouping, joining and sorting hold rows. Refused more memory, they put rows aside on disk by a hash of
their keys (sorting: by range) and then take one part after the other, the same way: a part too large is
parted again.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tuti.systems.spark.engine.memory import Claim, Pool
from tuti.systems.spark.engine.shuffle import LIGHTLY, Places, hash_rows
from tuti.systems.spark.query.arrow import BYTES, ROWS, Batch, Schema, Table, pa, pc, pieces, table_of
from tuti.systems.spark.query.grouping import Grouping
from tuti.systems.spark.query.plan import By, Join

PARTS = 16
DEEPEST = 6
"""Partings of partings: 16^6 parts; what is too large then has one key, and is held all the same"""
MATCHES = 500_000
"""Matches of a join found at a time, but for those of one row"""
JOINS = {"left": "left outer", "semi": "left semi", "anti": "left anti", "inner": "inner"}


@dataclass
class Means:
    """What a task works with."""

    pool: Pool
    scratch: Path
    spilled: int = 0
    names: Iterator[int] = field(default_factory=itertools.count)

    def aside(self, rows: Iterable[Batch], parts: Callable[[Batch], Places]) -> dict[int, Iterator[Batch]]:
        """Puts rows on disk by the part of each; each part's are read back when they are asked for."""
        folder = self.scratch / f"aside-{next(self.names)}"
        folder.mkdir(parents=True)
        streams: dict[int, Any] = {}
        for batch in pieces(rows):
            of = parts(batch)
            for part in map(int, np.unique(of)):
                if part not in streams:
                    streams[part] = pa.ipc.new_stream(str(folder / str(part)), batch.schema, options=LIGHTLY)
                streams[part].write_batch(batch.take(pa.array(np.flatnonzero(of == part))))
        for stream in streams.values():
            stream.close()
        self.spilled += sum(path.stat().st_size for path in folder.iterdir())
        return {part: pieces(_read_once(folder / str(part))) for part in sorted(streams)}


def _read_once(path: Path) -> Iterator[Batch]:
    """The rows of a file, which is gone when they have been read."""
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as stream:
        yield from stream
    path.unlink()


def by_hash(keys: Iterable[str], depth: int) -> Callable[[Batch], Places]:
    """[rows] the part of each row, by four other bits of its keys' hash at each depth."""
    return lambda batch: (hash_rows(batch, list(keys)) >> np.uint64(32 + 4 * depth)).astype(np.int64) % PARTS


def group_partly(batches: Iterable[Batch], how: Grouping, means: Means) -> Iterator[Batch]:
    """Partial figures of a partition's rows; when memory is short those so far are simply passed on."""
    held: list[Batch] = []
    with Claim(means.pool) as claim:
        for batch in batches:
            fresh = how.begun(table_of([batch], batch.schema))
            if not claim.grow(2 * fresh.nbytes):
                yield from held
                held = []
                claim.clear()
            held += fresh.to_batches()
            if len(held) >= 32:
                held = how.merge(held)
                claim.clear()
                claim.grow(2 * held[0].nbytes)
        yield from how.merge(held) if held else []


def group_finally(batches: Iterable[Batch], how: Grouping, means: Means, depth: int = 0) -> Iterator[Batch]:
    """One row for each key, from partial figures."""
    held: list[Batch] = []
    waiting = iter(batches)
    with Claim(means.pool) as claim:
        for batch in waiting:
            held.append(batch)
            if not claim.grow(2 * batch.nbytes):
                held = how.merge(held)
                claim.clear()
                if not claim.grow(4 * held[0].nbytes) and how.keys and depth < DEEPEST:
                    break
        else:
            yield from how.done(how.merged(table_of(held, how.figures))).to_batches()
            return
    parts = means.aside(itertools.chain(held, waiting), by_hash(how.keys, depth))
    held.clear()
    for part in parts.values():
        yield from group_finally(part, how, means, depth + 1)


def _held(waiting: Iterator[Batch], claim: Claim, times: int, depth: int) -> tuple[list[Batch], bool]:
    """Rows for as long as memory is granted, `times` their size; and whether these are all."""
    held: list[Batch] = []
    for batch in waiting:
        held.append(batch)
        if not claim.grow(times * batch.nbytes) and depth < DEEPEST:
            return held, False
    return held, True


def join(
    left: Iterable[Batch], right: Iterable[Batch], node: Join, means: Means, depth: int = 0
) -> Iterator[Batch]:
    """The right side is held, and the left one goes past it."""
    waiting = iter(right)
    with Claim(means.pool) as claim:
        held, whole = _held(waiting, claim, 3, depth)
        if whole:
            yield from joined(left, table_of(held, node.inputs[1].schema), node)
            return
    others = means.aside(itertools.chain(held, waiting), by_hash(node.on, depth))
    held.clear()
    for number, part in means.aside(left, by_hash(node.on, depth)).items():
        yield from join(part, others.get(number, ()), node, means, depth + 1)


def joined(batches: Iterable[Batch], right: Table, node: Join) -> Iterator[Batch]:
    """The joined rows of batches of the left side, which go past the right one, which is held.

    Row numbers are matched first, then the rows that these name are taken. One key with many rows on both
    sides has the product of them as matches; so they are found and taken a few at a time.
    """
    keys = list(node.on)
    counts = right.select(keys).group_by(keys, use_threads=False).aggregate([([], "count_all")])
    most = pc.max(counts["count_all"]).as_py() or 0
    others = _numbered(right, keys, "\0right")
    for batch in batches:
        left = table_of([batch], node.inputs[0].schema)
        numbers = _numbered(left, keys, "\0left")
        many = node.how in ("inner", "left") and most * len(left) > MATCHES
        for part in _parts(numbers, counts, keys) if many else [numbers]:
            found = part.join(others, keys, join_type=JOINS[node.how], use_threads=False)
            yield from _taken(left, right, found, node)


def _numbered(table: Table, keys: list[str], name: str) -> Table:
    return table.select(keys).append_column(name, pa.array(np.arange(len(table))))


def _parts(left: Table, counts: Table, keys: list[str]) -> Iterator[Table]:
    """Rows that stand together and have about `MATCHES` matches together."""
    found = left.join(counts, keys, join_type="inner", use_threads=False)
    matches = np.zeros(len(left), np.int64)
    matches[found["\0left"].to_numpy()] = found["count_all"].to_numpy()
    part = np.cumsum(matches) // MATCHES
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(left)], strict=True):
        yield left.slice(start, end - start)


def _taken(left: Table, right: Table, found: Table, node: Join) -> Iterator[Batch]:
    """The rows of both sides that are named: columns of any type may go along."""
    names = node.schema.names[: left.num_columns]
    width = sum(side.nbytes // max(1, len(side)) for side in (left, right))
    step = max(1, min(ROWS, BYTES // max(1, width)))
    for start in range(0, len(found), step):
        piece = found.slice(start, step)
        columns = left.select(names).take(piece["\0left"]).columns
        if node.how in ("inner", "left"):
            columns += right.drop_columns(list(node.on)).take(piece["\0right"]).columns
        yield from pa.table(columns, schema=node.schema).to_batches()


def ordered(table: Table, by: By) -> Table:
    """Rows in order; nulls count as the smallest."""
    return table.take(_order(table, by))


def _order(table: Table, by: By) -> Places:
    columns: dict[str, Any] = {}
    for number, (name, _) in enumerate(by):
        columns |= {f"valid{number}": pc.is_valid(table[name]).cast("int8"), f"key{number}": table[name]}
    ways = ["descending" if down else "ascending" for _, down in by for _ in range(2)]
    return pc.sort_indices(pa.table(columns), list(zip(columns, ways, strict=True))).to_numpy()


def ranges_of(batch: Batch, bounds: Table, by: By) -> Places:
    """[rows] 2 i for a row between bounds i - 1 and i, 2 i + 1 for one that equals bound i."""
    names, count = [name for name, _ in by], len(bounds)

    def flagged(table: Table, flag: int) -> Table:
        return table.select(names).append_column("\0", pa.array(np.full(len(table), flag, np.int8)))

    rows = flagged(table_of([batch], batch.schema), 1)
    both = [flagged(bounds, 0), rows, flagged(bounds, 2)]  # a bound stands before its equals, and after
    order = _order(pa.concat_tables(both), (*by, ("\0", False)))
    places = np.empty(len(order), np.int64)
    places[order] = np.cumsum((order < count) | (order >= count + len(rows)))
    return places[count : count + len(rows)]


def bounds_of(sample: Table, by: By, count: int) -> Table:
    """The rows at which a sample falls into `count` ranges of about as many rows; equal ones once."""
    rows = ordered(sample, by)
    edges = rows.take(np.unique(np.arange(1, count) * len(rows) // count)) if len(rows) else rows
    return edges.group_by(rows.schema.names, use_threads=False).aggregate([])


def sample(batches: Iterable[Batch], by: By, size: int, schema: Schema) -> Table:
    """Between `size` and twice as many rows' keys, evenly spread, if there are so many."""
    held = table_of([], schema).select([name for name, _ in by])
    step, seen = 1, 0
    for batch in batches:
        keys = table_of([batch], schema).select(held.schema.names)
        held = pa.concat_tables([held, keys.take(np.arange(-seen % step, len(keys), step))])
        seen += len(keys)
        while len(held) > 2 * size:
            held, step = held.take(np.arange(0, len(held), 2)), 2 * step
    return held


def sort(batches: Iterable[Batch], by: By, schema: Schema, means: Means, depth: int = 0) -> Iterator[Batch]:
    """The rows in order."""
    waiting = iter(batches)
    with Claim(means.pool) as claim:
        held, whole = _held(waiting, claim, 2, depth)
        if whole:
            yield from ordered(table_of(held, schema), by).to_batches()
            return
    bounds = bounds_of(sample(held, by, 64 * PARTS, schema), by, PARTS)
    parts = means.aside(itertools.chain(held, waiting), lambda batch: ranges_of(batch, bounds, by))
    held.clear()
    for number, part in parts.items():  # rows that all equal a bound are in order
        yield from part if number % 2 else sort(part, by, schema, means, depth + 1)
