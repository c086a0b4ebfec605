"""The pure functions between reading and writing: the same ones run in-process and under PySpark.

A row's place in the output depends on its content alone, a duplicate's survivor on names alone; so any
number of partitions, in any order, gives the same bytes.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tuti.run import hash_text
from tuti.systems.spark.readers import Dialogue, Passage, read
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import Skip, Source
from tuti.text import normalise, script_of

BUCKETS = 256
_WORDY = re.compile(r"[^\W_]")


class Row(NamedTuple):
    """One document or dialogue that is kept. `id`: 32 hex digits of the sha256 of its content."""

    id: str
    kind: str
    name: str
    n: int
    script: str
    body: str
    """The text; of a dialogue, its messages as JSON."""

    def bucket(self) -> int:
        """Rows of one bucket have ids in one range; buckets in order are ids in order."""
        return int(self.id[:2], 16)

    def line(self) -> str:
        """One line of JSON for the spill and the shuffle."""
        return json.dumps(self, ensure_ascii=False)

    def final(self) -> str:
        """One line of the artifact."""
        fields = {"id": self.id, "source": f"{self.name}#{self.n}", "script": self.script}
        body = (
            {"text": self.body} if self.kind == "document" else {"messages": json.loads(self.body)}
        )
        return json.dumps(fields | body, ensure_ascii=False, sort_keys=True) + "\n"


def rows_of(source: Source, limit: int, broken: float, tally: Tally) -> Iterator[Row]:
    """The rows of one file; drops and skips go into the tally."""
    tally.file(source.name, source.size)
    for item in read(source, limit):
        if isinstance(item, Skip):
            tally.skip(item)
        elif isinstance(item, Dialogue):
            if row := _dialogue(source.name, item, broken, tally):
                yield row
        elif row := _document(source.name, item, broken, tally):
            yield row


def _document(name: str, passage: Passage, broken: float, tally: Tally) -> Row | None:
    n, raw = passage
    if raw.count("\ufffd") > broken * len(raw):
        return tally.drop("broken encoding", name, n, raw)
    return document_row(name, n, normalise(raw)) or tally.drop("empty", name, n, raw)


def document_row(name: str, n: int, cleaned: str) -> Row | None:
    """The row of a cleaned text, or None where it holds no letter and no digit."""
    text = cleaned.strip("\n").rstrip()
    if not _WORDY.search(text):
        return None
    return Row(hash_text(text)[:32], "document", name, n, script_of(text), text)


def _dialogue(name: str, dialogue: Dialogue, broken: float, tally: Tally) -> Row | None:
    n, messages = dialogue
    raw = "\n".join(message["content"] for message in messages)
    if raw.count("\ufffd") > broken * len(raw):
        return tally.drop("broken encoding", name, n, raw)
    cleaned = [
        {"role": m["role"], "content": normalise(m["content"]).strip("\n")} for m in messages
    ]
    answers = "\n".join(m["content"] for m in cleaned if m["role"] == "assistant")
    if not _WORDY.search(answers):
        return tally.drop("empty", name, n, raw)
    body = json.dumps(cleaned, ensure_ascii=False)
    return Row(hash_text(body)[:32], "dialogue", name, n, script_of(answers), body)


def read_row(line: str) -> Row:
    """What `Row.line` wrote."""
    return Row(*json.loads(line))


def unique(lines: Iterable[str], tally: Tally) -> list[Row]:
    """The rows of one bucket, sorted by id, each content once: the first by (name, n) survives.

    Memory: the distinct rows of the bucket, 1/256 of the corpus.
    """
    held: dict[tuple[str, str], Row] = {}
    for row in map(read_row, lines):
        first = held.setdefault((row.id, row.kind), row)
        if first is row:
            continue
        first, later = sorted((first, row), key=lambda r: (r.name, r.n))
        held[row.id, row.kind] = first
        tally.drop("duplicate", later.name, later.n, later.body)
    for row in held.values():
        tally.keep(row.kind, len(row.body.encode()))
    return [held[key] for key in sorted(held)]
