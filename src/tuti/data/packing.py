"""Packing: documents cut and laid end to end into rows of one context, never attending across.

A plan of rows is a pure function of (tokens, context, seed, epoch), and batch number n is a pure
function of the plan: resuming at step n needs no state but n. Each document keeps its leading end id
(it starts the text and, seen from the document before, ends it).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from tuti.data.shards import Tokens

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Rows of ids, the ids to predict, and each position's document number within its row."""

    ids: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    documents: Int[Tensor, "batch time"] | None
    dropout: Float[Tensor, "batch time"] | None = None
    """Probability with which each position's channels are dropped in training"""
    seeds: tuple[int, ...] = ()
    """With `dropout`: what each row draws from"""

    @property
    def num_targets(self) -> int:
        """Positions that count in the loss."""
        return int((self.targets != IGNORED).sum())

    @property
    def numbers(self) -> Tensor:
        """`documents`; zeros where there is one document a row."""
        return torch.zeros_like(self.ids) if self.documents is None else self.documents

    def part(self, rows: slice, time: slice = slice(None)) -> "Batch":
        """Some of its rows, or a stretch of each, without dropout."""
        return Batch(self.ids[rows, time], self.targets[rows, time], self.numbers[rows, time])

    def to(self, device: str) -> "Batch":
        """The same batch on a device."""
        moved = {
            name: value.to(device)
            for name in ("ids", "targets", "documents", "dropout")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)


class PackedRows:
    """All documents of a split in a random order, cut into rows of `context` predicted tokens."""

    def __init__(
        self, tokens: Tokens, context: int, seed: int, weights: NDArray[np.float64] | None = None,
        dropout: NDArray[np.float64] | None = None,
    ) -> None:
        """weights: how often each document is drawn an epoch. dropout: each document's probability."""
        self.tokens, self.context, self.seed = tokens, context, seed
        self.weights = weights
        self.dropout = dropout if dropout is not None and dropout.any() else None
        self._draw(0)

    def _draw(self, epoch: int) -> None:
        """The order of one epoch: every document `weights` times, the fraction left to chance."""
        chance = np.random.default_rng((self.seed, epoch))
        repeats = np.ones(len(self.tokens), dtype=np.int64)
        if self.weights is not None:
            whole = np.floor(self.weights)
            extra = chance.random(len(repeats)) < self.weights - whole
            repeats = whole.astype(np.int64) + extra
        order = np.repeat(np.arange(len(self.tokens)), repeats)
        self._order = chance.permutation(order)
        lengths = np.diff(self.tokens.starts)[self._order]
        self._begins = np.concatenate([[0], np.cumsum(lengths)])
        # A random phase, so that rows are not cut at the same places in every epoch.
        self._phase = int(chance.integers(self.context))
        self._epoch = epoch

    def rows_per_epoch(self) -> int:
        """Rows in one epoch without weights (the drawn epochs differ by a few rows)."""
        return max(1, len(self.tokens.ids) // self.context)

    def row(self, epoch: int, number: int) -> NDArray[np.int64]:
        """[context + 1, 3] of one row: ids, which piece of the row, which document; short epochs wrap."""
        if epoch != self._epoch:
            self._draw(epoch)
        total = int(self._begins[-1])
        place = (self._phase + number * self.context) % total
        needed = self.context + 1
        parts: list[NDArray[np.int64]] = []
        which = int(np.searchsorted(self._begins, place, side="right")) - 1
        piece = 0
        while needed > 0:
            document = int(self._order[which % len(self._order)])
            start = int(self.tokens.starts[document]) + place - int(self._begins[which])
            ids = self.tokens.ids[start : min(int(self.tokens.starts[document + 1]), start + needed)]
            own = np.broadcast_to(np.array([0, piece, document]), (len(ids), 3)).copy()
            own[:, 0] = ids
            parts.append(own)
            needed -= len(ids)
            piece += 1
            which = (which + 1) % len(self._order)
            place = int(self._begins[which])
        return np.concatenate(parts)

    def batch(self, first: int, count: int) -> Batch:
        """Rows `first … first + count` of the endless stream of epochs."""
        per_epoch = self.rows_per_epoch()
        numbers = range(first, first + count)
        rows = np.stack([self.row(n // per_epoch, n % per_epoch) for n in numbers])
        batch = make_batch(rows)
        if self.dropout is None:
            return batch
        probability = torch.from_numpy(self.dropout[rows[:, :-1, 2]].astype(np.float32))
        return replace(batch, dropout=probability, seeds=tuple(row_seed(self.seed, n) for n in numbers))


def row_seed(seed: int, number: int) -> int:
    """A seed for one row of the stream, of 63 bits."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def make_batch(rows: NDArray[np.int64]) -> Batch:
    """[rows, context + 1, 2 or 3] → a batch. A document's end id is predicted from its last token."""
    ids = torch.from_numpy(rows[:, :-1, 0].copy())
    targets = torch.from_numpy(rows[:, 1:, 0].copy())
    documents = torch.from_numpy(rows[:, :-1, 1].copy())
    return Batch(ids, targets, documents if bool((documents > 0).any()) else None)


def held_out_rows(
    tokens: Tokens, context: int, rows: int, documents: int
) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """The first documents, each in rows of its own, with the document number of each row.

    A document longer than the context is scored in stretches: each begins with the last half context
    of the one before as reading matter, so that its tokens are not predicted from nothing.
    """
    stride = context // 2
    pending: list[NDArray[np.int64]] = []
    numbers: list[int] = []
    for number in range(documents):
        ids = tokens.document(number)
        done = 1  # the leading end id is given, not predicted
        while done < len(ids):
            begin = 0 if done == 1 else done - stride
            end = min(len(ids), begin + context + 1)
            row = np.full((context + 1, 2), 0, dtype=np.int64)
            row[: end - begin, 0] = ids[begin:end]
            row[: done - begin, 1] = 1
            row[end - begin :, 1] = 1
            pending.append(row)
            numbers.append(number)
            done = end
            if len(pending) == rows:
                yield _scored(np.stack(pending)), np.asarray(numbers)
                pending, numbers = [], []
    if pending:
        yield _scored(np.stack(pending)), np.asarray(numbers)


def _scored(rows: NDArray[np.int64]) -> Batch:
    """Rows whose second column marks the tokens that are given rather than predicted."""
    ids = torch.from_numpy(rows[:, :-1, 0].copy())
    targets = torch.from_numpy(rows[:, 1:, 0].copy())
    given = torch.from_numpy(rows[:, 1:, 1].copy()).bool()
    return Batch(ids, targets.masked_fill(given, IGNORED), None)
