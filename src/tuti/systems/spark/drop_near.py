"""Near duplicates dropped from sorted buckets (`near.py` says by what).

    buckets ─ band keys ─┐ by key ┌─ candidates ─┐ by bucket ┌─ paired/   who is to be compared with whom
    buckets ─ sets/                                              the shingles of those, once, on disk
    paired/ ─ Jaccard ─ components, joined here ─ all but the first of each

What travels are numbers of documents: the bucket, and the line there. Held at once are some megabytes of
text, the band keys of a partition, or the pairs of a bucket; here, two numbers for each document that is like
another.
"""

import shutil
from array import array
from collections.abc import Iterable, Iterator
from io import FileIO
from itertools import groupby
from pathlib import Path

import numpy as np

from tuti.systems.spark import near
from tuti.systems.spark.buckets import iterate_lines, whole
from tuti.systems.spark.frames import TALLY, Engine, Pairs, buckets_of, lined, paths_in, portions
from tuti.systems.spark.near import Hashes, Places
from tuti.systems.spark.query.arrow import Batch, pa
from tuti.systems.spark.rows import read_row
from tuti.systems.spark.tally import Tally

BANDS = pa.schema([("bucket", pa.int32()), ("key", pa.int64()), ("document", pa.int64())])
PAIRS = pa.schema([("bucket", pa.int32()), ("own", pa.int64()), ("other", pa.int64())])
LINE = 40
"""Bits of a document's number that are its line; those above are its bucket"""


def drop_near(engine: Engine, scratch: Path, total: Tally, least: float) -> None:
    """Leaves one of each set of near duplicates: that with the smallest id, whatever files are called."""
    place = scratch.resolve()
    folder, edits, paired, sets = (place / name for name in ("sorted", "edited", "paired", "sets"))
    paired.mkdir()
    sets.mkdir()

    signed = engine.mapped(buckets_of(engine, folder), _signed, BANDS)
    found = engine.by_bucket(engine.mapped(engine.by_bucket(signed), _candidates, PAIRS))
    list(engine.lines(lined(engine, found, _write_pairs, paired)))
    if not any(paired.iterdir()):
        return
    list(engine.lines(lined(engine, buckets_of(engine, folder), _write_sets, paired, sets)))
    edges = array("q")
    for _, line in engine.lines(lined(engine, buckets_of(engine, paired), _similar, sets, least)):
        edges.extend(map(int, line.split()))
    shutil.rmtree(sets)
    if not edges:
        return
    documents, first = near.components(np.frombuffer(edges, np.int64).reshape(-1, 2))
    np.save(dropped := place / "dropped.npy", documents[documents != first])
    edits.mkdir()
    total.kept = {}
    for _, line in engine.lines(lined(engine, buckets_of(engine, folder), _without, dropped, edits)):
        total.add(Tally.from_json(line))
    shutil.rmtree(folder)
    edits.rename(folder)


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a bucket with their numbers."""
    return enumerate(iterate_lines(path), start=int(path.name) << LINE)


def _documents(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], list[str]]]:
    """Numbers and texts of documents, some megabytes at a time."""
    rows = ((number, read_row(line)) for number, line in lines)
    return portions((number, row.body) for number, row in rows if row.kind == "document")


def _signed(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The band keys of the documents of some buckets."""
    for numbers, texts in _documents(numbered for path in paths_in(batches) for numbered in _numbered(path)):
        keys = near.bands(near.signatures(*near.shingles(texts)))
        buckets = (keys >> np.uint64(56)).astype(np.int32)
        columns = [buckets.ravel(), keys.astype(np.int64).ravel(), np.repeat(numbers, near.BANDS)]
        yield pa.record_batch(columns, schema=BANDS)


