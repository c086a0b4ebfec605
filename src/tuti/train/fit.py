"""`fit`: the training loop as a generator. It yields after each update; the room decides what follows."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tuti.data import Batch
from tuti.run import UserError
from tuti.train.optimisers import Optimiser


@dataclass(frozen=True)
class Step:
    """One finished update."""

    number: int
    """Updates done so far (1 after the first)"""
    loss: float
    """Mean nats a predicted token, before the update"""
    tokens: int
    """Predicted tokens of this update, over all processes"""
    norm: float
    """Gradient norm before clipping"""
    seconds: float


def fit(
    model: nn.Module, optimiser: Optimiser, schedule: Callable[[int], float],
    batches: Callable[[int], Sequence[Batch]], loss: Callable[[nn.Module, Batch], Tensor], *, start: int,
    steps: int, total: Callable[[float], float] = lambda value: value,
    before: Callable[[bool], None] = lambda last: None,
) -> Generator[Step]:
    """Updates number `start` … `steps`, each over all micro-batches of `batches(step)`.

    `loss` returns the *summed* nats of a micro-batch. The update follows Σ nats / Σ predictions over
    the micro-batches of all processes, so k micro-batches of unequal token counts give the gradient of
    the one big batch. `total` sums a number over processes and `before` is told of each micro-batch
    whether it is the last; gradients are summed by the wrapper that `train.distributed` puts around
    the model.
    """
    for number in range(start, steps):
        began = time.monotonic()
        parts = batches(number)
        count = total(float(sum(part.num_targets for part in parts)))
        if count == 0:
            raise UserError(
                f"step {number} holds nothing to predict: every target is masked",
                hint="look at the mask: tuti doctor CONFIG",
            )
        nats = 0.0
        for place, part in enumerate(parts):
            before(place + 1 == len(parts))
            value = loss(model, part)
            (value / count).backward()
            nats += float(value.detach())
        mean = total(nats) / count
        norm = optimiser.step(schedule(number))
        if not (mean < float("inf") and norm < float("inf")):
            raise UserError(
                f"the loss became {mean} (gradient norm {norm}) at step {number}",
                hint="lower --lr; the last checkpoint is whole: --resume goes on from it",
            )
        yield Step(number + 1, mean, int(count), norm, time.monotonic() - began)


def as_dtype(precision: str) -> torch.dtype:
    """The dtype named by a config's `precision`."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}[precision]
