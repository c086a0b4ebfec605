"""Sorted buckets → the Documents and WordCounts artifacts: the train/valid cut, shards, statistics."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tuti.systems.spark.buckets import iterate_lines
from tuti.systems.spark.frames import Count
from tuti.systems.spark.rows import Row, read_row

SHARD_BYTES = 256_000_000
"""Size at which another file of documents is begun"""
LEAST_SHARE, FALLBACK_SHARE = 0.01, 0.02


def sorted_rows(scratch: Path) -> Iterator[Row]:
    """All kept rows, ids ascending."""
    for path in sorted((scratch / "sorted").glob("[0-9]*")):
        for line in iterate_lines(path):
            yield read_row(line)


def cut_id(rows: Iterable[Row], kind: str, total: int, count: int, share: float) -> str:
    """The first id of the train split; all of `kind` before it are held out.

    An id is a hash of the content, so ids below the fraction `share` are a fixed sample of the contents.
    Where these are nothing or under 1 % of the bytes, the lowest ids until 2 % are taken. The last item
    is never held out, so that train is not empty.
    """
    bound = f"{min(int(share * 2**64), 2**64 - 1):016x}"
    taken, enough = 0, 0.0
    of_kind = (row for row in rows if row.kind == kind)
    for number, row in enumerate(of_kind, start=1):
        if row.id >= bound and not enough:
            enough = LEAST_SHARE * total if taken >= LEAST_SHARE * total else FALLBACK_SHARE * total
        if number == count or (row.id >= bound and taken >= enough):
            return row.id
        taken += len(row.body.encode())
    return ""


@dataclass
class Part:
    """What one split holds."""

    documents: int = 0
    bytes: int = 0
    characters: dict[str, int] = field(default_factory=dict[str, int])
    """By script"""
    languages: dict[str, int] = field(default_factory=dict[str, int])
    """Characters by language"""

    def add(self, row: Row) -> None:
        """Counts one row, its characters under its script and its language."""
        self.documents += 1
        self.bytes += len(row.body.encode())
        for counts, key in ((self.characters, row.script), (self.languages, row.language)):
            counts[key] = counts.get(key, 0) + len(row.body)


def write_documents(scratch: Path, folder: Path, cuts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Streams the sorted rows into their files; returns the statistics of each split.

    Documents go into `<split>-00.jsonl`, `<split>-01.jsonl`, …, each begun when the one before is full.
    """
    parts = {name: Part() for name in ("train", "valid", "dialogues-train", "dialogues-valid")}
    with ExitStack() as stack:

        def begin(name: str, number: int = 0) -> BinaryIO:
            file = f"{name}.jsonl" if name.startswith("dialogues") else f"{name}-{number:02d}.jsonl"
            return stack.enter_context(open(folder / file, "wb"))

        files, numbers = {name: begin(name) for name in parts}, Counter[str]()
        for row in sorted_rows(scratch):
            name = "valid" if row.id < cuts[row.kind] else "train"
            name, line = name if row.kind == "document" else f"dialogues-{name}", row.final().encode()
            size = files[name].tell() if row.kind == "document" else 0
            if size and size + len(line) > SHARD_BYTES:
                files[name].close()
                numbers[name] += 1
                files[name] = begin(name, numbers[name])
            files[name].write(line)
            parts[name].add(row)
    return {name: asdict(part) for name, part in parts.items()}


def write_counts(path: Path, counts: Iterable[Count]) -> int:
    """Writes counts.jsonl; returns the number of distinct words."""
    distinct = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for count in counts:
            file.write(json.dumps(count, ensure_ascii=False) + "\n")
            distinct += 1
    return distinct
