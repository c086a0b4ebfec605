"""Documents that share runs of words: near duplicates, of which one stays, and what is in evaluation sets.

Near duplicates share most of their runs of five words.

    words ─ shingles ─ 112 minima ─ 14 bands of 8 ─ equal bands are candidates ─ Jaccard, exactly ─ components

    buckets ─ band keys ─┐ by key ┌─ candidates ─┐ by bucket ┌─ sets/: their shingles, once, on disk
    the same pairs ─┐ by bucket, once more: all sets are there ┌─ Jaccard ─ components, joined here ─ all but
    the first of each

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
from functools import lru_cache, partial, update_wrapper
from itertools import groupby
from pathlib import Path

import numpy as np

from tuti.run import UserError
from tuti.systems.spark import frames
from tuti.systems.spark.clean import Cleaning, clean
from tuti.systems.spark.engine.shuffle import BASE, Hashes, Places, hash_column, mixed
from tuti.systems.spark.query.arrow import Batch, pa, pc
from tuti.systems.spark.readers import Item, read
from tuti.systems.spark.rows import Row, read_row
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import walk

WORDS = 5
"""Words of a shingle"""
RUN = 13
"""Words of a run that is shared with an evaluation set"""
BANDS, ROWS = 14, 8
"""As FineWeb's: half of the pairs with J = .72 become candidates, .95 of those with .8, all above .9"""
PUNCTUATION = "".join(chr(c) for c in range(33, 127) if not chr(c).isalnum()) + "،؛؟«»…“”‘’–—"
AT_ONCE = 1024
"""Shingles of a text whose minima are found together: their permutations take a megabyte"""
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
    known = lists.flatten().dictionary_encode()
    bare = pc.utf8_trim(known.dictionary, PUNCTUATION)
    places = known.indices.to_numpy()
    real = pc.greater(pc.binary_length(bare), 0).to_numpy(zero_copy_only=False)[places]
    bounds: Places = np.append(0, np.cumsum(real))[lists.offsets.to_numpy()]
    words = hash_column(bare)[places[real]]
    begin, end = (np.repeat(edges, np.diff(bounds)) for edges in (bounds[:-1], bounds[1:]))
    place, padded = np.arange(len(words)), np.append(words, np.zeros(size, np.uint64))
    found = np.zeros(len(words), np.uint64)
    for word in range(size):
        inside = (place + word < end).astype(np.uint64)
        found = found * np.uint64(BASE) + inside * padded[word : word + len(words)]
    whole = (place + size <= end) | (place == begin)
    return mixed(found[whole]), np.append(0, np.cumsum(whole))[bounds]


def signatures(hashes: Hashes, starts: Places) -> Hashes:
    """[texts, BANDS · ROWS] the minima of each text's shingles (of none: the largest number)."""
    found = np.full((len(starts) - 1, len(A)), np.iinfo(np.uint64).max, np.uint64)
    for minima, begin, end in zip(found, starts[:-1], starts[1:], strict=True):
        for start in range(begin, end, AT_ONCE):
            part = hashes[start : min(start + AT_ONCE, end)]
            permuted = A[:, None] * part + B[:, None]
            np.minimum(minima, permuted.min(1), out=minima)
    return found


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
    folder, sets = (scratch.resolve() / name for name in ("sorted", "sets"))
    sets.mkdir()
    signed = engine.by_bucket(engine.mapped(engine.buckets(folder), _signed, KEYS))
    found = engine.by_bucket(engine.mapped(signed, _candidates, PAIRS))
    write_sets = update_wrapper(partial(_write_sets, folder, sets), _write_sets)
    paired = engine.by_bucket(engine.mapped(found, write_sets, PAIRS))
    edges = array("q")
    for _, line in engine.pairs(engine.lined(paired, _similar, sets, least)):
        edges.extend(map(int, line.split()))
    shutil.rmtree(sets)
    if edges:
        documents, first = components(np.frombuffer(edges, np.int64).reshape(-1, 2))
        np.save(dropped := scratch.resolve() / "dropped.npy", documents[documents != first])
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
        yield _batch(np.concatenate([pairs, pairs[:, ::-1]]))


def _batch(pairs: Places) -> Batch:
    own, other = pairs.T
    return pa.record_batch([(own >> LINE).astype(np.int32), own, other], schema=PAIRS)


def _paired(batches: Iterable[Batch]) -> Iterator[tuple[int, Places]]:
    """Each bucket, and its pairs: [pairs, 2]; held are those of a bucket."""
    parts = (
        part
        for pairs in (np.stack([column.to_numpy() for column in batch.columns[1:]], 1) for batch in batches)
        for part in np.split(pairs, np.flatnonzero(np.diff(pairs[:, 0] >> LINE)) + 1)
        if len(part)
    )
    for bucket, group in groupby(parts, key=lambda part: int(part[0, 0]) >> LINE):
        yield bucket, np.concatenate(list(group))


def _write_sets(folder: Path, sets: Path, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Writes the sets of documents that have candidates, for `_similar`; hands each pair on, once."""
    for bucket, pairs in _paired(batches):
        numbers, pairs = np.unique(pairs[:, 0]), pairs[np.lexsort(pairs.T)]
        fresh = np.append(True, (pairs[1:] != pairs[:-1]).any(1))
        wanted, sizes = set(numbers.tolist()), list[int]()
        lines = (line for line in _numbered(folder / f"{bucket:03d}") if line[0] in wanted)
        with frames.whole(sets / f"{bucket:03d}") as file:
            for _, texts in _documents(lines):
                hashes, starts = shingles(texts)
                for begin, end in zip(starts, starts[1:], strict=False):
                    found = np.unique(hashes[begin:end])
                    sizes.append(len(found))
                    found.tofile(file)
        ends = np.cumsum(sizes, dtype=np.int64)
        with frames.whole(sets / f"{bucket:03d}.places") as file:
            np.stack([numbers, ends - sizes, ends]).tofile(file)
        yield _batch(pairs[fresh & (pairs[:, 0] < pairs[:, 1])])


def _similar(batches: Iterable[Batch], sets: Path, least: float) -> frames.Pairs:
    """Of each bucket's pairs those as similar as `least`, as components: the first number and another."""

    @lru_cache(2)
    def places(bucket: int) -> Places:
        return np.fromfile(sets / f"{bucket:03d}.places", np.int64).reshape(3, -1)

    def found(number: int) -> Hashes:
        numbers, begins, ends = places(number >> LINE)
        begin, end = (int(column[np.searchsorted(numbers, number)]) for column in (begins, ends))
        return np.fromfile(sets / f"{number >> LINE:03d}", np.uint64, end - begin, offset=begin * 8)

    for bucket, pairs in _paired(batches):
        pairs = pairs[np.argsort(pairs[:, 1])].tolist()
        alike = [both for both in pairs if jaccard(*map(found, both)) >= least]
        for number, first in zip(*components(np.array(alike, np.int64).reshape(-1, 2)), strict=True):
            if number != first:
                yield bucket, f"{first} {number}"


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
            if isinstance(item, Item):
                found = item.content if isinstance(item.content, list) else [{"content": item.content}]
                texts += [clean(message["content"], plain).text for message in found]
    if not len(runs := np.unique(shingles(texts, RUN)[0])):
        what = f"no text to keep out was found in {', '.join(map(str, roots))}"
        hint = "--against takes files or folders of evaluation texts, in any format that is read"
        raise UserError(what, hint)
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
