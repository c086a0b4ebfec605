"""The shuffle: a map task writes its rows by target partition, a reduce task reads its part of every file.

A task's output is a folder of Arrow files, one for each run of rows that memory could hold, with a batch for
each target. It lies in the folder of the executor that made it, and exists once it has been renamed to
its place.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuti.systems.spark.engine.memory import Claim, Pool
from tuti.systems.spark.query.arrow import Batch, Schema, ipc, one_batch, pa

Places = NDArray[np.int64]
LIGHTLY = ipc.IpcWriteOptions(compression="lz4")
"""What goes to disk is compressed a little: a shuffle costs bytes more than cycles"""


class Lost(Exception):
    """The output of a task (its stage, its number) is not there: its partition must be computed again."""


def write(
    folder: Path, batches: Iterable[Batch], places: Callable[[Batch], Places], count: int, schema: Schema,
    pool: Pool,
) -> tuple[int, int]:
    """Writes rows by the target of each, of `count`, in runs of as many as fit in memory; (rows, bytes).

    `places`: [rows] the target of each row of a batch.
    """
    partial, rows = folder.with_name(f".{folder.name}"), 0
    for left in (partial, folder):  # of an output that was lost in part
        shutil.rmtree(left, ignore_errors=True)
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
    partial.rename(folder)
    return rows, sum(run.stat().st_size for run in folder.iterdir())


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
            for path in sorted(Path(folder).iterdir()):
                with pa.OSFile(str(path), "rb") as file, ipc.open_file(file) as run:
                    if len(batch := run.get_batch(target)):
                        yield batch
        except (OSError, ValueError) as error:
            raise Lost(stage, task) from error
