"""The in-process engine: external sorts in 256 buckets, memory bounded by one bucket."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tuti.systems.spark.paragraphs import places, repeated, without
from tuti.systems.spark.rows import Row, read_row, rows_of, unique
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import Source

HELD = 32_000_000
"""Characters held back before the buckets on disk are appended to."""


class Spill:
    """Lines on their way to the bucket files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.held: dict[int, list[str]] = {}
        self.size = 0

    def add(self, bucket: int, line: str) -> None:
        """Takes one line; now and then writes what has gathered."""
        self.held.setdefault(bucket, []).append(line)
        self.size += len(line)
        if self.size > HELD:
            self.flush()

    def flush(self) -> None:
        """Appends what is held to the bucket files."""
        for bucket, lines in sorted(self.held.items()):
            path = self.folder / f"{bucket:03d}"
            with open(path, "a", encoding="utf-8", newline="\n") as file:
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
            spill.add(row.bucket(), row.line())
            rows += 1
            if rows % 4096 == 0:
                progress(tally, rows)
    progress(tally, rows)
    sort_buckets(spill, scratch / "sorted", tally)
    cut_repeated(scratch, tally)
    return tally


def sort_buckets(spill: Spill, folder: Path, tally: Tally) -> None:
    """Sorts and deduplicates what was spilled, bucket by bucket; only what is kept now counts as kept."""
    folder.mkdir(parents=True)
    spill.flush()
    tally.kept = {}
    for path in sorted(spill.folder.iterdir()):
        sort_bucket(iterate_lines(path), folder / path.name, tally)
        path.unlink()


def cut_repeated(scratch: Path, tally: Tally) -> None:
    """Cuts out paragraphs that stand in an earlier document; what is left is sorted again."""
    folder = scratch / "sorted"
    buckets = sorted(folder.iterdir())
    found, cuts = Spill(scratch / "places"), Spill(scratch / "cuts")
    for path in buckets:
        for line in iterate_lines(path):
            for bucket, place in places(read_row(line)):
                found.add(bucket, place)
    found.flush()
    for path in sorted(found.folder.iterdir()):
        for bucket, cut in repeated(iterate_lines(path)):
            cuts.add(bucket, cut)
        path.unlink()
    cuts.flush()
    if not any(cuts.folder.iterdir()):
        return
    spill = Spill(scratch / "edited")
    for path in buckets:
        for row in edited(path, cuts.folder, tally):
            spill.add(row.bucket(), row.line())
        path.unlink()
    folder.rmdir()
    sort_buckets(spill, folder, tally)


def edited(path: Path, cuts: Path, tally: Tally) -> Iterator[Row]:
    """The rows of a sorted bucket without their repeated paragraphs."""
    listed = cuts / path.name
    lines = iterate_lines(listed) if listed.exists() else iter(())
    return without(map(read_row, iterate_lines(path)), lines, tally)


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
