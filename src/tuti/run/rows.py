"""Artifacts that are rows of JSON lines, for every room that reads them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuti.run.errors import UserError


def read_rows(path: Path) -> Iterator[Any]:
    """The rows of a file, one by one; only a newline ends one. A damaged file is refused."""
    try:
        with open(path, encoding="utf-8", newline="\n") as lines:
            yield from map(json.loads, lines)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="tuti spark prepare FOLDER") from error


def read_documents(folder: Path, split: str) -> Iterator[dict[str, str]]:
    """The rows of one split of a Documents artifact: id, source, script, text; in the order of a hash."""
    shards = folder.glob(f"{split}-*.jsonl")
    for path in sorted(shards, key=lambda path: int(path.stem.rpartition("-")[2])):
        yield from read_rows(path)
