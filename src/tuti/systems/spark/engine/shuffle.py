"""The shuffle: a map task writes its rows by target partition, a reduce task reads its part of every file.

A task's output is a folder of Arrow files, one for each run of rows that memory could hold, with a batch for
each target. It lies in the folder of the executor that made it, and exists once it has been renamed to
its place. Where a row belongs is told by a hash of its keys that is the same in every process, on every
machine, for ever: by Python's own `hash` of a string two executors would send one key to two places.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuti.systems.spark.engine.memory import Claim, Pool
from tuti.systems.spark.query.arrow import Array, Batch, Schema, ipc, one_batch, pa, pc

Places = NDArray[np.int64]
LIGHTLY = ipc.IpcWriteOptions(compression="lz4")
"""What goes to disk is compressed a little: a shuffle costs bytes more than cycles"""
Hashes = NDArray[np.uint64]
BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64
NULL = np.uint64(0xA0761D6478BD642F)


class Lost(Exception):
    """The output of a task (its stage, its number) is not there: its partition must be computed again."""


def write(
    folder: Path, batches: Iterable[Batch], places: Callable[[Batch], Places], count: int, schema: Schema,
    pool: Pool,
) -> tuple[int, int, str]:
    """Writes rows by the target of each, of `count`, in runs that fit in memory; (rows, bytes, where).

    `places`: [rows] the target of each row of a batch. The folder's name ends in the number of its runs, so
    that a reader misses none of a folder that is being removed.
    """
    partial, rows = folder.with_name(f".{folder.name}"), 0
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    held: list[tuple[Batch, Places]] = []
    with Claim(pool) as claim:
        for batch in batches:
            size = 2 * batch.nbytes  # as much again when they are put in order
            if not claim.grow(size) and held:
                _write_run(partial, held, count, schema)
                held.clear()
                claim.clear()
                claim.grow(size)
            held.append((batch, places(batch)))
            rows += batch.num_rows
        if held:
            _write_run(partial, held, count, schema)
    sizes = [run.stat().st_size for run in partial.iterdir()]
    whole = folder.with_name(f"{folder.name}-{len(sizes)}")
    shutil.rmtree(whole, ignore_errors=True)  # of an output that was lost in part
    partial.rename(whole)
    return rows, sum(sizes), str(whole)


def _write_run(folder: Path, held: list[tuple[Batch, Places]], count: int, schema: Schema) -> None:
    """Writes the rows held, in the order of their targets."""
    places = np.concatenate([places for _, places in held])
    order = np.argsort(places, kind="stable")
    rows = one_batch([batch for batch, _ in held], schema).take(pa.array(order))
    ends = np.searchsorted(places[order], np.arange(count + 1))
    path = folder / f"{len(os.listdir(folder)):06d}"
    with ipc.new_file(str(path), schema, options=LIGHTLY) as run:
        for start, end in pairwise(ends):
            run.write_batch(rows.slice(start, end - start))


def read(folders: Sequence[str], stage: int, target: int) -> Iterator[Batch]:
    """The batches for one target, by map task, as they were written; Lost where an output is missing."""
    for task, folder in enumerate(folders):
        try:
            for number in range(int(folder.rpartition("-")[2])):
                with pa.OSFile(f"{folder}/{number:06d}", "rb") as file, ipc.open_file(file) as run:
                    if len(batch := run.get_batch(target)):
                        yield batch
        except (OSError, ValueError) as error:
            raise Lost(stage, task) from error


def hash_rows(batch: Batch, keys: Sequence[str]) -> Hashes:
    """[rows] the hash of each row's keys; the order in which keys are named is no matter."""
    total = np.zeros(batch.num_rows, np.uint64)
    for key in sorted(keys):
        total = mixed(total * np.uint64(BASE) + hash_column(batch.column(key)))
    return total


def hash_column(column: Array) -> Hashes:
    """[rows] equal for equal values: whole numbers of all widths alike, -0.0 as 0.0, every nan as one."""
    kind, types = column.type, pa.types
    if types.is_floating(kind):
        values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False) + 0.0
        found = np.where(np.isnan(values), np.nan, values).view(np.uint64)
    elif types.is_boolean(kind) or types.is_integer(kind) or types.is_date(kind) or types.is_timestamp(kind):
        width = pa.int32() if types.is_date32(kind) else kind if kind == pa.uint64() else pa.int64()
        whole = pc.fill_null(column.cast(width), pa.scalar(0, width))
        found = whole.to_numpy(zero_copy_only=False).astype(np.uint64)
    else:
        texts = types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind)
        assert texts or types.is_decimal(kind), f"a column of type {kind} cannot be a key"
        written = (column if texts else column.cast(pa.string())).cast(pa.large_binary())
        known = pc.fill_null(written, b"").dictionary_encode()  # each distinct value is hashed once
        digests = [blake2b(value, digest_size=8).digest() for value in known.dictionary.to_pylist()]
        found = np.frombuffer(b"".join(digests), "<u8")[known.indices.to_numpy()]
    return np.where(column.is_valid().to_numpy(zero_copy_only=False), mixed(found), NULL)


def mixed(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
