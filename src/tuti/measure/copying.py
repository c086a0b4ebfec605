"""The parrot score: how much of what a model writes stands word for word in its training text.

A run of at least k characters is copied exactly when each of its windows of k characters stands in
the training text, so the copied share needs only a set of windows of the *output*; the training
text streams past it once, hashed (Karp & Rabin 1987), in memory bounded by the output and one
block. Every run counted is checked character by character, so the figures never overstate; to miss
one, two windows of the output would have to share a 64-bit hash. Characters are code points.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

BLOCK = 1 << 20
# No code point is this large, so no run crosses from one document or output into the next.
_TRAINING_END = 0x11_0000
_OUTPUT_END = 0x11_0001
_BASE = 0x9E37_79B9_7F4A_7C15
_SLOT_BITS = 22
_EXTENSIONS = 64


@dataclass(frozen=True)
class CopyReport:
    """share: of output characters inside copied runs of the least length or more, 0 to 1.
    longest: characters in the longest copied run, of any length. example: that run."""

    share: float
    longest: int
    example: str


def parrot_scores(
    groups: Sequence[Sequence[str]], training: Iterable[str], at_least: int = 20
) -> list[CopyReport]:
    """How much of each group's outputs (without their prompts) is copied from the training documents.

    Those stream past once.
    """
    assert at_least > 0
    searches = [_Search(outputs, at_least) for outputs in groups]
    if not any(search.letters for search in searches):
        return [search.report() for search in searches]
    reach = max(len(output) for outputs in groups for output in outputs)
    for block in _blocks(training, max(BLOCK, 4 * reach), reach - 1):
        hashed = _Hashed(block)
        windows = hashed.windows(at_least)
        for search in searches:
            search.look(hashed, windows)
    return [search.report() for search in searches]


class _Search:
    """What was found so far of one group of outputs."""

    def __init__(self, outputs: Sequence[str], at_least: int) -> None:
        self.text = _codes(outputs, _OUTPUT_END)
        self.letters = int((self.text != _OUTPUT_END).sum())
        self.windows = _Windows(self.text, at_least)
        self.copied = np.zeros(len(self.windows.starts), np.bool_)
        self.longest = _Longest(self.text)

    def look(self, hashed: "_Hashed", hashes: Hashes) -> None:
        """Marks the windows that stand in a block of training text."""
        windows, length = self.windows, self.windows.length
        place, row = windows.look_up(hashes)
        news = ~self.copied[row]
        same = _equal(hashed.text, place[news], self.text, windows.starts[row[news]], length)
        self.copied[row[news][same]] = True
        self.longest.grow(hashed, place, length)

    def report(self) -> CopyReport:
        """The figures."""
        if not self.letters:
            return CopyReport(0.0, 0, "")
        start, length = self.longest.start, self.longest.length
        run = "".join(map(chr, self.text[start : start + length].tolist()))
        return CopyReport(self.windows.cover(self.copied) / self.letters, length, run)


def _codes(texts: Sequence[str], end: int) -> Codes:
    """The code points of texts, each text followed by the end mark (lone surrogates kept)."""
    mark = end.to_bytes(4, "little")
    joined = b"".join(text.encode("utf-32-le", "surrogatepass") + mark for text in texts)
    return np.frombuffer(joined, np.dtype("<u4"))


def _blocks(documents: Iterable[str], size: int, overlap: int) -> Iterator[Codes]:
    """Documents strung together to blocks of about size; of a longer one, overlapping pieces."""
    waiting: list[str] = []
    held = 0
    for document in documents:
        for at in range(0, max(1, len(document) - overlap), size):
            piece = document[at : at + size + overlap]
            waiting.append(piece)
            held += len(piece) + 1
            if held >= size:
                yield _codes(waiting, _TRAINING_END)
                waiting, held = [], 0
    if waiting:
        yield _codes(waiting, _TRAINING_END)


class _Hashed:
    """A text, ready to give the hashes of all its windows of one length: sum_j c[i+j] B^j mod 2^64.

    Prefix sums of c[i] B^i, divided by B^i (B is odd, so it has an inverse).
    """

    def __init__(self, text: Codes) -> None:
        self.text = text
        powers = _powers(_BASE, len(text))
        self.sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(text * powers)))
        self.inverse = _powers(pow(_BASE, -1, 1 << 64), len(text))

    def windows(self, length: int) -> Hashes:
        count = max(0, len(self.text) - length + 1)
        return (self.sums[length:] - self.sums[:count])[:count] * self.inverse[:count]

    def windows_at(self, places: Places, length: int) -> Hashes:
        return (self.sums[places + length] - self.sums[places]) * self.inverse[places]


def _powers(base: int, count: int) -> Hashes:
    """base^0, base^1, … mod 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


