"""Packing: documents cut and laid end to end into rows of one context, never attending across.

A plan of rows is a pure function of (tokens, context, seed, epoch), and batch number n is a pure
function of the plan: resuming at step n needs no state but n. Each document keeps its leading end id
(it starts the text and, seen from the document before, ends it).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from tuti.data.shards import Tokens
from tuti.run import UserError

IGNORED = -100
REPEATS = 30
"""Times that a small group's text is read at most, for the sake of balance"""


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
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


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
        self._drawn = lru_cache(maxsize=1)(self._draw)

    def _draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """The order of one epoch: every document `weights` times, the fraction left to chance.

        With the place at which each begins, and the end; and the place of the first row, which is random, so
        that rows are not cut at the same places in every epoch.
        """
        chance = np.random.default_rng((self.seed, epoch))
        repeats = np.ones(len(self.tokens), dtype=np.int64)
        if self.weights is not None:
            whole = np.floor(self.weights)
            extra = chance.random(len(repeats)) < self.weights - whole
            repeats = whole.astype(np.int64) + extra
        order = chance.permutation(np.repeat(np.arange(len(self.tokens)), repeats))
        begins = np.append(0, np.diff(self.tokens.starts)[order].cumsum())
        return order, begins, int(chance.integers(self.context))

    def row(self, epoch: int, number: int) -> NDArray[np.int64]:
        """[context + 1, 3] of one row: ids, which piece of the row, which document; short epochs wrap."""
        order, begins, phase = self._drawn(epoch)
        first = phase + number * self.context
        places: NDArray[np.int64] = np.arange(first, first + self.context + 1) % begins[-1]
        which = np.searchsorted(begins, places, side="right") - 1
        offsets, documents = places - begins[which], order[which]
        pieces = np.cumsum(offsets == 0)
        ids = self.tokens.ids[self.tokens.starts[documents] + offsets]
        return np.stack([ids, pieces - pieces[0], documents], axis=1)

    def batch(self, first: int, count: int) -> Batch:
        """Rows `first … first + count` of the endless stream of epochs."""
        # Rows in one epoch without weights (the drawn epochs differ by a few rows).
        per_epoch = max(1, len(self.tokens.ids) // self.context)
        numbers = range(first, first + count)
        rows = np.stack([self.row(n // per_epoch, n % per_epoch) for n in numbers])
        columns = torch.from_numpy(rows)
        pieces = columns[:, :-1, 1].clone()
        # A document's end id is predicted from its last token.
        batch = Batch(columns[:, :-1, 0].clone(), columns[:, 1:, 0].clone(), pieces if pieces.any() else None)
        if self.dropout is None:
            return batch
        probability = torch.from_numpy(self.dropout[rows[:, :-1, 2]].astype(np.float32))
        seeds = (np.random.SeedSequence((self.seed, n)).generate_state(1, np.uint64)[0] for n in numbers)
        return replace(batch, dropout=probability, seeds=tuple(int(seed >> 1) for seed in seeds))


def update_batches(
    tokens: Tokens, context: int, rows: int, micro: int, steps: int, seed: int, balance: float = 1.0,
    dropout: float = 0.0,
) -> Callable[[int], list[Batch]]:
    """The micro-batches of update n, a pure function of n: `rows` packed rows in `micro` equal parts."""
    epochs = steps * rows * context / len(tokens.ids)
    weights = draw_weights(tokens, balance, epochs)
    packed = PackedRows(tokens, context, seed, weights, dropout * tiredness(weights * epochs))
    share = rows // micro
    if share * micro != rows:
        what = f"{rows} rows do not make {micro} equal micro-batches"
        raise UserError(what, hint=f"--rows {max(1, share) * micro}")

    def batches(step: int) -> list[Batch]:
        first = step * rows
        return [packed.batch(first + n * share, share) for n in range(micro)]

    return batches


def draw_weights(tokens: Tokens, balance: float, epochs: float = 1.0) -> NDArray[np.float64]:
    """How often each document is drawn an epoch, so that small groups are not drowned.

    Group g has the share p(g) of the bytes; it is drawn with p(g)^balance, renormalised so that an
    epoch keeps its length (temperature sampling, Conneau et al. 2020, section 3.1). But no group is
    read more than `REPEATS` times in all, unless the whole corpus is: text read more often than that
    teaches next to nothing (Muennighoff et al. 2023, section 6), and others need the time.
    """
    total = np.bincount(tokens.groups, weights=tokens.bytes, minlength=len(tokens.names))
    share = np.maximum(total / total.sum(), 1e-12)
    weights = share**balance / (share**balance).sum() / share
    limit = max(1.0, REPEATS / epochs)
    for _ in share:  # capping one group gives to the others, who may reach the limit by that
        capped = weights >= limit
        if not capped.any() or capped.all():
            break
        weights[capped] = limit
        weights[~capped] *= (1 - limit * share[capped].sum()) / (weights * share)[~capped].sum()
    return np.minimum(weights, limit)[tokens.groups]


def tiredness(passes: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the dropout a document gets that is read so often: nothing up to 4 times, all from 12.

    Four readings are worth as much as new text, later ones less and less (Muennighoff et al. 2023); it is
    then that a model begins to learn by heart.
    """
    return np.clip((passes - 4) / 8, 0, 1)