def _candidates(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Each pair of candidates twice: in the buckets of both documents."""
    table = pa.Table.from_batches(batches, BANDS)
    for pairs in near.candidates(table["key"].to_numpy(), table["document"].to_numpy()):
        own, other = np.concatenate([pairs, pairs[:, ::-1]]).T
        yield pa.record_batch([(own >> LINE).astype(np.int32), own, other], schema=PAIRS)


def _write_pairs(batches: Iterable[Batch], folder: Path) -> Pairs:
    """Writes the pairs of each bucket, sorted, each once: an array [pairs, 2] of numbers."""
    for bucket, parts in groupby(_by_bucket(batches), key=lambda part: part[0]):
        pairs = np.concatenate([part for _, part in parts])
        pairs = pairs[np.lexsort(pairs.T[::-1])]
        fresh = np.append(True, (pairs[1:] != pairs[:-1]).any(1))
        with whole(folder / f"{bucket:03d}") as file:
            np.save(file, pairs[fresh])
        yield bucket, "written"


def _by_bucket(batches: Iterable[Batch]) -> Iterator[tuple[int, Places]]:
    """Batches of PAIRS, cut where another bucket begins."""
    for batch in batches:
        buckets, own, other = (column.to_numpy() for column in batch.columns)
        for part in np.split(np.stack([own, other], 1), np.flatnonzero(np.diff(buckets)) + 1):
            if len(part):
                yield int(part[0, 0]) >> LINE, part


def _write_sets(batches: Iterable[Batch], paired: Path, folder: Path) -> Pairs:
    """Writes the sets of the documents of each bucket that have candidates, for `_Sets`."""
    for path in paths_in(batches):
        if not (paired / path.name).exists():
            continue
        numbers, sizes = np.unique(np.load(paired / path.name)[:, 0]), list[int]()
        wanted = set(numbers.tolist())
        with whole(folder / path.name) as file:
            for _, texts in _documents(one for one in _numbered(path) if one[0] in wanted):
                hashes, starts = near.shingles(texts)
                for begin, end in zip(starts, starts[1:], strict=False):
                    found = np.unique(hashes[begin:end])
                    sizes.append(len(found))
                    found.tofile(file)
        ends = np.cumsum(np.array(sizes, np.int64))
        with whole(folder / f"{path.name}.places") as file:
            np.stack([numbers, ends - sizes, ends]).tofile(file)
        yield int(path.name), "written"


class _Sets(FileIO):
    """The file of a bucket's sets, of which one is read when it is asked for."""

    def __init__(self, folder: Path, bucket: int) -> None:
        super().__init__(folder / f"{bucket:03d}")
        places = np.fromfile(folder / f"{bucket:03d}.places", np.int64)
        self.numbers, self.begins, self.ends = places.reshape(3, -1)

    def __getitem__(self, number: int) -> Hashes:
        place = np.searchsorted(self.numbers, number)
        begin, end = int(self.begins[place]), int(self.ends[place])
        self.seek(begin * 8)
        return np.frombuffer(self.read((end - begin) * 8), np.uint64)


def _similar(batches: Iterable[Batch], sets: Path, least: float) -> Pairs:
    """Of each bucket's pairs those as similar as `least`, as components: the first number and another."""
    for path in paths_in(batches):
        pairs = np.load(path)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        pairs, alike = pairs[np.argsort(pairs[:, 1])].tolist(), array("q")
        with _Sets(sets, int(path.name)) as own:
            for bucket, part in groupby(pairs, key=lambda pair: pair[1] >> LINE):
                with _Sets(sets, bucket) as theirs:
                    for one, other in part:
                        if near.jaccard(own[one], theirs[other]) >= least:
                            alike.extend((one, other))
        found = near.components(np.frombuffer(alike, np.int64).reshape(-1, 2))
        for number, first in zip(*(part.tolist() for part in found), strict=True):
            if number != first:
                yield int(path.name), f"{first} {number}"


def _without(batches: Iterable[Batch], dropped: Path, folder: Path) -> Pairs:
    """Writes buckets without the documents that are dropped."""
    tally, numbers = Tally(), np.load(dropped, mmap_mode="r")
    for path in paths_in(batches):
        begin, end = np.searchsorted(numbers, [int(path.name) << LINE, (int(path.name) + 1) << LINE])
        gone = set(numbers[begin:end].tolist())
        with whole(folder / path.name) as file:
            for number, line in _numbered(path):
                row = read_row(line)
                if number in gone:
                    tally.drop("near duplicate", row.name, row.n, row.body)
                else:
                    tally.keep(row.kind, len(row.body.encode()))
                    file.write((line + "\n").encode())
    yield TALLY, tally.to_json()
