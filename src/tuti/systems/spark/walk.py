"""What lies in a folder: the files to read in a fixed order, and what is passed over, with reasons."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tuti.run import UserError


class Source(NamedTuple):
    """A regular file; `name` is its relative path as valid text, `path` as the system knows it."""

    name: str
    path: str
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
        found += _below(root, label, seen, barred)
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
    root: Path, label: str, seen: set[tuple[int, int]], barred: Path | None
) -> Iterator[Source | Skip]:
    """A file, or everything below a folder; a stack in place of recursion, so depth is no matter."""
    stack = [(root, label)]
    while stack:
        path, name = stack.pop()
        is_folder, prefix = os.path.isdir(path), name and name + "/"
        label = (_text(prefix) or ".") if is_folder else _text(name)
        try:
            facts = path.stat()
            entries = sorted(os.scandir(path), key=lambda entry: entry.name) if is_folder else []
        except OSError as error:
            yield Skip(label, 0, f"unreadable: {error.strerror or type(error).__name__}")
            continue
        names, regular = {entry.name for entry in entries}, stat.S_ISREG(facts.st_mode)
        if not is_folder and not (regular and facts.st_size):
            yield Skip(label, 0, "0 bytes" if regular else "not a regular file")
        elif not is_folder:
            yield Source(label, os.path.abspath(path), facts.st_size, facts.st_mtime_ns)
        elif (facts.st_dev, facts.st_ino) in seen:
            yield Skip(label, 0, "folder reached before through another link")
        elif "tuti.json" in names or {"events.jsonl", "config.json"} <= names:
            yield Skip(label, 0, "a run of Tuti")
        elif barred is not None and path.resolve() == barred:
            yield Skip(label, 0, "the output of this run")
        else:
            seen.add((facts.st_dev, facts.st_ino))
            for entry in reversed(entries):
                if entry.name.startswith("."):
                    yield Skip(_text(prefix + entry.name), 0, "hidden")
                else:
                    stack.append((Path(entry.path), prefix + entry.name))
