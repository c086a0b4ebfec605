"""Documents that share runs of words: near duplicates, of which one stays, and what is in evaluation sets.

Near duplicates share most of their runs of five words.

    words ─ shingles ─ 112 minima ─ 14 bands of 8 ─ equal bands are candidates ─ Jaccard, exactly ─ components

    buckets ─ band keys ─┐ by key ┌─ candidates ─┐ by bucket ┌─ paired/   who is to be compared with whom
                                                                  sets/     their shingles, once, on disk
    paired/ ─ Jaccard ─ components, joined here ─ all but the first of each

A document's shingles are its runs of five words. The least of their hashes under a random permutation is the
same for two documents with probability J, their Jaccard similarity (Broder 1997); a band of r minima agrees
with J^r, one of b bands at least with 1 - (1 - J^r)^b (Leskovec, Rajaraman & Ullman, Mining of Massive
Datasets, section 3.4). What agrees by chance is no duplicate yet: candidates are compared by their sets.

What travels are numbers of documents: the bucket, and the line there. Held at once are some megabytes of
text, the band keys of a partition, or the pairs of a bucket; in the driver, two numbers for each document
that is like another.

Texts that share a long run of words with an evaluation set go too: who learnt them was shown the answers. As
GPT-3's appendix C has it (Brown et al. 2020): runs of 13 words, in lower case, without punctuation. An
evaluation text that is shorter is one run, so that it is found only as a whole text.
"""

import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import FileIO
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuti.run import UserError
from tuti.systems.spark import frames
from tuti.systems.spark.clean import Cleaning, clean
from tuti.systems.spark.engine.shuffle import BASE, hash_column, mixed
from tuti.systems.spark.query.arrow import Batch, pa, pc
from tuti.systems.spark.readers import Dialogue, Passage, read
from tuti.systems.spark.rows import Row, read_row
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import walk

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
WORDS = 5
"""Words of a shingle"""
RUN = 13
"""Words of a run that is shared with an evaluation set"""
BANDS, ROWS = 14, 8
"""As FineWeb's: half of the pairs with J = .72 become candidates, .95 of those with .8, all above .9"""
PUNCTUATION = "".join(chr(c) for c in range(33, 127) if not chr(c).isalnum()) + "،؛؟«»…“”‘’–—"
AT_ONCE = 32_768
"""Shingles whose minima are found together: few enough to stay in the processor's cache"""
CROWD = 32
"""Documents that share a band, beyond which each is compared with a few and not with all"""
KEYS = pa.schema([("bucket", pa.int32()), ("key", pa.int64()), ("document", pa.int64())])
PAIRS = pa.schema([("bucket", pa.int32()), ("own", pa.int64()), ("other", pa.int64())])
LINE = 40
"""Bits of a document's number that are its line; those above are its bucket"""
A, B = mixed(np.arange(2 * BANDS * ROWS, dtype=np.uint64)).reshape(2, -1) | np.array([[1], [0]], np.uint64)
"""[BANDS · ROWS] a and b of the permutations a x + b modulo 2^64, a odd; always the same ones"""


def shingles(texts: Sequence[str], size: int = WORDS) -> tuple[Hashes, Places]:
    """Hashes of the shingles of all texts, and where each text's begin: [shingles], [texts + 1].

    A text of fewer than `size` words is one shingle, one without words none. Words are what stands between
    white space, in lower case, without punctuation around them; most are seen before: each is hashed once.
    """
    lists = pc.utf8_split_whitespace(pc.utf8_lower(pa.array(texts, pa.string())))
    words = lists.flatten().dictionary_encode()
    bare = pc.utf8_trim(words.dictionary, PUNCTUATION)
    kept = pc.greater(pc.binary_length(bare), 0).to_numpy(zero_copy_only=False)
    places = words.indices.to_numpy()
    ends = lists.offsets.to_numpy().astype(np.int64)
    real = kept[places]
    counts = np.concatenate([[0], np.cumsum(real)])[ends]
    return _runs(hash_column(bare)[places[real]], counts, size)


def _runs(words: Hashes, bounds: Places, size: int) -> tuple[Hashes, Places]:
    """The hashes of runs of `size` words that lie within a text."""
    lengths = np.diff(bounds)
    counts: Places = np.where(lengths > 0, np.maximum(1, lengths - size + 1), 0)
    starts: Places = np.concatenate([[0], np.cumsum(counts)])
    text = np.repeat(np.arange(len(counts)), counts)
    first: Places = np.arange(int(starts[-1])) - starts[text] + bounds[text]
    end = bounds[text + 1]
    padded = np.concatenate([words, np.zeros(size, np.uint64)])
    found = np.zeros(len(first), np.uint64)
    for word in range(size):
        inside = (first + word < end).astype(np.uint64)
        found = found * np.uint64(BASE) + inside * padded[first + word]
    return mixed(found), starts


