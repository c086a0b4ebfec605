"""Genres, and quality rules: a text is kept where all hold; the first that does not is why it is dropped.

`rules.toml` has the rules with their sources, their bounds by genre and language, and what they look for.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import starmap
from math import inf
from operator import ge, le
from pathlib import Path
from typing import Any

from tuti.systems.spark.measures import LETTER, Measures

_TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))
STOP_WORDS: dict[str, str] = _TABLES["stop_words"]
_STOP_WORDS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
_NOTICES, _GENERATED, _CODE, _BULLET, _NUMBERED = (
    re.compile(_TABLES[name]["pattern"]) for name in ("notices", "generated", "code", "bullet", "numbered")
)
ENDS = tuple(_TABLES["ends"]["marks"].split())
"""Of sentences"""
NOTE = 50
"""Words below which the rules for pages cannot be asked of a text"""


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
    "stop_words": lambda m, language: m.stop_words(_STOP_WORDS[language]) if language in STOP_WORDS else inf,
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
