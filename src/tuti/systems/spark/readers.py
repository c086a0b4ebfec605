"""One file → its passages, dialogues and skips, streaming; every format a corpus comes in."""

import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple, cast

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from tuti.systems.spark.markup import html_pieces
from tuti.systems.spark.passages import BLOCK, characters, encoding_of, is_text, lines, passages
from tuti.systems.spark.query.arrow import pa, pq
from tuti.systems.spark.tally import excerpt
from tuti.systems.spark.walk import Skip, Source

LONGEST_ROW = 8_000_000
"""Characters of one JSON row, held in memory whole: as a list of lists it takes thirty bytes for each."""
LONGEST_PAGE = 8_000_000
"""Bytes of an archive's page; a longer one is skipped, since it must be held in memory whole"""
ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
Message = dict[str, str]


class Passage(NamedTuple):
    """The n-th stretch of text of a file, as it was found."""

    n: int
    text: str


class Dialogue(NamedTuple):
    """The n-th item of a file: messages in OpenAI's format, role and content only."""

    n: int
    messages: list[Message]


Item = Passage | Dialogue | Skip


def read(source: Source, limit: int) -> Iterator[Item]:
    """Everything in one file; what cannot be read is a Skip, what was read before it is kept."""
    name = source.name.lower()
    for packed in (".gz", ".zst"):
        name = name.removesuffix(packed)
    n = 0
    try:
        for item in _parquet(source) if name.endswith(".parquet") else _stream(source, name, limit):
            if isinstance(item, Skip):
                yield item
            elif isinstance(item, str):
                for text in passages([item], limit):
                    yield Passage(n := n + 1, text)
            else:
                yield Dialogue(n := n + 1, item)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Skip(source.name, 0, f"damaged archive: {error}"[:120])
    except OSError as error:
        reason = error.strerror or str(error)[:120] or type(error).__name__
        yield Skip(source.name, 0, f"unreadable: {reason}")
    except (MemoryError, ImportError):  # this machine's faults, not the file's
        raise
    except Exception as error:  # whatever it is, it costs one file and not the job
        yield set_aside(source.name, 0, "reading", error)


def set_aside(name: str, n: int, doing: str, error: Exception) -> Skip:
    """What stands for an item that an error was met in; `doing` says when."""
    return Skip(name, n, f"{type(error).__name__} in {doing}: {excerpt(str(error))}")


def _stream(source: Source, name: str, limit: int) -> Iterator["str | list[Message] | Skip"]:
    with _open(source) as stream:
        if name.endswith(".warc"):
            yield from warc_texts(source.name, stream)
            return
        head = stream.read(BLOCK)  # of a packed file, perhaps less
    markup = name.endswith((".html", ".htm", ".xhtml"))
    known = markup or name.endswith((".txt", ".md", ".jsonl"))
    if not known and not is_text(head):
        yield Skip(source.name, 0, "binary")
        return
    with _open(source) as stream:
        pieces = characters(stream, encoding_of(head, markup=markup))
        if name.endswith(".jsonl"):
            yield from _rows(source.name, pieces, chat=name.endswith(".chat.jsonl"))
        else:
            yield from passages(html_pieces(pieces) if markup else pieces, limit)


@contextmanager
def _open(source: Source) -> Generator[BinaryIO]:
    name = source.name.lower()
    with open(source.path, "rb") as raw:
        if name.endswith(".gz"):
            # `read` fills what is asked for, and loses all of that where it meets damage
            yield cast(BinaryIO, SimpleNamespace(read=gzip.GzipFile(fileobj=raw).read1))
        elif name.endswith(".zst"):
            yield cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw), "zstd"))
        else:
            yield raw


def warc_texts(name: str, stream: BinaryIO) -> Iterator[str | Skip]:
    """The texts of the pages of a crawl (WARC, ISO 28500), by response; images, requests are passed over."""
    number = 0
    try:
        for record in cast(Any, ArchiveIterator)(stream):
            number += 1
            if record.rec_type not in ("response", "resource", "conversion"):
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
                yield _page(content, kind)
    except (ArchiveLoadFailed, EOFError, ValueError) as error:
        yield Skip(name, number + 1, f"damaged archive: {error}"[:120])


def _page(content: bytes, kind: str) -> str:
    markup = "html" in kind
    charset = kind.partition("charset=")[2].strip(" \"';")
    named = f'<meta charset="{charset}">'.encode() + content[:4096]  # the header's word comes first
    encoding = encoding_of(named if charset and markup else content, markup=markup)
    text = "".join(characters(io.BytesIO(content), encoding))
    return "".join(html_pieces([text])) if markup else text


def _rows(name: str, pieces: Iterator[str], *, chat: bool) -> Iterator["str | list[Message] | Skip"]:
    for number, line in enumerate(lines(pieces, LONGEST_ROW), start=1):
        if line is None:
            yield Skip(name, number, "row too long")
        if not line or not line.strip(" \t\0\ufeff"):
            continue
        try:
            row: object = json.loads(line)
        except (ValueError, RecursionError):
            yield Skip(name, number, "row is not JSON")
        else:
            yield _content(name, number, row, chat=chat)


def _content(name: str, number: int, row: object, *, chat: bool) -> "str | list[Message] | Skip":
    """What one row of JSON or parquet holds: a dialogue, else its text."""
    if not isinstance(row, dict):
        return Skip(name, number, "row is not an object")
    fields = cast(dict[str, object], row)
    if chat or fields.get("messages") is not None:
        return _messages(fields.get("messages")) or Skip(name, number, "row without valid messages")
    for key in ("text", "content"):
        if isinstance(text := fields.get(key), str):
            return _sound(text) if text else Skip(name, number, "row with an empty text")
    return Skip(name, number, "row without text")


def _messages(found: object) -> list[Message]:
    """Checked messages, or none: known roles, text contents, somebody asks and the assistant answers."""
    messages: list[Message] = []
    for item in cast(list[object], found) if isinstance(found, list) else []:
        match item:
            case {"role": str(role), "content": str(content)} if role in ROLES:
                speaker = "system" if role == "developer" else role  # one office, two names
                messages.append({"role": speaker, "content": _sound(content)})
            case _:
                return []
    spoken = {message["role"] for message in messages if message["content"].strip()}
    return messages if {"user", "assistant"} <= spoken else []


def _sound(text: str) -> str:
    """JSON can spell half a surrogate pair, which no encoding can write: it becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _parquet(source: Source) -> Iterator["str | list[Message] | Skip"]:
    try:
        file = pq.ParquetFile(source.path, memory_map=False, pre_buffer=False, buffer_size=1 << 20)
        columns: list[str] = list(file.schema_arrow.names)
        wanted = [name for name in ("messages", "text", "content") if name in columns]
        if not wanted:
            listed = ", ".join(columns[:12])
            yield Skip(source.name, 0, f"parquet without a text column (it has: {listed})"[:200])
            return
        batches = file.iter_batches(batch_size=64, columns=wanted)
        rows = chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, row in enumerate(rows, start=1):
            yield _content(source.name, number, row, chat=False)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        yield Skip(source.name, 0, f"damaged parquet: {error}"[:120])
