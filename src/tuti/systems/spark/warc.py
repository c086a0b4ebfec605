"""WARC, the format of web crawls: its pages' texts, one response at a time (ISO 28500, by warcio)."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO, cast

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from tuti.systems.spark.markup import html_pieces
from tuti.systems.spark.passages import characters, encoding_of
from tuti.systems.spark.walk import Skip

LONGEST_PAGE = 8_000_000
"""Bytes of one response; a longer one is skipped, since it must be held in memory whole"""
KINDS = ("response", "resource", "conversion")


def warc_texts(name: str, stream: BinaryIO) -> Iterator[str | Skip]:
    """The texts of an archive's HTML and plain-text records; others (images, requests) are passed over."""
    number = 0
    try:
        for record in cast(Any, ArchiveIterator)(stream):
            number += 1
            if record.rec_type not in KINDS:
                continue
            headers = record.http_headers or record.rec_headers
            kind = (headers.get_header("Content-Type") or "").lower()
            if "html" not in kind and "text/plain" not in kind:
                continue
            content = record.content_stream().read(LONGEST_PAGE + 1)
            if len(content) > LONGEST_PAGE:
                yield Skip(name, number, "page too long")
            elif record.raw_stream.limit:  # what is left of the length that its head declares
                yield Skip(name, number, "damaged archive: it ends within a page")
            else:
                yield _text(content, kind)
    except (ArchiveLoadFailed, EOFError, ValueError) as error:
        yield Skip(name, number + 1, f"damaged archive: {error}"[:120])


def _text(content: bytes, kind: str) -> str:
    markup = "html" in kind
    charset = kind.partition("charset=")[2].strip(" \"';")
    named = f'<meta charset="{charset}">'.encode() + content[:4096]  # the header's word comes first
    encoding = encoding_of(named if charset and markup else content, markup=markup)
    text = "".join(characters(BytesIO(content), encoding))
    return "".join(html_pieces([text])) if markup else text
