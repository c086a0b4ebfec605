"""The shuffle: a map task writes its rows by target partition, a reduce task reads its part of every file.

A task's output is one file of Arrow streams, one for each target and run, and an index written last, by
renaming: an output without an index does not exist. It lies in the folder of the executor that made it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

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
    path: Path, batches: Iterable[Batch], places: Callable[[Batch], Places], count: int, schema: Schema,
    pool: Pool,
) -> tuple[int, int]:
    """Writes rows by the target of each, of `count`, in runs of as many as fit in memory; (rows, bytes).

    `places`: [rows] the target of each row of a batch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, rows = path.with_name(f".{path.name}-{os.getpid()}"), 0
    held: list[tuple[Batch, Places]] = []
    runs: list[list[int]] = []
    with open(partial, "wb") as file, Claim(pool) as claim:
        for batch in batches:
            size = 2 * batch.nbytes  # as much again when they are put in order
            if not claim.grow(size) and held:
                runs.append(_write_run(file, held, count, schema))
                held.clear()
                claim.clear()
                claim.grow(size)
            held.append((batch, places(batch)))
            rows += batch.num_rows
        if held:
            runs.append(_write_run(file, held, count, schema))
        written = file.tell()
    os.replace(partial, path)
    partial.write_text(json.dumps(runs))
    os.replace(partial, path.with_suffix(".json"))
    return rows, written


def _write_run(file: BinaryIO, held: list[tuple[Batch, Places]], count: int, schema: Schema) -> list[int]:
    """Writes the rows held, in the order of their targets; returns where those of each begin, and the end."""
    places = np.concatenate([places for _, places in held])
    order = np.argsort(places, kind="stable")
    rows = one_batch([batch for batch, _ in held], schema).take(pa.array(order))
    ends = np.searchsorted(places[order], np.arange(count + 1))
    offsets = [file.tell()]
    for start, end in pairwise(ends):
        if end > start:
            with ipc.new_stream(file, schema, options=LIGHTLY) as stream:
                stream.write_batch(rows.slice(start, end - start))
        offsets.append(file.tell())
    return offsets


def read(folders: Sequence[Path], stage: int, target: int) -> Iterator[Batch]:
    """The batches for one target, by map task, as they were written; Lost where an output is missing."""
    for task, folder in enumerate(folders):
        try:
            runs = json.loads((folder / f"{task}.json").read_text())
            with pa.OSFile(str(folder / f"{task}.arrows"), "rb") as file:
                for offsets in runs:
                    if offsets[target] < offsets[target + 1]:
                        file.seek(offsets[target])
                        with ipc.open_stream(file) as stream:
                            yield from stream
        except (OSError, ValueError) as error:
            raise Lost(stage, task) from error
