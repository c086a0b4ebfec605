"""The preparation as a chain of steps over Arrow batches, the same for either engine.

    files ─ read, clean ─┐ shuffle by bucket ┌─ one of each content, sorted ─ buckets on disk
            narrow                             narrow

Where paragraphs stand in more than one document, a shuffle of their hashes finds all places but one,
and a last one takes the edited documents to their new buckets. Source, run and this package must be seen at
the same paths by all workers.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from tuti.run import read_rows
from tuti.systems.spark import frames
from tuti.systems.spark.clean import Cleaning
from tuti.systems.spark.near import apart, drop_near
from tuti.systems.spark.paragraphs import places, repeated, without
from tuti.systems.spark.query.arrow import Batch, pa
from tuti.systems.spark.rows import rows_in, rows_of, unique
from tuti.systems.spark.tally import Tally, read_tally
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
    duplicates (0: they stay); `runs`: of evaluation sets (`near.py`).
    """
    total, lines = Tally(), engine.read(sources, _read, limit, how)
    engine.rewrite(engine.by_bucket(lines), _write, scratch, total, runs)
    if least:
        drop_near(engine, scratch, total, least)
    _cut_repeated(engine, scratch, total)
    return total


def _cut_repeated(engine: frames.Engine, scratch: Path, total: Tally) -> None:
    """Cuts out paragraphs that stand in another document. The cuts are few beside the corpus."""
    folder, cuts = scratch / "sorted", scratch.resolve() / "cuts"
    cuts.mkdir()
    found = engine.by_bucket(engine.lined(engine.buckets(folder), _find))
    repeats = engine.by_bucket(engine.lined(found, _repeated))
    list(engine.lines(engine.lined(repeats, _write_cuts, cuts)))
    if any(cuts.iterdir()):
        rows = engine.lined(engine.buckets(folder), _edit, cuts)
        engine.rewrite(engine.by_bucket(rows), _write, scratch, total)


def count(engine: frames.Engine, scratch: Path, documents: Path, cut: str) -> Iterator[frames.Count]:
    """(word, n) of the train split, in the order of WordCounts: counted where its rows are, then summed.

    The sorted buckets are read, whose train split begins at the id `cut`; without one the Documents.
    """

    def words(batches: Iterator[Batch]) -> Iterator[Batch]:
        return _count(batches, cut)

    places = (scratch / "sorted", "[0-9]*") if cut else (documents, "train-*.jsonl")
    return engine.summed(engine.mapped(engine.buckets(*places), words, frames.COUNTS))


def _read(batches: Iterable[Batch], limit: int, how: Cleaning) -> frames.Pairs:
    tally = Tally()
    for source in frames.files_in(batches):
        for row in rows_of(source, limit, how, tally):
            yield row.bucket(), row.line()
    yield frames.TALLY, tally.line()


def _write(batches: Iterable[Batch], folder: Path, runs: Path | None = None) -> frames.Pairs:
    tally = Tally()
    for bucket, lines in _grouped(batches):
        if bucket == frames.TALLY:
            for line in lines:
                tally.add(read_tally(line))
        else:
            sort_bucket(lines, folder / f"{bucket:03d}", tally, runs)
    yield frames.TALLY, tally.line()


def sort_bucket(lines: Iterator[str], path: Path, tally: Tally, runs: Path | None) -> None:
    """Writes one bucket, sorted and deduplicated, and apart from evaluation sets (`runs`: theirs, a file)."""
    rows = unique(lines, tally)
    with frames.whole(path) as file:
        for row in apart(rows, np.load(runs), tally) if runs else rows:
            tally.keep(row.kind, len(row.body.encode()))
            file.write((row.line() + "\n").encode())


def _find(batches: Iterable[Batch]) -> frames.Pairs:
    return (place for path in frames.paths_in(batches) for row in rows_in(path) for place in places(row))


def _repeated(batches: Iterable[Batch]) -> frames.Pairs:
    return (cut for _, lines in _grouped(batches) for cut in repeated(lines))


def _write_cuts(batches: Iterable[Batch], folder: Path) -> frames.Pairs:
    for bucket, lines in _grouped(batches):
        with frames.whole(folder / f"{bucket:03d}") as file:
            file.writelines(f"{line}\n".encode() for line in lines)
        yield bucket, "written"


def _edit(batches: Iterable[Batch], cuts: Path) -> frames.Pairs:
    tally = Tally()
    for path in frames.paths_in(batches):
        cut = cuts / path.name
        for row in without(rows_in(path), cut.read_text().splitlines() if cut.exists() else (), tally):
            yield row.bucket(), row.line()
    yield frames.TALLY, tally.line()


def _grouped(batches: Iterable[Batch]) -> Iterator[tuple[int, Iterator[str]]]:
    """Each bucket with its lines, which lie beside each other."""
    for bucket, group in groupby(frames.pairs_in(batches), key=lambda pair: pair[0]):
        yield bucket, (line for _, line in group)


def _count(batches: Iterable[Batch], cut: str) -> Iterator[Batch]:
    total: Counter[str] = Counter()
    for path in frames.paths_in(batches):
        texts = (row.body for row in rows_in(path) if row.kind == "document" and row.id >= cut)
        for text in texts if cut else (row["text"] for row in read_rows(path)):
            total.update(words_of(text))
            if len(total) > HELD:
                yield from _counted(total)
                total.clear()
    yield from _counted(total)


def _counted(total: Counter[str]) -> Iterator[Batch]:
    yield from pa.table([[*total], [*total.values()]], schema=frames.COUNTS).to_batches(20_000)