def signatures(hashes: Hashes, starts: Places) -> Hashes:
    """[texts, BANDS · ROWS] the minima of each text's shingles (of none: the largest number)."""
    found = np.full((len(A), len(starts) - 1), np.iinfo(np.uint64).max, np.uint64)
    full = np.flatnonzero(np.diff(starts))
    begins = starts[full]
    permuted = np.empty(AT_ONCE, np.uint64)
    for begin in range(0, len(hashes), AT_ONCE):
        part = hashes[begin : begin + AT_ONCE]
        low = int(np.searchsorted(begins, begin, "right")) - 1
        high = int(np.searchsorted(begins, begin + len(part), "left"))
        own, edges = full[low:high], np.maximum(begins[low:high] - begin, 0)
        into = permuted[: len(part)]
        for number, (a, b) in enumerate(zip(A, B, strict=True)):
            np.multiply(part, a, out=into)
            np.add(into, b, out=into)
            minima = np.minimum.reduceat(into, edges)
            found[number, own] = np.minimum(found[number, own], minima)
    return found.T


def bands(minima: Hashes) -> Hashes:
    """[texts, BANDS] a key for each band, other ones in other bands."""
    keys = np.broadcast_to(np.arange(BANDS, dtype=np.uint64), (len(minima), BANDS)).copy()
    for row in range(ROWS):
        keys = mixed(keys * np.uint64(BASE) + minima[:, row::ROWS])
    return keys


def candidates(keys: Places, documents: Places) -> Iterator[Places]:
    """Pairs of documents, the smaller number first, that share a key: arrays [pairs, 2], some pairs twice.

    In a crowd each document is paired with the first one and the next: equals are still found all.
    """
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    sizes = np.diff(np.append(starts, len(keys)))
    first, crowded = np.repeat(starts, sizes), np.repeat(sizes > CROWD, sizes)
    for step in range(1, min(CROWD, int(sizes.max(initial=0)))):
        shared = first[step:] == first[:-step]
        if step > 1:
            shared &= ~crowded[step:]
        yield np.stack([documents[:-step][shared], documents[step:][shared]], 1)
    others = np.flatnonzero(crowded & (np.arange(len(keys)) > first + 1))
    yield np.stack([documents[first[others]], documents[others]], 1)


def jaccard(one: Hashes, other: Hashes) -> float:
    """Of two sets of shingles, given as sorted hashes without doubles."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(1, len(one) + len(other) - shared)


def components(pairs: Places) -> tuple[Places, Places]:
    """The documents of pairs [n, 2], sorted, and for each the smallest number that pairs connect it with.

    Each round takes the smaller root of each pair for both, then follows roots to their end.
    """
    documents, ends = np.unique(pairs, return_inverse=True)
    ends, root = ends.reshape(-1, 2), np.arange(len(documents))
    while True:
        roots = root[ends]
        if (roots[:, 0] == roots[:, 1]).all():
            return documents, documents[root]
        np.minimum.at(root, roots.max(1), roots.min(1))
        while ((further := root[root]) != root).any():
            root = further


def drop_near(engine: frames.Engine, scratch: Path, total: Tally, least: float) -> None:
    """Leaves one of each set of near duplicates: that with the smallest id, whatever files are called."""
    folder, paired, sets = (scratch.resolve() / name for name in ("sorted", "paired", "sets"))
    paired.mkdir()
    sets.mkdir()
    signed = engine.mapped(engine.buckets(folder), _signed, KEYS)
    found = engine.by_bucket(engine.mapped(engine.by_bucket(signed), _candidates, PAIRS))
    list(engine.lines(engine.lined(found, _write_pairs, folder, paired, sets)))
    if not any(paired.iterdir()):
        return
    edges = array("q")
    for _, line in engine.lines(engine.lined(engine.buckets(paired), _similar, sets, least)):
        edges.extend(map(int, line.split()))
    shutil.rmtree(sets)
    if not edges:
        return
    documents, first = components(np.frombuffer(edges, np.int64).reshape(-1, 2))
    np.save(dropped := paired / "dropped.npy", documents[documents != first])
    engine.rewrite(engine.buckets(folder), _without, scratch, total, dropped)


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a bucket with their numbers; only a newline ends a line."""
    with open(path, encoding="utf-8", newline="\n") as file:
        yield from enumerate(file, start=int(path.name) << LINE)


def _documents(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], list[str]]]:
    """Numbers and texts of documents, some megabytes at a time."""
    rows = ((number, read_row(line)) for number, line in lines)
    return frames.portions((number, row.body) for number, row in rows if row.kind == "document")


