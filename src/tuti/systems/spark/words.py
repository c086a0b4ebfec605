"""How often each word stands in the train split; exact, on disk when the vocabulary outgrows memory."""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tuti.run import read_rows
from tuti.text import words_of

HELD = 500_000
"""Distinct words held in memory before a sorted run of them goes to disk."""
Count = tuple[str, int]


def by_frequency(count: Count) -> tuple[int, str]:
    """The order of WordCounts: most frequent first, ties by code point."""
    return -count[1], count[0]


def counted(texts: Iterable[str], scratch: Path, held: int = HELD) -> Iterator[Count]:
    """(word, n) of all texts in the order of WordCounts."""
    total: Counter[str] = Counter()
    runs: list[Path] = []
    for text in texts:
        total.update(words_of(text))
        if len(total) > held:
            runs.append(_write_run(scratch / f"words-{len(runs):05d}", sorted(total.items())))
            total.clear()
    if not runs:
        return iter(sorted(total.items(), key=by_frequency))
    runs.append(_write_run(scratch / f"words-{len(runs):05d}", sorted(total.items())))
    summed = _summed(heapq.merge(*map(_read_run, runs)))
    return _sorted_on_disk(summed, scratch, by_frequency, held)


def _summed(counts: Iterable[Count]) -> Iterator[Count]:
    for word, group in groupby(counts, key=lambda count: count[0]):
        yield word, sum(n for _, n in group)


def _sorted_on_disk(
    counts: Iterable[Count], scratch: Path, key: Callable[[Count], Any], held: int
) -> Iterator[Count]:
    runs: list[Path] = []
    part: list[Count] = []
    for count in counts:
        part.append(count)
        if len(part) > held:
            runs.append(_write_run(scratch / f"order-{len(runs):05d}", sorted(part, key=key)))
            part = []
    return heapq.merge(*map(_read_run, runs), sorted(part, key=key), key=key)


def _write_run(path: Path, counts: Iterable[Count]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(count, ensure_ascii=False) + "\n" for count in counts)
    return path


def _read_run(path: Path) -> Iterator[Count]:
    return ((word, n) for word, n in read_rows(path))
