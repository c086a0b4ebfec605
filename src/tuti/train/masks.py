"""What of a batch is trained: as text for the eye, and answer by answer."""

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import cast

from tuti.data import IGNORED, Batch
from tuti.text import Tokenizer

SHOWN = 200
"""Tokens of the printed sample"""


def mask_text(batch: Batch, tokenizer: Tokenizer, *, colour: bool) -> str:
    """The row with most answers as text, what is trained in green (or in brackets)."""
    rows = [batch.part(slice(r, r + 1)) for r in range(len(batch.ids))]
    batch = max(rows, key=lambda row: sum(1 for _ in answers(row)))
    said: list[tuple[int, bool]] = []
    ids, targets, numbers = (
        cast(list[int], x[0].tolist()) for x in (batch.ids, batch.targets, batch.numbers)
    )
    for t in range(min(SHOWN, len(ids))):
        begins = t == 0 or numbers[t] != numbers[t - 1]
        if begins:
            if t and targets[t - 1] != IGNORED:
                said.append((targets[t - 1], True))
            if all(target == IGNORED for target in targets[t:]):
                break  # what is left of the row is filling
        said.append((ids[t], not begins and targets[t - 1] != IGNORED))
    text = ""
    begin, end = ("\x1b[32m", "\x1b[0m") if colour else ("[", "]")
    for trained, run in groupby(said, key=lambda one: one[1]):
        piece = printable(tokenizer.decode([i for i, _ in run]))
        text += f"{begin}{piece}{end}" if trained else piece
    return text


def printable(text: str) -> str:
    """The text without control characters: a corpus must not steer a terminal."""
    return "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def answers(batch: Batch) -> Iterator[list[int]]:
    """The trained ids of each answer: a run of targets inside a document.

    A run that touches the end of its row may be cut there, and is left out.
    """
    every = cast(list[list[int]], batch.targets.tolist())
    where = cast(list[list[int]], batch.numbers.tolist())
    for targets, numbers in zip(every, where, strict=True):
        run: list[int] = []
        for t, target in enumerate(targets):
            if run and (target == IGNORED or numbers[t] != numbers[t - 1]):
                yield run
                run = []
            if target != IGNORED:
                run.append(target)
