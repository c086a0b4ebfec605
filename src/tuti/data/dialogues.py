"""Dialogues and held-out documents → batches in which only some of the tokens are scored: of dialogues the
answers, several laid into a row without attending across.

The rows of an epoch are a pure function of (dialogues, context, seed, epoch): resuming needs only n.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from tuti.data.packing import IGNORED, Batch
from tuti.data.shards import Tokens

OPEN_ROWS = 32
"""Rows that are tried before another is begun"""


@dataclass(frozen=True)
class Dialogue:
    """A rendered conversation; `said` marks the ids that the assistant says, its stop tokens included."""

    ids: Sequence[int]
    said: Sequence[bool]

    @property
    def predictions(self) -> int:
        """Ids that count in the loss (the first id of all is never predicted)."""
        return sum(self.said[1:])

    def cut(self, context: int) -> "Dialogue | None":
        """What fits into one row; None where no answer is left in it."""
        short = Dialogue(self.ids[: context + 1], self.said[: context + 1])
        return short if short.predictions else None


class PackedDialogues:
    """Dialogues in a random order, best-fit into rows of `context` predictions."""

    def __init__(self, dialogues: Sequence[Dialogue], context: int, seed: int) -> None:
        assert dialogues and all(1 < len(d.ids) <= context + 1 for d in dialogues)
        self.dialogues, self.context, self.seed = dialogues, context, seed
        self.rows = lru_cache(maxsize=1)(self._drawn)
        self.rows_per_epoch = len(self.rows(0))

    def _drawn(self, epoch: int) -> list[list[int]]:
        """Which dialogues lie in each row of an epoch; each dialogue lies in one."""
        done: list[list[int]] = []
        opened: list[tuple[int, list[int]]] = []
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dialogues))
        for number in map(int, order):
            size = len(self.dialogues[number].ids) - 1
            fitting = [(room, at) for at, (room, _) in enumerate(opened) if room >= size]
            _, at = min(fitting, default=(0, len(opened)))
            if at == len(opened):
                opened.append((self.context, []))
            opened[at] = (opened[at][0] - size, [*opened[at][1], number])
            if len(opened) > OPEN_ROWS:
                done.append(opened.pop(min(range(len(opened)), key=lambda at: opened[at][0]))[1])
        return done + [row for _, row in opened]

    def batch(self, first: int, count: int) -> Batch:
        """Rows `first … first + count` of the endless stream of epochs (a short epoch wraps around)."""
        chosen: list[list[int]] = []
        for n in range(first, first + count):
            rows = self.rows(n // self.rows_per_epoch)
            chosen.append(rows[n % self.rows_per_epoch % len(rows)])
        return pack([[self.dialogues[number] for number in row] for row in chosen], self.context)


def pack(rows: Sequence[Sequence[Dialogue]], context: int) -> Batch:
    """Each row's dialogues end to end; the rest of a row is a document that predicts nothing."""
    ids = torch.zeros(len(rows), context, dtype=torch.long)
    targets = torch.full_like(ids, IGNORED)
    documents = torch.zeros_like(ids)
    for r, row in enumerate(rows):
        at = 0
        for piece, dialogue in enumerate(row):
            size = len(dialogue.ids) - 1
            there = slice(at, at + size)
            given = torch.as_tensor(dialogue.ids)
            ids[r, there], documents[r, there] = given[:-1], piece
            said = torch.as_tensor(dialogue.said)[1:]
            targets[r, there] = torch.where(said, given[1:], IGNORED)
            at += size
        documents[r, at:] = len(row)
    return Batch(ids, targets, documents)


def join(first: Batch, second: Batch) -> Batch:
    """The rows of two batches of one context in one."""
    assert first.dropout is None and second.dropout is None
    ids, targets = torch.cat([first.ids, second.ids]), torch.cat([first.targets, second.targets])
    return Batch(ids, targets, torch.cat([first.numbers, second.numbers]))


def held_out_rows(
    tokens: Tokens, context: int, rows: int, documents: int
) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """The first documents, each in rows of its own, with the document number of each row."""
    numbered = _stretches(tokens, context, documents)
    while taken := list(islice(numbered, rows)):
        yield pack([[stretch] for _, stretch in taken], context), np.asarray([number for number, _ in taken])


def _stretches(tokens: Tokens, context: int, documents: int) -> Iterator[tuple[int, Dialogue]]:
    """Documents by their numbers, in stretches that fit a row where they are longer than one.

    Each begins with the last half context of the one before as reading matter, so that its tokens are not
    predicted from nothing.
    """
    for number in range(documents):
        ids: list[int] = tokens.document(number).tolist()
        begin, done = 0, 1  # the leading end id is given, not predicted
        while done < len(ids):
            row = ids[begin : begin + context + 1]
            yield number, Dialogue(row, [place >= done for place in range(begin, begin + len(row))])
            done = begin + len(row)
            begin = done - context // 2


def scored_dialogues(
    dialogues: Sequence[Dialogue], tokens: int = 4096
) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """Every dialogue in a row of its own, those of like length together, with their numbers."""
    sizes = [len(dialogue.ids) - 1 for dialogue in dialogues]
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    while order:
        most = next((c for c, n in enumerate(order) if c and (c + 1) * sizes[n] > tokens), len(order))
        held = order[:most]
        yield pack([[dialogues[n]] for n in held], sizes[held[-1]]), np.asarray(held)
        del order[:most]
