"""Sorted buckets → the Documents and WordCounts artifacts: the train/valid cut, shards, statistics."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from tuti.systems.spark.frames import Count
from tuti.systems.spark.rows import Row, rows_in

SHARD_BYTES = 256_000_000
"""Size at which another file of documents is begun"""
LEAST_SHARE, FALLBACK_SHARE = 0.01, 0.02


def sorted_rows(scratch: Path) -> Iterator[Row]:
    """All kept rows, ids ascending."""
    for path in sorted((scratch / "sorted").glob("[0-9]*")):
        yield from rows_in(path)


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


def write_documents(scratch: Path, folder: Path, cuts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Streams the sorted rows into their files; tells what each split holds (languages: in characters).

    Documents go into `<split>-00.jsonl`, `<split>-01.jsonl`, …, each begun when the one before is full.
    """
    parts: dict[str, dict[str, Any]] = {
        name: {"documents": 0, "bytes": 0, "characters": Counter(), "languages": Counter()}
        for name in ("train", "valid", "dialogues-train", "dialogues-valid")
    }
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
            part = parts[name]
            part["documents"] += 1
            part["bytes"] += len(row.body.encode())
            part["characters"][row.script] += len(row.body)
            part["languages"][row.language] += len(row.body)
    return parts


def write_counts(path: Path, counts: Iterable[Count]) -> int:
    """Writes counts.jsonl; returns the number of distinct words."""
    distinct = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for count in counts:
            file.write(json.dumps(count, ensure_ascii=False) + "\n")
            distinct += 1
    return distinct
