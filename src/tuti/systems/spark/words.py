"""How often each word stands in the train split; exact, on disk when the vocabulary outgrows memory."""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tuti.text import split
from tuti.text.split import LONGEST_WORD

HELD = 500_000
"""Distinct words held in memory before a sorted run of them goes to disk."""
Count = tuple[str, int]


def by_frequency(count: Count) -> tuple[int, str]:
    """The order of WordCounts: most frequent first, ties by code point."""
    return -count[1], count[0]


def words_of(text: str) -> list[str]:
    """What `count_words` counts, in order: the pre-tokens that are not too long to be words."""
    words = split(text)
    if max(map(len, words), default=0) > LONGEST_WORD:
        return [word for word in words if len(word) <= LONGEST_WORD]
    return words


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
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            word, n = json.loads(line)
            yield word, n
