"""Genres, and quality rules: a text is kept where all hold; the first that does not is why it is dropped.

`rules.toml` has the rules with their sources, their bounds by genre and language, and what they look for.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import starmap
from math import inf
from operator import ge, le
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuti.run import read_toml

_TABLES: dict[str, Any] = read_toml(__file__, "rules.toml")
STOP_WORDS = {language: frozenset(words.split()) for language, words in _TABLES["stop_words"].items()}
_NOTICES, _GENERATED, _CODE, _BULLET, _NUMBERED = (
    re.compile(_TABLES[name]["pattern"]) for name in ("notices", "generated", "code", "bullet", "numbered")
)
ENDS = tuple(_TABLES["ends"]["marks"].split())
"""Of sentences"""
NOTE = 50
"""Words below which the rules for pages cannot be asked of a text"""
LETTER = re.compile(r"[^\W\d_]")
_MIX = 0x5851F42D4C957F2D
"""Odd, so that multiplying loses nothing (Knuth's MMIX)"""
_WORD_TRIM = "\"'()[]{}<>«»“”‘’.,;:!?؟،؛*_`#-"


class Measures:
    """What the quality rules look at: one text, measured once, each figure when it is first asked for.

    Words are what stands between white space; a line is one with something in it. The repetition figures are
    those of Gopher (Rae et al. 2021, table A1): shares of characters, so that long repeated lines weigh more.
    """

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
        return np.convolve(self._numbers[0], _MIX ** np.arange(n), "valid")  # wraps

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
            covered = np.convolve(again, np.ones(n, int)) > 0
            found[place] = int(sizes[covered].sum()) / int(sizes.sum())
        return found


def genre_of(measures: Measures) -> str:
    """`prose`, `poetry`, `code`, or a `note` of some words.

    Plays, and prose that is wrapped at some 70 columns, count as poetry: what these share is that a line's
    end means nothing, so that rules about lines do not hold for them.
    """
    lines = measures.lines
    code = sum(1 for line in lines if _CODE.search(line))
    if len(lines) >= 3 and code >= 0.4 * len(lines):
        return "code"
    if len(measures.words) < NOTE:
        return "note"
    lengths = sorted(len(line) for line in lines)
    if len(lines) >= 4 and lengths[int(0.95 * (len(lengths) - 1))] <= 90 and lengths[len(lengths) // 2] >= 15:
        return "poetry"
    return "prose"


def _notices(m: Measures) -> float:
    """Share of lines with a notice."""
    text = m.text.lower()
    signs = any(sign in text for sign in _TABLES["notices"]["signs"])  # mostly not: the pattern is slow
    return m.of_lines(_NOTICES.search) if signs else 0.0


_MEASURES: dict[str, Callable[[Measures, str], float | tuple[float, ...]]] = {
    "count": lambda m, _: len(m.words),
    "word_length": lambda m, _: m.share(sum(map(len, m.words))),
    "symbols": lambda m, _: m.share(max(m.text.count("#"), m.text.count("...") + m.text.count("…"))),
    "alphabetic": lambda m, _: m.share(sum(1 for w in m.words if w[0].isalpha() or LETTER.search(w))),
    "bullets": lambda m, _: m.of_lines(_BULLET.match),
    "ellipses": lambda m, _: m.of_lines(lambda line: line.rstrip().endswith(("...", "…"))),
    "punctuated": lambda m, _: m.of_lines(lambda line: line.rstrip(" *_").endswith(ENDS)),
    "short": lambda m, _: m.of_lines(lambda line: len(line.strip()) <= 30),
    "numbered": lambda m, _: sum(len(line) for line in m.lines if _NUMBERED.match(line)) / m.characters,
    "top_grams": lambda m, _: tuple(m.top_gram(n) for n in (2, 3, 4)),
    "repeated_lines": lambda m, _: m.repeated(m.lines),
    "repeated_paragraphs": lambda m, _: m.repeated(
        [part for part in re.split(r"\n\s*\n", m.text) if part.strip()]
    ),
    "stop_words": lambda m, language: m.stop_words(STOP_WORDS[language]) if language in STOP_WORDS else inf,
    "placeholders": lambda m, _: m.text.lower().count("lorem ipsum"),
    "curly": lambda m, _: m.share(m.text.count("{")),
    "notices": lambda m, _: _notices(m),
    "newlines": lambda m, _: m.share(len(m.lines)),
    "generated": lambda m, _: bool(_GENERATED.search(m.text[:2000])),
}
"""Those that are no attribute of Measures; some depend on the language"""


@dataclass(frozen=True)
class Rule:
    """A measure, of one figure or several, and the bounds of each for a genre, a language, or `all`."""

    name: str
    source: str
    measure: str
    least: dict[str, Any] = field(default_factory=dict[str, Any])
    most: dict[str, Any] = field(default_factory=dict[str, Any])
    free: tuple[str, ...] = ()
    """Genres that it is not asked of"""

    def holds(self, measures: Measures, language: str, genre: str) -> bool:
        """Whether a text of this language and genre may stay."""
        if genre in self.free:
            return True
        own = _MEASURES.get(self.measure)
        found: Any = own(measures, language) if own else getattr(measures, self.measure)
        for bounds, compare in ((self.least, ge), (self.most, le)):
            bound: Any = bounds.get(genre, bounds.get(language, bounds.get("all")))
            pair: Any = (found, bound) if isinstance(bound, list) else ([found], [bound])
            if bound is not None and not all(starmap(compare, zip(*pair, strict=True))):
                return False
        return True


RULES = tuple(Rule(**row) for row in _TABLES["rule"])


def broken_rules(measures: Measures, language: str, genre: str) -> Iterator[str]:
    """The names of the rules that do not hold, in their order."""
    return (rule.name for rule in RULES if not rule.holds(measures, language, genre))