def _signed(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The band keys of the documents of some buckets."""
    for numbers, texts in _documents(line for path in frames.paths_in(batches) for line in _numbered(path)):
        keys = bands(signatures(*shingles(texts)))
        buckets = (keys >> np.uint64(56)).astype(np.int32)
        columns = [buckets.ravel(), keys.astype(np.int64).ravel(), np.repeat(numbers, BANDS)]
        yield pa.record_batch(columns, schema=KEYS)


def _candidates(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Each pair of candidates twice: in the buckets of both documents."""
    table = pa.Table.from_batches(batches, KEYS)
    for pairs in candidates(table["key"].to_numpy(), table["document"].to_numpy()):
        own, other = np.concatenate([pairs, pairs[:, ::-1]]).T
        yield pa.record_batch([(own >> LINE).astype(np.int32), own, other], schema=PAIRS)


def _write_pairs(batches: Iterable[Batch], folder: Path, paired: Path, sets: Path) -> frames.Pairs:
    """Writes the pairs of each bucket, sorted, each once: an array [pairs, 2] of numbers; and their sets."""
    for bucket, parts in groupby(_by_bucket(batches), key=lambda part: part[0]):
        pairs = np.concatenate([part for _, part in parts])
        pairs = pairs[np.lexsort(pairs.T[::-1])]
        fresh = np.append(True, (pairs[1:] != pairs[:-1]).any(1))
        with frames.whole(paired / f"{bucket:03d}") as file:
            np.save(file, pairs[fresh])
        _write_sets(folder / f"{bucket:03d}", np.unique(pairs[:, 0]), sets)
        yield bucket, "written"


def _by_bucket(batches: Iterable[Batch]) -> Iterator[tuple[int, Places]]:
    """Batches of PAIRS, cut where another bucket begins."""
    for batch in batches:
        buckets, own, other = (column.to_numpy() for column in batch.columns)
        for part in np.split(np.stack([own, other], 1), np.flatnonzero(np.diff(buckets)) + 1):
            if len(part):
                yield int(part[0, 0]) >> LINE, part


def _write_sets(bucket: Path, numbers: Places, folder: Path) -> None:
    """Writes the sets of those documents of a bucket that have candidates, for `_Sets`."""
    wanted, sizes = set(numbers.tolist()), list[int]()
    with frames.whole(folder / bucket.name) as file:
        for _, texts in _documents(one for one in _numbered(bucket) if one[0] in wanted):
            hashes, starts = shingles(texts)
            for begin, end in zip(starts, starts[1:], strict=False):
                found = np.unique(hashes[begin:end])
                sizes.append(len(found))
                found.tofile(file)
    ends = np.cumsum(np.array(sizes, np.int64))
    with frames.whole(folder / f"{bucket.name}.places") as file:
        np.stack([numbers, ends - sizes, ends]).tofile(file)


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


def _similar(batches: Iterable[Batch], sets: Path, least: float) -> frames.Pairs:
    """Of each bucket's pairs those as similar as `least`, as components: the first number and another."""
    for path in frames.paths_in(batches):
        pairs = np.load(path)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        pairs, alike = pairs[np.argsort(pairs[:, 1])].tolist(), array("q")
        with _Sets(sets, int(path.name)) as own:
            for bucket, part in groupby(pairs, key=lambda pair: pair[1] >> LINE):
                with _Sets(sets, bucket) as theirs:
                    for one, other in part:
                        if jaccard(own[one], theirs[other]) >= least:
                            alike.extend((one, other))
        found = components(np.frombuffer(alike, np.int64).reshape(-1, 2))
        for number, first in zip(*(part.tolist() for part in found), strict=True):
            if number != first:
                yield int(path.name), f"{first} {number}"


def _without(batches: Iterable[Batch], folder: Path, dropped: Path) -> frames.Pairs:
    """Writes buckets without the documents that are dropped."""
    tally, numbers = Tally(), np.load(dropped, mmap_mode="r")
    for path in frames.paths_in(batches):
        begin, end = np.searchsorted(numbers, [int(path.name) << LINE, (int(path.name) + 1) << LINE])
        gone = set(numbers[begin:end].tolist())
        with frames.whole(folder / path.name) as file:
            for number, line in _numbered(path):
                row = read_row(line)
                if number in gone:
                    tally.drop("near duplicate", row.name, row.n, row.body)
                else:
                    tally.keep(row.kind, len(row.body.encode()))
                    file.write(line.encode())
    yield frames.TALLY, tally.line()


def runs_of(roots: Sequence[Path], how: Cleaning) -> Hashes:
    """The hashes of all runs of evaluation sets, sorted. Memory: their texts."""
    sources, _ = walk(roots)
    plain = replace(how, genre="any", languages=frozenset())  # edited as the corpus is, else words differ
    texts: list[str] = []
    for source in sources:
        for item in read(source, 1_000_000):
            if isinstance(item, Passage):
                texts.append(clean(item.text, plain).text)
            elif isinstance(item, Dialogue):
                texts += [clean(message["content"], plain).text for message in item.messages]
    if not len(runs := np.unique(shingles(texts, RUN)[0])):
        raise UserError(
            f"no text to keep out was found in {', '.join(map(str, roots))}",
            hint="--against takes files or folders of evaluation texts, in any format that is read",
        )
    return runs


def apart(rows: Iterable[Row], runs: Hashes, tally: Tally) -> Iterator[Row]:
    """The rows that share no run with the evaluation sets."""
    rows = list(rows)
    hashes, starts = shingles([row.body for row in rows], RUN)
    found = np.concatenate([[0], np.cumsum(np.isin(hashes, runs))])
    shared = np.diff(found[starts])
    for row, count in zip(rows, shared, strict=True):
        if row.kind == "document" and count:
            tally.drop("in an evaluation set", row.name, row.n, row.body)
        else:
            yield row
