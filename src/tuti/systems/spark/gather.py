"""The preparation as a chain of steps over Arrow batches, the same for either engine.

    files ─ read, clean ─┐ shuffle by bucket ┌─ one of each content, sorted ─ buckets on disk
            narrow                             narrow

Where paragraphs stand in more than one document, a shuffle of their hashes finds all places but one,
and a last one takes the edited documents to their new buckets. Source, run and this package must be seen at
the same paths by all workers.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tuti.run import read_rows
from tuti.systems.spark import frames
from tuti.systems.spark.buckets import edited, iterate_lines, sort_bucket, whole
from tuti.systems.spark.clean import Cleaning
from tuti.systems.spark.drop_near import drop_near
from tuti.systems.spark.paragraphs import places, repeated
from tuti.systems.spark.query.arrow import Batch, pa
from tuti.systems.spark.rows import read_row, rows_of
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import Source
from tuti.text import words_of

HELD = 500_000
"""Distinct words that a worker holds before it hands their counts on"""


def gather(
    engine: frames.Engine, sources: Sequence[Source], scratch: Path, limit: int, how: Cleaning,
    least: float = 0.0, runs: Path | None = None,
) -> Tally:
    """Reads, cleans and deduplicates: leaves `scratch/sorted/<bucket>`, rows as lines, ids in order.

    `limit`: the longest text, in characters; `least`: the Jaccard similarity from which documents are near
    duplicates (0: they stay); `runs`: of evaluation sets (`overlap.py`).
    """
    def read(batches: Iterator[Batch]) -> Iterator[Batch]:
        return frames.batches_of(_read(batches, limit, how))

    total = Tally()
    _sort_buckets(engine, engine.read(sources, read), scratch / "sorted", total, runs)
    if least:
        drop_near(engine, scratch, total, least)
    _cut_repeated(engine, scratch, total)
    return total


def _sort_buckets(
    engine: frames.Engine, lines: frames.Frame, folder: Path, total: Tally, runs: Path | None = None
) -> None:
    """The shuffle, and one file for each bucket; only what is kept now counts as kept."""
    folder.mkdir(parents=True)
    total.kept = {}
    written = frames.lined(engine, engine.by_bucket(lines), _write, folder.resolve(), runs)
    for _, line in engine.lines(written):
        total.add(Tally.from_json(line))


def _cut_repeated(engine: frames.Engine, scratch: Path, total: Tally) -> None:
    """Cuts out paragraphs that stand in another document. The cuts are few beside the corpus."""
    folder, edits, cuts = scratch / "sorted", scratch / "edited", scratch.resolve() / "cuts"
    cuts.mkdir()
    found = engine.by_bucket(frames.lined(engine, frames.buckets_of(engine, folder), _find))
    repeats = engine.by_bucket(frames.lined(engine, found, _repeated))
    list(engine.lines(frames.lined(engine, repeats, _write_cuts, cuts)))
    if not any(cuts.iterdir()):
        return
    rows = frames.lined(engine, frames.buckets_of(engine, folder), _edit, cuts)
    _sort_buckets(engine, rows, edits, total)
    shutil.rmtree(folder)
    edits.rename(folder)


def count(engine: frames.Engine, scratch: Path, documents: Path, cut: str) -> Iterator[frames.Count]:
    """(word, n) of the train split, in the order of WordCounts: counted where its rows are, then summed.

    The sorted buckets are read, whose train split begins at the id `cut`; without one the Documents.
    """

    def words(batches: Iterator[Batch]) -> Iterator[Batch]:
        return _count(batches, cut)

    places = (scratch / "sorted", "[0-9]*") if cut else (documents, "train-*.jsonl")
    return engine.summed(engine.mapped(frames.buckets_of(engine, *places), words, frames.COUNTS))


def _read(batches: Iterable[Batch], limit: int, how: Cleaning) -> frames.Pairs:
    tally = Tally()
    for name, path, size, modified in frames.listed_in(batches):
        for row in rows_of(Source(name, os.fsencode(path), size, modified), limit, how, tally):
            yield row.bucket(), row.line()
    yield frames.TALLY, tally.to_json()


def _write(batches: Iterable[Batch], folder: Path, runs: Path | None) -> frames.Pairs:
    tally = Tally()
    for bucket, lines in _grouped(batches):
        if bucket == frames.TALLY:
            for line in lines:
                tally.add(Tally.from_json(line))
        else:
            sort_bucket(lines, folder / f"{bucket:03d}", tally, runs)
    yield frames.TALLY, tally.to_json()


def _find(batches: Iterable[Batch]) -> frames.Pairs:
    rows = (row for path in frames.paths_in(batches) for row in map(read_row, iterate_lines(path)))
    return (place for row in rows for place in places(row))


def _repeated(batches: Iterable[Batch]) -> frames.Pairs:
    return (cut for _, lines in _grouped(batches) for cut in repeated(lines))


def _write_cuts(batches: Iterable[Batch], folder: Path) -> frames.Pairs:
    for bucket, lines in _grouped(batches):
        with whole(folder / f"{bucket:03d}") as file:
            file.writelines(f"{line}\n".encode() for line in lines)
        yield bucket, "written"


def _edit(batches: Iterable[Batch], cuts: Path) -> frames.Pairs:
    tally = Tally()
    for path in frames.paths_in(batches):
        for row in edited(path, cuts, tally):
            yield row.bucket(), row.line()
    yield frames.TALLY, tally.to_json()


def _grouped(batches: Iterable[Batch]) -> Iterator[tuple[int, Iterator[str]]]:
    """Each bucket with its lines, which lie beside each other."""
    for bucket, group in groupby(frames.pairs_in(batches), key=lambda pair: pair[0]):
        yield bucket, (line for _, line in group)


def _count(batches: Iterable[Batch], cut: str) -> Iterator[Batch]:
    total: Counter[str] = Counter()
    for path in frames.paths_in(batches):
        for text in _train(path, cut) if cut else (row["text"] for row in read_rows(path)):
            total.update(words_of(text))
            if len(total) > HELD:
                yield from _counted(total)
                total.clear()
    yield from _counted(total)


def _train(bucket: Path, cut: str) -> Iterator[str]:
    rows = map(read_row, iterate_lines(bucket))
    return (row.body for row in rows if row.kind == "document" and row.id >= cut)


def _counted(total: Counter[str]) -> Iterator[Batch]:
    words, counts = list(total), list(total.values())
    for start in range(0, len(words), 20_000):
        part = slice(start, start + 20_000)
        yield pa.record_batch([words[part], counts[part]], schema=frames.COUNTS)
