"""Bytes → characters → passages, in bounded memory and independent of the size of the reads."""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import BinaryIO

BLOCK = 1 << 16
# The greedy beginning makes each find its last place first.
_BLANK = re.compile(r"(?s:.*)\n[ \t]*\n")
_LINE = re.compile(r"(?s:.*)\n")
_SENTENCE = re.compile(r"(?s:.*)(?:[.!?؟…][\"'»”’)\]]*\s|[。！？])")
_SPACE = re.compile(r"(?s:.*)\s")
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_PLAIN = b"<a \\ud83d +2AA->"
"""In UTF-7 and Python's escapes half a surrogate pair, which no text may hold"""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(head: bytes, *, markup: bool = False) -> str:
    """The encoding named by a byte-order mark or (markup) a `<meta charset>`; else UTF-8."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    named = _CHARSET.search(head[:4096]) if markup else None
    return _codec(named.group(1).decode("ascii")) if named else "utf-8"


def _codec(name: str) -> str:
    """The codec of a named charset; UTF-8 for an unknown one, since broken passages are dropped later."""
    try:
        found = codecs.lookup(name).name
        "".encode(found)  # refuses codecs that are not text, such as hex
        plain = codecs.getincrementaldecoder(found)("replace").decode(_PLAIN, final=True)
    except (LookupError, ValueError):
        return "utf-8"
    # The tag was readable byte by byte, so a page in which ASCII means something else is not what it says.
    return found if plain == _PLAIN.decode() else "utf-8"


def is_text(head: bytes) -> bool:
    """Whether a file's first bytes are text: marked UTF-8/16/32, or valid UTF-8 without NUL."""
    if encoding_of(head) != "utf-8":
        return True
    if b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character cut at the end is no fault
    except UnicodeDecodeError:
        return False
    return True


def characters(stream: BinaryIO, encoding: str, block: int = BLOCK) -> Iterator[str]:
    """Decoded text piece by piece: bad bytes become U+FFFD, every line end becomes one newline."""
    inner = codecs.getincrementaldecoder(encoding)("replace")
    decoder = io.IncrementalNewlineDecoder(inner, translate=True)
    while data := stream.read(block):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def cut_point(text: str, start: int, limit: int) -> int:
    """Where the passage that begins at `start` ends, at most `limit` characters on.

    The last blank line, else newline, else sentence end, else space beyond the first quarter; else a
    hard cut that leaves combining marks and joiners with their letter.
    """
    end, floor = start + limit, start + limit // 4
    for pattern in (_BLANK, _LINE, _SENTENCE, _SPACE):
        if found := pattern.match(text, floor, end):
            return found.end()
    for at in range(end, max(end - 32, start + 1), -1):
        if not (unicodedata.combining(text[at]) or text[at] in "\u200c\u200d\ufe0f"):
            return at
    return end


def passages(pieces: Iterable[str], limit: int) -> Iterator[str]:
    """Cuts a stream of text into passages of at most `limit` characters; nothing is lost."""
    text, start = "", 0
    for piece in pieces:
        text, start = text[start:] + piece, 0
        while len(text) - start > limit:
            at = cut_point(text, start, limit)
            yield text[start:at]
            start = at
    if start < len(text):
        yield text[start:]


def lines(pieces: Iterable[str], longest: int) -> Iterator[str | None]:
    """Lines of a stream of text; None stands for one of more than `longest` characters."""
    held: list[str] = []
    size, last = 0, ""
    for piece in pieces:
        *whole, last = piece.split("\n")
        for line in whole:
            size += len(line)
            yield "".join([*held, line]) if size <= longest else None
            held, size = [], 0
        size += len(last)
        held = [*held, last] if size <= longest else []
    if size:
        yield "".join(held) if size <= longest else None
