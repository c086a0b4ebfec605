"""Near duplicates dropped from sorted buckets, in two shuffles (`near.py` says by what)."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tuti.systems.spark import near
from tuti.systems.spark.buckets import Spill, iterate_lines
from tuti.systems.spark.frames import (
    BATCH,
    LINES,
    TALLY,
    Engine,
    Pairs,
    batches_of,
    buckets_of,
    paths_in,
)
from tuti.systems.spark.query.arrow import Batch, pa
from tuti.systems.spark.rows import Row, read_row
from tuti.systems.spark.tally import Tally

BANDS = pa.schema([("bucket", pa.int32()), ("key", pa.int64()), ("id", pa.string())])
SETS = pa.schema([("bucket", pa.int32()), ("pair", pa.string()), ("set", pa.binary())])


def drop_near(engine: Engine, scratch: Path, total: Tally, least: float) -> None:
    """Leaves one of each set of near duplicates: the first by (name, n).

    Two shuffles: of band keys, to find candidates, and of the candidates' sets, to compare them. Here are
    held the pairs that are as similar as that, and nothing of the texts.
    """
    folder, edits = scratch / "sorted", scratch / "edited"
    signed = engine.mapped(buckets_of(engine, folder), _signed, BANDS)
    paired = Spill(scratch / "paired")
    for bucket, line in engine.lines(engine.mapped(engine.by_bucket(signed), _candidates, LINES)):
        paired.add(bucket, line)
    paired.flush()
    listed = paired.folder.resolve()

    def sets(batches: Iterator[Batch]) -> Iterator[Batch]:
        return _sets(batches, listed)

    def compare(batches: Iterator[Batch]) -> Iterator[Batch]:
        return batches_of(_similar(batches, least))

    compared = engine.by_bucket(engine.mapped(buckets_of(engine, folder), sets, SETS))
    named: dict[str, tuple[str, int]] = {}
    pairs: list[tuple[str, str]] = []
    for _, line in engine.lines(engine.mapped(compared, compare, LINES)):
        both = {row.id: (row.name, row.n) for row in map(read_row, json.loads(line))}
        named |= both
        pairs.append(tuple(both))  # type: ignore[arg-type]
    dropped = {
        one
        for group in near.components(pairs)
        for one in sorted(group, key=named.__getitem__)[1:]
    }
    if not dropped:
        return

    def rewrite(batches: Iterator[Batch]) -> Iterator[Batch]:
        return batches_of(_without(batches, dropped, edits.resolve()))

    edits.mkdir()
    total.kept = {}
    for _, line in engine.lines(engine.mapped(buckets_of(engine, folder), rewrite, LINES)):
        total.add(Tally.from_json(line))
    shutil.rmtree(folder)
    edits.rename(folder)


def _signed(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The band keys of the documents of some buckets."""
    for rows in _documents(batches):
        keys = near.bands(near.signatures(*near.shingles([row.body for row in rows])))
        each = np.repeat(np.arange(len(rows)), near.BANDS)
        ids = pa.array([row.id for row in rows]).take(pa.array(each))
        buckets = (keys >> np.uint64(56)).astype(np.int32)
        columns = [buckets.ravel(), keys.astype(np.int64).ravel(), ids]
        yield pa.record_batch(columns, schema=BANDS)


def _documents(batches: Iterable[Batch]) -> Iterator[list[Row]]:
    """Documents of buckets, some megabytes at a time."""
    held: list[Row] = []
    size = 0
    for path in paths_in(batches):
        for row in map(read_row, iterate_lines(path)):
            if row.kind == "document":
                held.append(row)
                size += len(row.body)
                if size > BATCH:
                    yield held
                    held, size = [], 0
    if held:
        yield held


def _candidates(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Each pair of candidates twice: in the buckets of both documents."""
    table = pa.Table.from_batches(batches, BANDS)
    keys = table["key"].to_numpy().astype(np.uint64)
    pairs = near.candidates(keys, table["id"].to_pylist())
    return batches_of(
        (int(own[:2], 16), f"{own} {one} {other}") for one, other in pairs for own in (one, other)
    )


def _sets(batches: Iterable[Batch], paired: Path) -> Iterator[Batch]:
    """The sets of the documents that have candidates, once for each pair, with what tells who they are."""
    for path in paths_in(batches):
        wanted: dict[str, set[str]] = {}
        listed = paired / path.name
        for line in iterate_lines(listed) if listed.exists() else ():
            own, _, pair = line.partition(" ")
            wanted.setdefault(own, set()).add(pair)
        rows = [row for row in map(read_row, iterate_lines(path)) if row.id in wanted]
        rows = [row for row in rows if row.kind == "document"]
        hashes, starts = near.shingles([row.body for row in rows])
        columns: list[list[Any]] = [[], [], []]
        for number, row in enumerate(rows):
            found = np.unique(hashes[starts[number] : starts[number + 1]]).tobytes()
            for pair in sorted(wanted[row.id]):
                named = f"{pair} {row._replace(body='').line()}"
                for column, value in zip(columns, (int(pair[2:4], 16), named, found), strict=True):
                    column.append(value)
        yield pa.record_batch(columns, schema=SETS)


def _similar(batches: Iterable[Batch], least: float) -> Pairs:
    """The pairs whose sets are as similar as `least`, as the two rows without their texts."""
    waiting: dict[str, tuple[str, bytes]] = {}
    bucket = -1
    for batch in batches:
        for number, named, found in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if number != bucket:
                waiting, bucket = {}, number
            one, other, line = named.split(" ", 2)
            if (before := waiting.pop(f"{one} {other}", None)) is None:
                waiting[f"{one} {other}"] = (line, found)
                continue
            both = [np.frombuffer(content, np.uint64) for content in (before[1], found)]
            if near.jaccard(*both) >= least:
                rows = sorted((before[0], line))
                yield bucket, f"[{', '.join(map(json.dumps, rows))}]"


def _without(batches: Iterable[Batch], dropped: set[str], folder: Path) -> Pairs:
    """Writes buckets without the documents that are dropped."""
    tally = Tally()
    for path in paths_in(batches):
        partial = folder / f".{path.name}-{os.getpid()}"
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            for line in iterate_lines(path):
                row = read_row(line)
                if row.kind == "document" and row.id in dropped:
                    tally.drop("near duplicate", row.name, row.n, row.body)
                else:
                    tally.keep(row.kind, len(row.body.encode()))
                    file.write(line + "\n")
        os.replace(partial, folder / path.name)
    yield TALLY, tally.to_json()
