"""The in-process engine: an external sort in 256 buckets, memory bounded by one bucket."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tuti.systems.spark.rows import Row, rows_of, unique
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import Source

HELD = 32_000_000
"""Characters held back before the buckets on disk are appended to."""


class Spill:
    """Rows on their way to the bucket files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.held: dict[int, list[str]] = {}
        self.size = 0

    def add(self, row: Row) -> None:
        """Takes one row; now and then writes what has gathered."""
        line = row.line()
        self.held.setdefault(row.bucket(), []).append(line)
        self.size += len(line)
        if self.size > HELD:
            self.flush()

    def flush(self) -> None:
        """Appends what is held to the bucket files."""
        for bucket, lines in sorted(self.held.items()):
            with open(self.folder / f"{bucket:03d}", "a", encoding="utf-8", newline="\n") as file:
                file.writelines(line + "\n" for line in lines)
        self.held, self.size = {}, 0


def gather(
    sources: Sequence[Source],
    scratch: Path,
    limit: int,
    broken: float,
    progress: Callable[[Tally, int], None],
) -> Tally:
    """Reads, cleans and deduplicates: leaves `scratch/sorted/<bucket>`, rows as lines, ids in order."""
    tally = Tally()
    spill = Spill(scratch / "spilled")
    rows = 0
    for source in sources:
        for row in rows_of(source, limit, broken, tally):
            spill.add(row)
            rows += 1
            if rows % 4096 == 0:
                progress(tally, rows)
    spill.flush()
    progress(tally, rows)
    for path in sorted(spill.folder.iterdir()):
        sort_bucket(iterate_lines(path), scratch / "sorted" / path.name, tally)
        path.unlink()
    return tally


def sort_bucket(lines: Iterator[str], path: Path, tally: Tally) -> None:
    """Writes one bucket, sorted and deduplicated, whole or not at all (a worker may be tried twice)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    with open(partial, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(row.line() + "\n" for row in unique(lines, tally))
    os.replace(partial, path)


def iterate_lines(path: Path) -> Iterator[str]:
    """The lines of a file, without their newline; only a newline ends a line."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")
