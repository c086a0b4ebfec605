"""What lies in a folder: the files to read in a fixed order, and what is passed over, with reasons."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tuti.run import UserError


class Source(NamedTuple):
    """A regular file; `name` is its relative path as valid text, `path` the bytes the system knows."""

    name: str
    path: bytes
    size: int
    modified: int


class Skip(NamedTuple):
    """Something not read: a whole file (line 0) or one row of it."""

    name: str
    line: int
    reason: str


def walk(roots: Sequence[Path], exclude: Path | None = None) -> tuple[list[Source], list[Skip]]:
    """All files below the roots, depth first, names in code-point order; links are followed once.

    Hidden entries, runs and artifacts of Tuti, and the folder `exclude` are passed over.
    """
    found: list[Source | Skip] = []
    seen: set[tuple[int, int]] = set()
    barred = exclude.resolve() if exclude else None
    taken: set[str] = set()
    for root in roots:
        if not root.exists():
            raise UserError(f"{root} does not exist", hint="give a folder of texts, or one text file")
        alone = len(roots) == 1 and root.is_dir()
        label = "" if alone else unused(root.resolve().name or "root", taken)
        prefix = label and label + "/"
        found += _below(root, prefix, seen, barred) if root.is_dir() else [_file(root, label)]
    sources = [item for item in found if isinstance(item, Source)]
    return sources, [item for item in found if isinstance(item, Skip)]


def unused(name: str, taken: set[str]) -> str:
    """A name that is not taken yet, and is now."""
    number, chosen = 2, name
    while chosen in taken:
        chosen, number = f"{name}~{number}", number + 1
    taken.add(chosen)
    return chosen


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _below(
    folder: Path, prefix: str, seen: set[tuple[int, int]], barred: Path | None
) -> Iterator[Source | Skip]:
    """Everything below one folder; a stack in place of recursion, so depth is no matter."""
    stack: list[tuple[Path, str, bool]] = [(folder, prefix, True)]
    while stack:
        path, name, is_folder = stack.pop()
        if not is_folder:
            yield _file(path, name)
            continue
        label = _text(name) or "."
        try:
            facts = path.stat()
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            yield Skip(label, 0, _reason(error))
            continue
        if (facts.st_dev, facts.st_ino) in seen:
            yield Skip(label, 0, "folder reached before through another link")
            continue
        seen.add((facts.st_dev, facts.st_ino))
        names = {entry.name for entry in entries}
        if "tuti.json" in names or {"events.jsonl", "config.json"} <= names:
            yield Skip(label, 0, "a run of Tuti")
            continue
        if barred is not None and path.resolve() == barred:
            yield Skip(label, 0, "the output of this run")
            continue
        for entry in reversed(entries):
            inner = name + entry.name
            if entry.name.startswith("."):
                yield Skip(_text(inner), 0, "hidden")
            else:
                is_folder = os.path.isdir(entry.path)
                stack.append((Path(entry.path), inner + "/" * is_folder, is_folder))


def _file(path: Path, raw_name: str) -> Source | Skip:
    name = _text(raw_name)
    try:
        facts = os.stat(path)
    except OSError as error:
        return Skip(name, 0, _reason(error))
    if not stat.S_ISREG(facts.st_mode):
        return Skip(name, 0, "not a regular file")
    if facts.st_size == 0:
        return Skip(name, 0, "0 bytes")
    return Source(name, os.fsencode(path), facts.st_size, facts.st_mtime_ns)


def _reason(error: OSError) -> str:
    return f"unreadable: {error.strerror or type(error).__name__}"
