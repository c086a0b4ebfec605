"""The preparation as a chain of steps over Arrow batches, the same for either engine.

Paragraphs that stand in more than one document are kept in that of the smallest id, and cut out elsewhere: a
shuffle of their hashes finds all places but one, and a last one takes the edited documents to their new
buckets. Licence headers, page furniture, texts quoted whole: a model learns them by heart, and held-out text
that repeats them measures memory. Deduplication by paragraph goes back to CCNet (Wenzek et al. 2020, section
3.1); here only paragraphs of `LEAST` characters count, so that refrains, verses and short code lines stay.

Source, run and this package must be seen at the same paths by all workers.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from tuti.run import hash_text, read_rows
from tuti.systems.spark import frames
from tuti.systems.spark.clean import Cleaning
from tuti.systems.spark.near import apart, drop_near
from tuti.systems.spark.query.arrow import Batch, pa
from tuti.systems.spark.rows import Row, document_row, rows_in, rows_of, unique
from tuti.systems.spark.tally import Tally, read_tally
from tuti.systems.spark.walk import Source
from tuti.text import words_of

LEAST = 100
"""Characters of a paragraph that may be cut out"""
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
    total, lines = Tally(), engine.lined(engine.listed(sources), _read, limit, how)
    engine.rewrite(engine.by_bucket(lines), _write, scratch, total, runs)
    if least:
        drop_near(engine, scratch, total, least)
    folder, cuts = scratch / "sorted", scratch.resolve() / "cuts"
    cuts.mkdir()
    found = engine.by_bucket(engine.lined(engine.buckets(folder), _find))
    repeats = engine.by_bucket(engine.lined(found, _repeated))  # few beside the corpus
    for bucket, lines in groupby(engine.pairs(repeats), lambda pair: pair[0]):
        with open(cuts / f"{bucket:03d}", "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for _, line in lines)
    if any(cuts.iterdir()):
        rows = engine.lined(engine.buckets(folder), _edit, cuts)
        engine.rewrite(engine.by_bucket(rows), _write, scratch, total)
    return total


def count(engine: frames.Engine, scratch: Path, documents: Path, cut: str) -> Iterator[tuple[str, int]]:
    """(word, n) of the train split, in the order of WordCounts: counted where its rows are, then summed.

    The sorted buckets are read, whose train split begins at the id `cut`; without one the Documents.
    """

    def words(batches: Iterator[Batch]) -> Iterator[Batch]:
        return _count(batches, cut)

    places = (scratch / "sorted", "[0-9]*") if cut else (documents, "train-*.jsonl")
    counts = engine.mapped(engine.buckets(*places), words, frames.COUNTS)
    return engine.pairs(engine.summed(counts))


def _read(batches: Iterable[Batch], limit: int, how: Cleaning) -> frames.Pairs:
    tally = Tally()
    for source in frames.files_in(batches):
        for row in rows_of(source, limit, how, tally):
            yield row.bucket(), row.line()
    yield frames.TALLY, tally.line()


def _write(batches: Iterable[Batch], folder: Path, runs: Path | None = None) -> frames.Pairs:
    """Writes buckets, sorted and deduplicated, and apart from evaluation sets (`runs`: theirs, a file)."""
    tally = Tally()
    for bucket, lines in _grouped(batches):
        if bucket == frames.TALLY:
            for line in lines:
                tally.add(read_tally(line))
        else:
            rows = unique(lines, tally)
            with frames.whole(folder / f"{bucket:03d}") as file:
                for row in apart(rows, np.load(runs), tally) if runs else rows:
                    tally.keep(row.kind, len(row.body.encode()))
                    file.write((row.line() + "\n").encode())
    yield frames.TALLY, tally.line()


def _find(batches: Iterable[Batch]) -> frames.Pairs:
    return (place for path in frames.paths_in(batches) for row in rows_in(path) for place in places(row))


def _repeated(batches: Iterable[Batch]) -> frames.Pairs:
    return (cut for _, lines in _grouped(batches) for cut in repeated(lines))


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


def paragraphs(text: str) -> Iterator[str]:
    """Text between blank lines; a line of `LEAST` characters is a paragraph of its own.

    Each comes with the blank lines that follow it: joined they are the text.
    """
    held, closed = "", False
    for line in text.splitlines(keepends=True):
        size = len(line.strip())
        if held and size and (closed or size >= LEAST):
            yield held
            held = ""
        held += line
        closed = not size or size >= LEAST
    if held:
        yield held


def key_of(paragraph: str) -> str:
    """What equal paragraphs share, whatever their white space; nothing for one that is too short."""
    words = " ".join(paragraph.split())
    return hash_text(words)[:24] if len(words) >= LEAST else ""


def places(row: Row) -> Iterator[tuple[int, str]]:
    """(bucket, line) of each paragraph of a document: its key, and the document's id."""
    if row.kind == "document":
        for key in sorted({key for text in paragraphs(row.body) if (key := key_of(text))}):
            yield int(key[:2], 16), f"{key} {row.id}"


def repeated(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(bucket of the document, line) of each paragraph that stands in another document, of a smaller id.

    Memory: the places of one bucket of keys, 1/256 of all.
    """
    for first, later in pairwise(sorted(lines)):
        key, document = later.split()
        if first.startswith(key):
            yield int(document[:2], 16), later


def without(rows: Iterable[Row], lines: Iterable[str], tally: Tally) -> Iterator[Row]:
    """The rows of a bucket without their repeated paragraphs; one that nothing is left of is dropped."""
    cut: dict[str, set[str]] = {}
    for key, document in map(str.split, lines):
        cut.setdefault(document, set()).add(key)
    for row in rows:
        if row.kind != "document" or row.id not in cut:
            yield row
            continue
        left: list[str] = []
        for text in paragraphs(row.body):
            if key_of(text) in cut[row.id]:
                tally.drop("repeated paragraph", row.name, row.n, text)
            else:
                left.append(text)
        if rest := document_row(row.name, row.n, "".join(left), row.language):
            yield rest
        elif left:
            tally.drop("empty", row.name, row.n, "".join(left))
