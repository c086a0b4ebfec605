"""Quality rules: a text is kept where every rule holds; the first that does not is why it is dropped.

Published rules with their published bounds: Gopher (Rae et al. 2021, appendix A.1.1), C4 (Raffel et al.
2020, section 2.2), FineWeb (Penedo et al. 2024, section 3.6); the last ones are ours. They were made for
English web pages: bounds differ by language, and a genre's bounds leave out what does not hold for it (a poem
has short lines without a full stop). `GENRES` and `STOP_WORDS` say how.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from tuti.systems.spark.measures import Measures

STOP_WORDS = {
    "en": "the be to of and that have with",  # Gopher's eight
    "fa": "و در به از که را این است با برای",
    "ar": "في من على أن إلى هذا التي عن مع لا",
    "ur": "کے میں کی ہے اور سے کا کو نے پر",
    "tr": "ve bir bu da de için ile olarak çok gibi",
    "de": "der die und in den von zu das mit ist",
    "fr": "de la le et les des en un du est",
    "es": "de la que el en y los se del las",
    "it": "di e il la che in un per del non",
    "pt": "de a o que e do da em um para",
    "nl": "de het een van en in is dat op te",
    "ru": "и в не на я что он с как это",
}
NOTICES = re.compile(
    r"javascript|\bcookies?\b|privacy policy|terms of (?:use|service)|all rights reserved|newsletter"
    r"|log ?in\b|sign up|read more|share on|required fields"
    r"|کوکی|ثبت‌?نام|گذرواژه|خبرنامه|حقوق .{0,20}محفوظ|ادامه مطلب",
    re.IGNORECASE,
)
SIGNS = (
    *("javascript", "cookie", "privacy policy", "terms of", "rights reserved", "newsletter", "log in"),
    *("login", "sign up", "read more", "share on", "required fields"),
    *("کوکی", "ثبت", "گذرواژه", "خبرنامه", "محفوظ", "ادامه مطلب"),
)
"""One of which stands in whatever NOTICES finds"""


GENERATED = re.compile(
    r"@generated|\b(?:auto(?:matically)?[- ]?)?generated (?:by|from|file|code)\b"
    r"|\bdo not (?:edit|modify) (?:this|by)",
    re.IGNORECASE,
)
"""What programs write above what they write"""


@dataclass(frozen=True)
class Bounds:
    """The bounds of all rules, as published; shares are from 0 to 1."""

    stop_words: frozenset[str] = frozenset()
    """Of the text's language; empty: it has no list, and the rules that need one hold"""
    words: tuple[int, int] = (50, 100_000)
    word_length: tuple[float, float] = (3, 10)
    symbols: float = 0.1
    bullets: float = 0.9
    ellipses: float = 0.3
    alphabetic: float = 0.8
    stop: int = 2
    lines: tuple[float, float] = (0.3, 0.2)
    """Most repeated lines, as a share of lines and of characters"""
    paragraphs: tuple[float, float] = (0.3, 0.2)
    top: dict[int, float] = field(default_factory=lambda: {2: 0.20, 3: 0.18, 4: 0.16})
    grams: dict[int, float] = field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
    )
    sentences: int = 3
    curly: float = 0.05
    """Opening curly brackets for each word; C4 drops a page for one, and with it every technical handbook"""
    punctuated: float = 0.12
    short: float = 0.67
    newlines: float = 0.3
    """Line ends for each word"""
    notices: float = 0.2
    numbered: float = 0.5
    """Most of the characters in lines that begin with the number of a section"""
    generated: bool = True
    """Whether a text may say that a program made it: prose may speak of that"""


@dataclass(frozen=True)
class Rule:
    """`holds` says whether a text may stay."""

    name: str
    source: str
    holds: Callable[[Measures, Bounds], bool]


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _notices(m: Measures) -> float:
    text = m.text.lower()
    if not any(sign in text for sign in SIGNS):  # most texts: a pattern that ignores case is slow
        return 0.0
    return m.share(sum(1 for line in m.lines if NOTICES.search(line)), lines=True)


