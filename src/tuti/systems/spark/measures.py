"""What the quality rules look at: one text, measured once (what is short is in `rules.py`).

Words are what stands between white space; a line is one with something in it. The repetition figures are
those of Gopher (Rae et al. 2021, table A1): shares of characters, so that long repeated lines weigh more.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LETTER = re.compile(r"[^\W\d_]")
_MIX = 0x5851F42D4C957F2D
"""Odd, so that multiplying loses nothing (Knuth's MMIX)"""
_WORD_TRIM = "\"'()[]{}<>«»“”‘’.,;:!?؟،؛*_`#-"


class Measures:
    """The measures of a text, each computed when it is first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = text.split()
        self.lines = [line for line in text.split("\n") if line.strip()]
        self.characters = max(1, sum(map(len, self.lines)))

    def share(self, count: float) -> float:
        """A count as a share of the words."""
        return count / max(1, len(self.words))

    def of_lines(self, holds: Callable[[str], object]) -> float:
        """The share of lines for which something holds."""
        return sum(1 for line in self.lines if holds(line)) / max(1, len(self.lines))

    @cached_property
    def sentences(self) -> int:
        """Stretches from a letter to a mark that ends a sentence."""
        text = self.text
        for mark in "!?؟۔。！？":
            text = text.replace(mark, ".")
        *ended, _ = text.split(".")
        return sum(1 for part in ended if LETTER.search(part))

    def stop_words(self, among: frozenset[str]) -> int:
        """How many of these words it has, each counted once (as Gopher does)."""
        return len(among.intersection(word.strip(_WORD_TRIM) for word in set(self.text.lower().split())))

    def repeated(self, parts: list[str]) -> tuple[float, float]:
        """Share of parts, and of their characters, that stood there before."""
        counts = Counter(part.strip() for part in parts)
        if len(counts) == len(parts):
            return 0.0, 0.0
        size = max(1, sum(len(part.strip()) for part in parts))
        again = sum(len(part) * (n - 1) for part, n in counts.items())
        return (len(parts) - len(counts)) / len(parts), again / size

    @cached_property
    def _numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[words] a number for each word, equal for equal words (Python's hash); and its characters."""
        words, count = self.words, len(self.words)
        return np.fromiter(map(hash, words), np.int64, count), np.fromiter(map(len, words), np.int64, count)

    def _grams(self, n: int) -> NDArray[np.int64]:
        """[words - n + 1] a number for each run of n words, equal for equal runs (by chance: 1 in 2⁶⁴)."""
        numbers, _ = self._numbers
        runs = numbers[: len(numbers) - n + 1]
        for word in range(1, n):
            runs = runs * _MIX + numbers[word : len(numbers) - n + 1 + word]  # wraps
        return runs

    def top_gram(self, n: int) -> float:
        """Share of the characters of words that the most frequent run of n words covers (n from 2 to 4)."""
        if len(self.words) < n + 1:
            return 0.0
        runs = self._grams(n)
        values, counts = np.unique(runs, return_counts=True)
        if (most := int(counts.max())) < 2:
            return 0.0
        _, sizes = self._numbers
        first = int(np.isin(runs, values[counts == most]).argmax())
        return most * int(sizes[first : first + n].sum()) / int(sizes.sum())

    @cached_property
    def repeated_grams(self) -> list[float]:
        """Share of characters in words of runs of n words that stood there before, n from 5 to 10."""
        found = [0.0] * 6
        _, sizes = self._numbers
        for place, n in enumerate(range(5, 11)):
            if len(self.words) < n + 1:
                break
            runs = self._grams(n)
            if len(np.unique(runs)) == len(runs):
                break  # longer runs are not repeated either
            again = np.ones(len(runs), bool)
            again[np.unique(runs, return_index=True)[1]] = False
            covered = np.zeros(len(sizes), bool)
            for word in range(n):
                covered[word : word + len(runs)] |= again
            found[place] = int(sizes[covered].sum()) / int(sizes.sum())
        return found
