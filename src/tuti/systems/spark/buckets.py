"""Sorted buckets on disk: where a corpus lies between the steps of its preparation.

A bucket holds the rows whose ids begin with the same byte, one JSON line each. Whatever engine fills them,
with any number of tasks, the files are the same.
"""

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tuti.systems.spark.overlap import apart
from tuti.systems.spark.paragraphs import without
from tuti.systems.spark.rows import Row, read_row, unique
from tuti.systems.spark.tally import Tally


def edited(path: Path, cuts: Path, tally: Tally) -> Iterator[Row]:
    """The rows of a sorted bucket without their repeated paragraphs."""
    listed = cuts / path.name
    lines = iterate_lines(listed) if listed.exists() else iter(())
    return without(map(read_row, iterate_lines(path)), lines, tally)


def sort_bucket(lines: Iterator[str], path: Path, tally: Tally, runs: Path | None = None) -> None:
    """Writes one bucket, sorted and deduplicated.

    `runs`: of evaluation sets (`overlap.runs_of`), as a file, from which the rows must be apart.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        kept: Iterable[Row] = unique(lines, tally)
        for row in apart(kept, np.load(runs), tally) if runs else kept:
            tally.keep(row.kind, len(row.body.encode()))
            file.write((row.line() + "\n").encode())


@contextmanager
def whole(path: Path) -> Generator[BinaryIO]:
    """A file that is there whole or not at all (a worker may be tried twice, or two at once)."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    with open(partial, "wb") as file:
        yield file
    os.replace(partial, path)


def iterate_lines(path: Path) -> Iterator[str]:
    """The lines of a file, without their newline; only a newline ends a line."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")
