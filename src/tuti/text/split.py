"""Cut text into pre-tokens: the pieces inside which byte-pair merges may happen."""

import regex

# Valid, with one meaning, in Python's `regex` and in the Oniguruma that `tokenizers` uses. In order:
# an English contraction; a word with the space before it, its marks and zero-width (non-)joiners inside,
# so that می‌شود stays whole; one digit; a run of punctuation or symbols; a run of newlines; blanks, leaving
# the last one to the word that follows. Literal joiners, since the two engines escape them differently.
JOINERS = "\u200c\u200d"
PATTERN = "|".join(
    (
        r"'(?:[sdmtSDMT]|ll|LL|ve|VE|re|RE)(?![\p{L}\p{M}])",
        rf" ?[\p{{L}}\p{{M}}][\p{{L}}\p{{M}}{JOINERS}]*", r"\p{N}",
        r" ?[^\s\p{L}\p{M}\p{N}][^\s\p{L}\p{N}]*", r"\n+", r"[^\S\n]+(?!\S)", r"[^\S\n]+",
    )
)
_COMPILED = regex.compile(PATTERN)
LONGEST_WORD = 128


def words_of(text: str) -> list[str]:
    """Its pre-tokens in order, but those above 128 characters (base64, lines without a space): no words."""
    words: list[str] = _COMPILED.findall(text)
    if max(map(len, words), default=0) > LONGEST_WORD:
        return [word for word in words if len(word) <= LONGEST_WORD]
    return words
