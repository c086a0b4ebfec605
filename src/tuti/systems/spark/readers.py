"""One file → its passages, dialogues and skips, streaming; every format a corpus comes in.

Bytes → characters → passages: in bounded memory, and independent of the size of the reads.
"""

import codecs
import gzip
import io
import json
import re
import unicodedata
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple, cast

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from tuti.systems.spark.markup import html_pieces
from tuti.systems.spark.query.arrow import pa, pq
from tuti.systems.spark.tally import excerpt
from tuti.systems.spark.walk import Skip, Source

LONGEST_ROW = 8_000_000
"""Characters of one JSON row, held in memory whole: as a list of lists it takes thirty bytes for each."""
LONGEST_PAGE = 8_000_000
"""Bytes of an archive's page; a longer one is skipped, since it must be held in memory whole"""
ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
Message = dict[str, str]
BLOCK = 1 << 16
# The greedy beginning makes each find its last place first.
_BLANK = re.compile(r"(?s:.*)\n[ \t]*\n")
_LINE = re.compile(r"(?s:.*)\n")
_SENTENCE = re.compile(r"(?s:.*)(?:[.!?؟…][\"'»”’)\]]*\s|[。！？])")
_SPACE = re.compile(r"(?s:.*)\s")
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_PLAIN = b"<a \\ud83d +2AA->"
"""In UTF-7 and Python's escapes half a surrogate pair, which no text may hold"""
_MARKS = {
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),  # before UTF-16, whose mark it begins with
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


class Item(NamedTuple):
    """The n-th text of a file, or its n-th dialogue: messages in OpenAI's format, role and content only."""

    n: int
    content: str | list[Message]


def read(source: Source, limit: int) -> Iterator[Item | Skip]:
    """Everything in one file; what cannot be read is a Skip, what was read before it is kept."""
    name, n = source.name.lower().removesuffix(".gz").removesuffix(".zst"), 0
    try:
        for item in _parquet(source) if name.endswith(".parquet") else _stream(source, name, limit):
            for part in passages([item], limit) if isinstance(item, str) else [item]:
                yield part if isinstance(part, Skip) else Item(n := n + 1, part)
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
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield _content(source.name, number, row, chat=False)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        yield Skip(source.name, 0, f"damaged parquet: {error}"[:120])


def encoding_of(head: bytes, *, markup: bool = False) -> str:
    """The encoding named by a byte-order mark or (markup) a `<meta charset>`; else UTF-8."""
    for name, marks in _MARKS.items():
        if head.startswith(marks):
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
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character cut at the end is no fault
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


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
    held, size = list[str](), 0
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
