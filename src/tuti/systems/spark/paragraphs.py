"""Paragraphs that stand in more than one document: kept in that of the smallest id, cut out elsewhere.

Licence headers, page furniture, texts quoted whole: a model learns them by heart, and held-out text that
repeats them measures memory. Deduplication by paragraph goes back to CCNet (Wenzek et al. 2020, section 3.1);
here only paragraphs of `LEAST` characters count, so that refrains, verses and short code lines stay.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

from tuti.run import hash_text
from tuti.systems.spark.rows import Row, document_row
from tuti.systems.spark.tally import Tally

LEAST = 100
"""Characters of a paragraph that may be cut out"""


def paragraphs(text: str) -> Iterator[str]:
    """Text between blank lines; a line of `LEAST` characters is a paragraph of its own.

    Each comes with the blank lines that follow it: joined they are the text.
    """
    held, closed = "", False
    for line in text.splitlines(keepends=True):
        size = len(line.strip())
        if held and size and (closed or size >= LEAST):
            yield held
            held = ""
        held += line
        closed = not size or size >= LEAST
    if held:
        yield held


def key_of(paragraph: str) -> str:
    """What equal paragraphs share, whatever their white space; nothing for one that is too short."""
    words = " ".join(paragraph.split())
    return hash_text(words)[:24] if len(words) >= LEAST else ""


def places(row: Row) -> Iterator[tuple[int, str]]:
    """(bucket, line) of each paragraph of a document: its key, and the document's id."""
    if row.kind == "document":
        for key in sorted({key for text in paragraphs(row.body) if (key := key_of(text))}):
            yield int(key[:2], 16), f"{key} {row.id}"


def repeated(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(bucket of the document, line) of each paragraph that stands in another document, of a smaller id.

    Memory: the places of one bucket of keys, 1/256 of all.
    """
    for first, later in pairwise(sorted(lines)):
        key, document = later.split()
        if first.startswith(key):
            yield int(document[:2], 16), later


def without(rows: Iterable[Row], lines: Iterable[str], tally: Tally) -> Iterator[Row]:
    """The rows of a bucket without their repeated paragraphs; one that nothing is left of is dropped."""
    cut: dict[str, set[str]] = {}
    for key, document in map(str.split, lines):
        cut.setdefault(document, set()).add(key)
    for row in rows:
        if row.kind != "document" or row.id not in cut:
            yield row
            continue
        left: list[str] = []
        for text in paragraphs(row.body):
            if key_of(text) in cut[row.id]:
                tally.drop("repeated paragraph", row.name, row.n, text)
            else:
                left.append(text)
        if rest := document_row(row.name, row.n, "".join(left), row.language):
            yield rest
        elif left:
            tally.drop("empty", row.name, row.n, "".join(left))
