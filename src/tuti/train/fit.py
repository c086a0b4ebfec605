"""The updates of a training stage, from its newest checkpoint on: reported, checkpointed, measured."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tuti.data import Batch
from tuti.nn import Decoder, Dropout, nll
from tuti.run import Run, UserError
from tuti.train.checkpoints import Checkpoints
from tuti.train.distributed import Processes
from tuti.train.optimisers import AdamW, Muon, Optimiser

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What a config's `precision` names"""


@dataclass(frozen=True)
class Parts:
    """A stage before its first update: what its `parts(config, run)` returns, and `tuti doctor` examines."""

    model: Decoder
    batches: Callable[[int], Sequence[Batch]]
    """The micro-batches of an update, a pure function of its number"""
    loss: Callable[[nn.Module, Batch], Tensor]
    """Summed nats of a micro-batch"""
    schedule: Callable[[int], float]
    """The share of the peak learning rate at an update"""
    optimiser: AdamW | Muon


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Summed nats of a batch; neither documents nor dialogues attend across."""
    dropout = None if batch.dropout is None else Dropout(batch.dropout, batch.seeds)
    return nll(model, batch.ids, batch.targets, batch.documents, dropout)


@dataclass(frozen=True)
class Trapezoid:
    """Linear warm-up, a plateau, and a linear decay to `floor` over the last `decay` of the steps.

    The warmup–stable–decay schedule (Hu et al. 2024, MiniCPM, section 4). Never below 0: a step beyond
    the end keeps the floor.
    """

    steps: int
    warmup: int = 0
    decay: float = 0.5
    floor: float = 0.02

    def __call__(self, step: int) -> float:
        """The multiplier of the update number `step` (from 0), between 0 and 1."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall_steps = max(1.0, self.decay * self.steps)
        fall = min(1.0, max(0.0, (self.steps - step) / fall_steps))
        return min(rise, self.floor + (1 - self.floor) * fall)


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
) -> Generator[Step]:
    """Updates number `start` … `steps`, each over all micro-batches of `batches(step)`, yielded one by one.

    `loss` returns the *summed* nats of a micro-batch. The update follows Σ nats / Σ predictions over
    the micro-batches of all processes, so k micro-batches of unequal token counts give the gradient of
    the one big batch. `total` sums a number over processes; gradients are summed by the wrapper that
    `train.distributed` puts around the model.
    """
    for number in range(start, steps):
        began = time.monotonic()
        parts = batches(number)
        count = total(float(sum(part.num_targets for part in parts)))
        if count == 0:
            what = f"step {number} holds nothing to predict: every target is masked"
            raise UserError(what, hint="look at the mask: tuti doctor CONFIG")
        nats = 0.0
        for place, part in enumerate(parts):
            if isinstance(model, DistributedDataParallel):  # copies exchange gradients with the last one only
                model.require_backward_grad_sync = place + 1 == len(parts)
            value = loss(model, part)
            (value / count).backward()
            nats += float(value.detach())
        mean = total(nats) / count
        norm = optimiser.step(schedule(number))
        if not (mean < float("inf") and norm < float("inf")):
            what = f"the loss became {mean} (gradient norm {norm}) at step {number}"
            raise UserError(what, hint="lower --lr; the last checkpoint is whole: --resume goes on from it")
        yield Step(number + 1, mean, int(count), norm, time.monotonic() - began)


@dataclass(frozen=True, kw_only=True)
class Updates:
    """What the configs of training stages have in common."""

    context: Annotated[int, Ge(16)] = 256
    """Tokens a row (at most the model's)"""
    rows: Annotated[int, Ge(1)] = 16
    """Rows an update"""
    steps: Annotated[int, Ge(1)] = 1000
    """Updates"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights and activations; the masters are fp32 always"""
    every: Annotated[int, Ge(1)] = 200
    """Updates between checkpoints, held-out measurements and samples"""


def train(
    made: Parts, config: Updates, context: int, run: Run, group: Processes, measure: Callable[..., None],
    save: Callable[[Decoder, Optimiser], None], *, measure_first: bool = False,
) -> None:
    """Updates `made.model`; the first process checkpoints and measures every `config.every` updates.

    After the last one it measures with `last=True`, and saves; `measure_first`: before the first one, too.
    """
    model = made.model.to(group.device, DTYPES[config.precision])
    wrapped = group.wrap(model)
    optimiser = Optimiser(model, made.optimiser)
    checkpoints, start = Checkpoints(run), group.resume(optimiser, run)
    if measure_first and start == 0:
        measure(model, 0)
    updates = fit(
        wrapped, optimiser, made.schedule,
        lambda step: [batch.to(group.device) for batch in group.share(made.batches(step))],
        made.loss, start=start, steps=config.steps, total=group.total,
    )
    for step in updates:
        report(step, config.steps, run)
        if step.number % config.every == 0 and step.number < config.steps:
            state = group.gather(optimiser.state())
            with group.whole(model) as whole:
                if whole is not None:
                    checkpoints.save(step.number, state)
                    measure(whole, step.number)
    checkpoints.wait()
    frozen = any(not weight.requires_grad for weight in model.parameters())
    share = 2 / 3 if frozen else 1  # such matrices need no gradients of their own
    predicted = config.steps * config.rows * context
    run.log("cost", flops=share * model.config.flops_per_token(context) * predicted)
    with group.whole(model) as whole:
        if whole is not None:
            measure(whole, config.steps, last=True)
            save(whole, optimiser)


def report(step: Step, steps: int, run: Run) -> None:
    """One line a step on the screen, one event in the stream."""
    left = (steps - step.number) * step.seconds
    run.show(
        f"step {step.number}/{steps}  loss {step.loss:.3f}  {step.tokens / step.seconds:,.0f} tok/s  "
        f"{left / 60:.1f} min left",
        passing=True,
    )
    run.log(
        "step", step=step.number, steps=steps, loss=round(step.loss, 6), norm=round(step.norm, 4),
        tokens=step.tokens, seconds=round(step.seconds, 4),
    )
