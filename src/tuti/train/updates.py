"""The updates of a training stage, from its newest checkpoint on: reported, checkpointed, measured."""

from collections.abc import Callable
from typing import Protocol

from tuti.data import Batch
from tuti.nn import Decoder
from tuti.run import Run
from tuti.train.checkpoints import Checkpoints
from tuti.train.distributed import Processes
from tuti.train.fit import Step, as_dtype, fit
from tuti.train.optimisers import Optimiser
from tuti.train.parts import Parts


class Updates(Protocol):
    """What the configs of training stages have in common."""

    @property
    def steps(self) -> int: ...
    @property
    def every(self) -> int: ...
    @property
    def precision(self) -> str: ...


def train(
    made: Parts, config: Updates, run: Run, group: Processes, measure: Callable[[Decoder, int], None], *,
    measure_first: bool = False,
) -> Optimiser:
    """Updates `made.model`; the first process checkpoints and measures every `config.every` updates.

    `measure_first`: before the first update, too. After the last one the caller measures.
    """
    model = made.model.to(group.device, as_dtype(config.precision))
    wrapped = group.wrap(model)
    optimiser = Optimiser(model, made.optimiser)
    checkpoints, start = Checkpoints(run), group.resume(optimiser, run)
    if measure_first and start == 0:
        measure(model, 0)

    def batches(step: int) -> list[Batch]:
        return [batch.to(group.device) for batch in group.share(made.batches(step))]

    updates = fit(
        wrapped, optimiser, made.schedule, batches, made.loss, start=start, steps=config.steps,
        total=group.total, before=group.before(wrapped),
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
    return optimiser


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
