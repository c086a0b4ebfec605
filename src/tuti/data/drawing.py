"""The rows of each update, a pure function of its number; how often each document is drawn for them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tuti.data.packing import Batch, PackedRows
from tuti.data.shards import Tokens
from tuti.run import UserError

REPEATS = 30
"""Times that a small group's text is read at most, for the sake of balance"""


def update_batches(
    tokens: Tokens, context: int, rows: int, micro: int, steps: int, seed: int, balance: float = 1.0,
    dropout: float = 0.0,
) -> Callable[[int], list[Batch]]:
    """The micro-batches of update number n: `rows` packed rows in `micro` equal parts."""
    epochs = steps * rows * context / len(tokens.ids)
    weights = draw_weights(tokens, balance, epochs)
    packed = PackedRows(tokens, context, seed, weights, dropout * tiredness(weights * epochs))
    share = rows // micro
    if share * micro != rows:
        raise UserError(
            f"{rows} rows do not make {micro} equal micro-batches", hint=f"--rows {max(1, share) * micro}"
        )

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
