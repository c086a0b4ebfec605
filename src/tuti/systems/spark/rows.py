"""The pure functions between reading and writing: the same ones run in-process and under PySpark.

A row's place in the output depends on its content alone; of equal ones the first by file name gives it its
source. So any number of partitions, in any order, gives the same bytes.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from tuti.run import hash_text, read_rows
from tuti.systems.spark.clean import Cleaning, clean, is_broken
from tuti.systems.spark.readers import Item, Message, read, set_aside
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import Skip, Source
from tuti.text import has_words, script_of


class Row(NamedTuple):
    """One document or dialogue that is kept. `id`: 32 hex digits of the sha256 of its content."""

    id: str
    kind: str
    name: str
    n: int
    script: str
    language: str
    """ISO 639 code, or und"""
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
        fields |= {"language": self.language}
        body = {"text": self.body} if self.kind == "document" else {"messages": json.loads(self.body)}
        return json.dumps(fields | body, ensure_ascii=False, sort_keys=True) + "\n"


def rows_of(source: Source, limit: int, how: Cleaning, tally: Tally) -> Iterator[Row]:
    """The rows of one file, in texts of at most `limit` characters; drops and skips go into the tally."""
    tally.file(source.size)
    for item in read(source, limit):
        if isinstance(item, Skip):
            tally.skip(item)
        elif row := _row(source.name, item, how, tally):
            yield row


def _row(name: str, item: Item, how: Cleaning, tally: Tally) -> Row | None:
    """The row of one item, or None where a rule dropped it, or an error in cleaning it."""
    try:
        if not isinstance(item.content, str):
            return _dialogue(name, item.n, item.content, how, tally)
        cleaned = clean(item.content, how)
        row = None if cleaned.rule else document_row(name, item.n, cleaned.text, cleaned.language)
        return row or tally.drop(cleaned.rule or "empty", name, item.n, item.content)
    except (OSError, MemoryError, ImportError):  # this machine's faults: on another it would be kept
        raise
    except Exception as error:  # whatever it is, it costs one document and not the job
        return tally.skip(set_aside(name, item.n, "cleaning", error))


def document_row(name: str, n: int, cleaned: str, language: str) -> Row | None:
    """The row of a cleaned text, or None where it holds no letter and no digit."""
    text = cleaned.strip("\n").rstrip()
    if not has_words(text):
        return None
    return Row(hash_text(text)[:32], "document", name, n, script_of(text), language, text)


def _dialogue(name: str, n: int, messages: list[Message], how: Cleaning, tally: Tally) -> Row | None:
    """A dialogue, its contents edited as texts are; of the rules only those for language and letters hold."""
    how = replace(how, genre="any")
    raw = "\n".join(message["content"] for message in messages)
    spoken = clean("\n".join(m["content"] for m in messages if m["role"] == "assistant"), how)
    if rule := "broken encoding" if is_broken(raw) else spoken.rule:
        return tally.drop(rule, name, n, raw)

    def language(_: str) -> tuple[str, float]:
        return spoken.language, 1.0  # a message alone may be too short to tell by

    how = replace(how, languages=frozenset(), identify=language)
    cleaned = [{"role": m["role"], "content": clean(m["content"], how).text} for m in messages]
    body = json.dumps(cleaned, ensure_ascii=False)
    return Row(hash_text(body)[:32], "dialogue", name, n, script_of(spoken.text), spoken.language, body)


def read_row(line: str) -> Row:
    """What `Row.line` wrote."""
    return Row(*json.loads(line))


def rows_in(path: Path) -> Iterator[Row]:
    """The rows of a bucket on disk."""
    return starmap(Row, read_rows(path))


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
    return [held[key] for key in sorted(held)]
