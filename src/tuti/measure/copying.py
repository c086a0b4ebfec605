"""The parrot score: how much of what a model writes stands word for word in its training text.

Copied runs of n characters or more are together the windows of n characters that stand in the text, and the
longest run grows while a window longer than it stands there: so there is one question only. Hashes of all
windows of the text sieve them, and what passes is compared, so that no hash can err. The training text
streams past once; memory is bounded by the outputs and one document.
Characters are code points.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PART = 1 << 16
"""Characters of training text that are looked through at once"""
BITS, BASE = 20, 0x9E37_79B1
"""Of a hash"""
# No code points are this large, so no run crosses from one text into the next.
_AFTER_OUTPUT, _AFTER_DOCUMENT = ((0x11_0000 + n).to_bytes(4, "little") for n in (0, 1))


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
    outputs = [_joined(group, _AFTER_OUTPUT) for group in groups]
    every, copied, longest = _Windows(b"".join(outputs), at_least), set[bytes](), [b""] * len(groups)
    following = [_Windows(output, 1) for output in outputs]
    for part in _parts(training, max((len(text) for group in groups for text in group), default=0)):
        copied |= every.within(part)
        for n, output in enumerate(outputs):
            if not following[n].within(part):
                continue
            sizes = range(following[n].size + 1, max(map(len, groups[n])) + 2)
            size = sizes[bisect_left(sizes, True, key=lambda size: not _Windows(output, size).within(part))]
            longest[n] = min(_Windows(output, size - 1).within(part))
            following[n] = _Windows(output, size)
    return [_report(*own, copied, at_least) for own in zip(groups, outputs, longest, strict=True)]


def _report(
    group: Sequence[str], output: bytes, longest: bytes, copied: set[bytes], at_least: int
) -> CopyReport:
    inside = np.zeros(len(output) // 4, bool)
    for n, window in enumerate(_windows(output, at_least)):
        if window in copied:
            inside[n : n + at_least] = True
    share = int(inside.sum()) / max(1, sum(map(len, group)))
    return CopyReport(share, len(longest) // 4, longest.decode("utf-32-le", "surrogatepass"))


def _joined(texts: Sequence[str], mark: bytes) -> bytes:
    """Four bytes a character (lone surrogates kept), and a mark behind each text."""
    return b"".join(text.encode("utf-32-le", "surrogatepass") + mark for text in texts)


def _parts(documents: Iterable[str], most: int) -> Iterator[bytes]:
    """The documents, small ones together, large ones in pieces that share `most` characters."""
    held, size = list[str](), 0
    for piece in (text[at : at + PART + most] for text in documents for at in range(0, len(text), PART)):
        held.append(piece)
        size += len(piece)
        if size >= PART:
            yield _joined(held, _AFTER_DOCUMENT)
            held, size = [], 0
    yield _joined(held, _AFTER_DOCUMENT)


def _windows(text: bytes, size: int) -> list[bytes]:
    return [text[start : start + 4 * size] for start in range(0, len(text) - 4 * size + 1, 4)]


class _Windows:
    """The windows of one size of a text, and which hashes they have."""

    def __init__(self, text: bytes, size: int) -> None:
        self.size, self.all = size, set(_windows(text, size))
        self.known = np.zeros(1 << BITS, bool)
        self.known[_hashes(text, size)] = True

    def within(self, part: bytes) -> set[bytes]:
        """Those that stand in a part of the training text."""
        places = np.flatnonzero(self.known[_hashes(part, self.size)])
        return self.all.intersection(part[4 * at : 4 * (at + self.size)] for at in places.tolist())


def _hashes(text: bytes, size: int) -> NDArray[np.uint32]:
    """A hash of BITS bits of each window."""
    codes = np.frombuffer(text, "<u4")
    sums = _sums(codes, size) if size <= len(codes) else codes[:0]
    return sums * np.uint32(BASE) >> np.uint32(32 - BITS)


def _sums(codes: NDArray[np.uint32], size: int) -> NDArray[np.uint32]:
    """Of each window: Σ BASE^place · code, mod 2³², from those of its two halves."""
    if size == 1:
        return codes
    half, odd = divmod(size, 2)
    of_half = _sums(codes, half)
    sums = of_half[:-half] * np.uint32(pow(BASE, half, 1 << 32)) + of_half[half:]
    return sums[:-1] * np.uint32(BASE) + codes[size - 1 :] if odd else sums
