"""Near duplicates: documents that share most of their runs of five words.

    words ─ shingles ─ 112 minima ─ 14 bands of 8 ─ equal bands are candidates ─ Jaccard, exactly ─ components

A document's shingles are its runs of five words. The least of their hashes under a random permutation is the
same for two documents with probability J, their Jaccard similarity (Broder 1997); a band of r minima agrees
with J^r, one of b bands at least with 1 - (1 - J^r)^b (Leskovec, Rajaraman & Ullman, Mining of Massive
Datasets, section 3.4). What agrees by chance is no duplicate yet: candidates are compared by their sets.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tuti.systems.spark.engine.hashing import hash_column, mixed
from tuti.systems.spark.query.arrow import pa, pc

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
WORDS = 5
"""Words of a shingle"""
BANDS, ROWS = 14, 8
"""As FineWeb's: half of the pairs with J = .72 become candidates, .95 of those with .8, all above .9"""
PUNCTUATION = "".join(chr(c) for c in range(33, 127) if not chr(c).isalnum()) + "،؛؟«»…“”‘’–—"
AT_ONCE = 32_768
"""Shingles whose minima are found together: few enough to stay in the processor's cache"""
CROWD = 32
"""Documents that share a band, beyond which each is compared with a few and not with all"""


def permutations() -> Hashes:
    """[2, BANDS · ROWS] a and b of the permutations a x + b modulo 2^64, a odd; always the same ones."""
    drawn = mixed(np.arange(2 * BANDS * ROWS, dtype=np.uint64)).reshape(2, -1)
    drawn[0] |= np.uint64(1)
    return drawn


A, B = permutations()


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
    real = kept[places] if len(places) else np.zeros(0, bool)
    counts = np.concatenate([[0], np.cumsum(real)])[ends]
    hashes = hash_column(bare)[places[real]] if len(places) else np.zeros(0, np.uint64)
    return _runs(hashes, counts, size)


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
        found = found * np.uint64(0x9E3779B97F4A7C15) + inside * padded[first + word]
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
        keys = mixed(keys * np.uint64(0x9E3779B97F4A7C15) + minima[:, row::ROWS])
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
