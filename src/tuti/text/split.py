"""Cut text into pre-tokens: the pieces inside which byte-pair merges may happen."""

from collections import Counter
from collections.abc import Iterable

import regex

# Valid, with one meaning, in Python's `regex` and in the Oniguruma that `tokenizers` uses. In order:
# an English contraction; a word with the space before it, its marks and zero-width (non-)joiners inside,
# so that می‌شود stays whole; one digit; a run of punctuation or symbols; a run of newlines; blanks, leaving
# the last one to the word that follows. Literal joiners, since the two engines escape them differently.
JOINERS = "\u200c\u200d"
PATTERN = "|".join(
    (
        r"'(?:[sdmtSDMT]|ll|LL|ve|VE|re|RE)(?![\p{L}\p{M}])",
        rf" ?[\p{{L}}\p{{M}}][\p{{L}}\p{{M}}{JOINERS}]*",
        r"\p{N}",
        r" ?[^\s\p{L}\p{M}\p{N}][^\s\p{L}\p{N}]*",
        r"\n+",
        r"[^\S\n]+(?!\S)",
        r"[^\S\n]+",
    )
)
_COMPILED = regex.compile(PATTERN)
LONGEST_WORD = 128


def split(text: str) -> list[str]:
    """The pre-tokens of a text; joined, they are the text."""
    return _COMPILED.findall(text)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each pre-token occurs, over all texts; memory grows with distinct pre-tokens.

    Pieces above 128 characters (base64, lines without a space) are not words and are left out.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        words = split(text)
        if words and len(max(words, key=len)) > LONGEST_WORD:
            words = [word for word in words if len(word) <= LONGEST_WORD]
        counts.update(words)
    return counts
