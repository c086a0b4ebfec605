"""Quality rules: a text is kept where every rule holds; the first that does not is why it is dropped.

`rules.toml` has the rules with their sources, their bounds by genre and language, and what they look for.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from operator import ge, le
from pathlib import Path
from typing import Any

from tuti.systems.spark.measures import Measures

_TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))
STOP_WORDS: dict[str, str] = _TABLES["stop_words"]
_STOP_WORDS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
_NOTICES, _GENERATED = (re.compile(_TABLES[name]["pattern"]) for name in ("notices", "generated"))


def _notices(m: Measures) -> float:
    """Share of lines with a notice."""
    text = m.text.lower()
    if not any(sign in text for sign in _TABLES["notices"]["signs"]):  # most texts: the pattern is slow
        return 0.0
    return m.share(sum(1 for line in m.lines if _NOTICES.search(line)), lines=True)


_MEASURES: dict[str, Callable[[Measures, str], float]] = {
    "count": lambda m, _: len(m.words),
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
        figures = _listed(own(measures, language) if own else getattr(measures, self.measure))
        for bounds, compare in ((self.least, ge), (self.most, le)):
            bound = bounds.get(genre, bounds.get(language, bounds.get("all")))
            if bound is not None and not all(map(compare, figures, _listed(bound))):
                return False
        return True


def _listed(figures: Any) -> Any:
    return figures if isinstance(figures, list | tuple) else (figures,)


RULES = tuple(Rule(**row) for row in _TABLES["rule"])


def broken_rules(measures: Measures, language: str, genre: str) -> Iterator[str]:
    """The names of the rules that do not hold, in their order."""
    return (rule.name for rule in RULES if not rule.holds(measures, language, genre))


def first_broken(measures: Measures, language: str, genre: str) -> str:
    """The first rule that does not hold; "": the text is kept."""
    return next(broken_rules(measures, language, genre), "")