class _Windows:
    """The distinct windows of the outputs of one length, findable by hash."""

    def __init__(self, text: Codes, length: int) -> None:
        hashes = _Hashed(text).windows(length)
        ends = np.concatenate(([0], np.cumsum(text == _OUTPUT_END)))
        self.inside = np.flatnonzero(ends[length:][: len(hashes)] == ends[: len(hashes)])
        self.hashes, first, self.row = np.unique(hashes[self.inside], return_index=True, return_inverse=True)
        self.starts = self.inside[first]
        self.length = length
        self.size = len(text)
        # A table of one byte a slot turns away nearly all windows before the binary search.
        self.slots = np.zeros(1 << _SLOT_BITS, np.bool_)
        self.slots[_slot(self.hashes)] = True

    def look_up(self, hashes: Hashes) -> tuple[Places, Places]:
        """Places in hashes that hold a window's hash, and the rows of those windows."""
        place = np.flatnonzero(self.slots[_slot(hashes)])
        row = np.searchsorted(self.hashes, hashes[place])
        known = row < len(self.hashes)
        known[known] = self.hashes[row[known]] == hashes[place[known]]
        return place[known], row[known]

    def cover(self, copied: NDArray[np.bool_]) -> int:
        """How many characters lie in windows of which the row is marked."""
        starts = self.inside[copied[self.row]]
        edges = np.zeros(self.size + 1, np.int64)
        edges[starts] += 1
        edges[starts + self.length] -= 1
        return int((np.cumsum(edges) > 0).sum())


def _slot(hashes: Hashes) -> Hashes:
    return (hashes * np.uint64(_BASE)) >> np.uint64(64 - _SLOT_BITS)


def _equal(a: Codes, at_a: Places, b: Codes, at_b: Places, length: int) -> NDArray[np.bool_]:
    """Whether a[i : i + length] is b[j : j + length], for each pair of places."""
    same = np.ones(len(at_a), np.bool_)
    for offset in range(length):
        same &= a[at_a + offset] == b[at_b + offset]
    return same


class _Longest:
    """The longest run found so far: `length` characters of the output from `start`."""

    def __init__(self, text: Codes) -> None:
        self.text = text
        self.length = 0
        self.start = 0
        self._next: _Windows | None = _Windows(text, 1)

    def grow(self, hashed: _Hashed, copied: Places, at_least: int) -> None:
        """Look in one block for runs longer than the longest yet, until there is none.

        copied: where the block holds windows of at_least characters; longer runs begin there only.
        """
        while self._next is not None:
            length = self.length + 1
            if length > at_least:
                places = copied[copied + length <= len(hashed.text)]
                found, row = self._next.look_up(hashed.windows_at(places, length))
                found = places[found]
            else:
                found, row = self._next.look_up(hashed.windows(length))
            if not self._extend(hashed.text, found, self._next.starts[row]):
                return
            following = _Windows(self.text, self.length + 1)
            self._next = following if len(following.starts) else None

    def _extend(self, block: Codes, places: Places, starts: Places) -> bool:
        """Follow some of the matches to their ends; True if one is longer than the longest yet."""
        before = self.length
        tried = 0
        for place, start in zip(places.tolist(), starts.tolist(), strict=True):
            run = _common(block, place, self.text, start)
            if run > self.length:
                self.length, self.start = run, start
            tried += 1
            if tried >= _EXTENSIONS and self.length > before:
                break
        return self.length > before


def _common(a: Codes, at_a: int, b: Codes, at_b: int) -> int:
    """The length of the common run of a from at_a and b from at_b (their end marks differ)."""
    width = 64
    while True:
        left, right = a[at_a : at_a + width], b[at_b : at_b + width]
        both = min(len(left), len(right))
        differ = np.flatnonzero(left[:both] != right[:both])
        if len(differ):
            return int(differ[0])
        if both < width:
            return both
        width *= 4