RULES: tuple[Rule, ...] = (
    Rule("too few or many words", "Gopher", lambda m, b: _within(len(m.words), b.words)),
    Rule("mean word length", "Gopher", lambda m, b: _within(m.word_length, b.word_length)),
    Rule("symbols for each word", "Gopher", lambda m, b: m.symbols <= b.symbols),
    Rule("lines that are bullets", "Gopher", lambda m, b: m.bullets <= b.bullets),
    Rule("lines that end in an ellipsis", "Gopher", lambda m, b: m.ellipses <= b.ellipses),
    Rule("words without a letter", "Gopher", lambda m, b: m.alphabetic >= b.alphabetic),
    Rule(
        "too few function words",
        "Gopher",
        lambda m, b: not b.stop_words or m.stop_words(b.stop_words) >= b.stop,
    ),
    Rule("repeated lines", "Gopher", lambda m, b: _below(m.repeated_lines, b.lines)),
    Rule("repeated paragraphs", "Gopher", lambda m, b: _below(m.repeated_paragraphs, b.paragraphs)),
    Rule(
        "a run of words that is everywhere",
        "Gopher",
        lambda m, b: all(m.top_gram(n) <= most for n, most in b.top.items()),
    ),
    Rule(
        "repeated runs of words",
        "Gopher",
        lambda m, b: all(m.repeated_grams[n] <= most for n, most in b.grams.items()),
    ),
    Rule("placeholder Latin", "C4", lambda m, b: "lorem ipsum" not in m.text.lower()),
    Rule("too few sentences", "C4", lambda m, b: not b.sentences or m.sentences >= b.sentences),
    Rule("curly brackets", "C4", lambda m, b: m.share(m.text.count("{")) <= b.curly),
    Rule("notices of a site", "C4", lambda m, b: _notices(m) <= b.notices),
    Rule("lines without an end", "FineWeb", lambda m, b: m.punctuated >= b.punctuated),
    Rule("short lines", "FineWeb", lambda m, b: m.short <= b.short),
    Rule("line ends for each word", "FineWeb", lambda m, b: m.share(len(m.lines)) <= b.newlines),
    Rule("a table of contents", "ours", lambda m, b: m.numbered <= b.numbered),
    Rule("made by a program", "ours", lambda m, b: b.generated or not GENERATED.search(m.text[:2000])),
)


def _below(found: tuple[float, float], most: tuple[float, float]) -> bool:
    return found[0] <= most[0] and found[1] <= most[1]


def _poetry(b: Bounds) -> Bounds:
    """A line's end is no sentence's; refrains, and the names of who speaks, are wanted again and again."""
    top = {n: 2 * most for n, most in b.top.items()}
    free = replace(b, sentences=0, punctuated=0, short=1, newlines=1, lines=(0.5, b.lines[1]))
    return replace(free, words=(20, 100_000), alphabetic=0.6, top=top)


def _note(b: Bounds) -> Bounds:
    """Too short for most rules: any run of words covers a large share of it."""
    free = dict.fromkeys(b.top, 1.0)
    note = replace(b, words=(3, 100_000), alphabetic=0.6, stop=0, top=free, sentences=0)
    return replace(note, punctuated=0, short=1, newlines=1, symbols=0.5, ellipses=1)


def _code(b: Bounds) -> Bounds:
    """Names and signs are its words; `...` is a statement."""
    top = {n: 2 * most for n, most in b.top.items()}
    code = replace(b, words=(5, 100_000), word_length=(2, 25), alphabetic=0.4, stop=0, symbols=0.5, top=top)
    free = replace(code, ellipses=1, sentences=0, curly=1, punctuated=0, short=1, newlines=1)
    return replace(free, numbered=1, notices=1, generated=False)


GENRES: dict[str, Callable[[Bounds], Bounds]] = {
    "prose": lambda b: b,
    "poetry": _poetry,
    "note": _note,
    "code": _code,
}
LANGUAGES: dict[str, Callable[[Bounds], Bounds]] = {
    "fa": lambda b: replace(b, word_length=(2.5, 10)),  # vowels are not written, endings stand apart
    "ar": lambda b: replace(b, word_length=(2.5, 10)),
    "ur": lambda b: replace(b, word_length=(2.5, 10)),
}


@cache
def bounds_of(language: str, genre: str) -> Bounds:
    """The bounds for texts of a language and a genre."""
    own = Bounds(stop_words=frozenset(STOP_WORDS.get(language, "").split()))
    return GENRES[genre](LANGUAGES.get(language, lambda b: b)(own))


def broken_rules(measures: Measures, language: str, genre: str) -> Iterator[str]:
    """The names of the rules that do not hold, in their order."""
    bounds = bounds_of(language, genre)
    return (rule.name for rule in RULES if not rule.holds(measures, bounds))


def first_broken(measures: Measures, language: str, genre: str) -> str:
    """The first rule that does not hold; "": the text is kept."""
    return next(broken_rules(measures, language, genre), "")
