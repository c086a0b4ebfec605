"""The shuffle: a map task writes its rows by target partition, a reduce task reads its part of every file.

A task's output is one file of Arrow streams, one for each target and run, and an index written last, by
renaming: an output without an index does not exist. It lies in the folder of the executor that made it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuti.systems.spark.engine.memory import Claim, Pool
from tuti.systems.spark.query.arrow import Batch, Schema, ipc, one_batch, pa, size_of

Places = NDArray[np.int64]
LIGHTLY = ipc.IpcWriteOptions(compression="lz4")
"""What goes to disk is compressed a little: a shuffle costs bytes more than cycles"""


class Lost(Exception):
    """An output that should be there is not: its partition must be computed again."""

    def __init__(self, stage: int, task: int) -> None:
        super().__init__(f"output {task} of stage {stage} is lost")
        self.stage, self.task = stage, task


class Writer:
    """Rows on their way to `count` targets, gathered in memory and written in runs."""

    def __init__(self, folder: Path, task: int, count: int, schema: Schema, pool: Pool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.count, self.schema = folder / f"{task}.arrows", count, schema
        self.partial = folder / f".{task}-{os.getpid()}"
        self.file = open(self.partial, "wb")
        self.claim = Claim(pool)
        self.held: list[tuple[Batch, Places]] = []
        self.runs: list[list[int]] = []

    def add(self, batch: Batch, places: Places) -> None:
        """Takes rows and the target of each."""
        size = 2 * size_of(batch)  # as much again when they are put in order
        if not self.claim.grow(size):
            self.flush()
            self.claim.grow(size)
        self.held.append((batch, places))

    def flush(self) -> None:
        """Writes a run: the rows held, in the order of their targets."""
        if not self.held:
            return
        places = np.concatenate([places for _, places in self.held])
        order = np.argsort(places, kind="stable")
        rows = one_batch([batch for batch, _ in self.held], self.schema).take(pa.array(order))
        ends = np.searchsorted(places[order], np.arange(self.count + 1))
        offsets = [self.file.tell()]
        for start, end in zip(ends, ends[1:], strict=False):
            if end > start:
                with ipc.new_stream(self.file, self.schema, options=LIGHTLY) as stream:
                    stream.write_batch(rows.slice(start, end - start))
            offsets.append(self.file.tell())
        self.runs.append(offsets)
        self.held = []
        self.claim.clear()

    def close(self) -> int:
        """Writes what is left and makes the output be; returns its bytes."""
        self.flush()
        size = self.file.tell()
        self.file.close()
        os.replace(self.partial, self.path)
        self.partial.write_text(json.dumps(self.runs))
        os.replace(self.partial, self.path.with_suffix(".json"))
        return size


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


def parted(folder: Path, rows: Iterable[Batch], parts: Callable[[Batch], Places]) -> dict[int, Path]:
    """A file for each part of rows that do not fit in memory at once."""
    folder.mkdir(parents=True)
    streams: dict[int, Any] = {}
    for batch in rows:
        of = parts(batch)
        for part in map(int, np.unique(of)):
            if part not in streams:
                streams[part] = ipc.new_stream(str(folder / str(part)), batch.schema, options=LIGHTLY)
            streams[part].write_batch(batch.take(pa.array(np.flatnonzero(of == part))))
    for stream in streams.values():
        stream.close()
    return {part: folder / str(part) for part in sorted(streams)}


def read_once(path: Path) -> Iterator[Batch]:
    """The rows of a file, which is gone when they have been read."""
    with pa.OSFile(str(path), "rb") as file, ipc.open_stream(file) as stream:
        yield from stream
    path.unlink()
