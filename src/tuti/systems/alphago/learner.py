"""How a network learns, whatever the stage: parts of the loss, symmetries, rounds of updates that resume."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from tuti.run import Run, UserError
from tuti.systems.alphago.net import Net
from tuti.train import AdamW, Checkpoints, Optimiser, Trapezoid, load_checkpoint


@dataclass(frozen=True, kw_only=True)
class Learning:
    """A network, and how long it learns: what stages have in common."""

    blocks: Annotated[int, Ge(1)] = 4
    """Residual blocks"""
    channels: Annotated[int, Ge(4)] = 32
    """Channels of each"""
    iterations: Annotated[int, Ge(1)] = 20
    """Rounds (of games and updates), a checkpoint after each"""
    updates: Annotated[int, Ge(1)] = 100
    """Updates a round"""
    batch: Annotated[int, Ge(1)] = 256
    """Positions an update"""
    rate: Annotated[float, Gt(0)] = 2e-3
    """Peak learning rate"""


OWNER, MARGIN = 1.0, 0.1
"""Weights of the foretold owners and lead beside policy and value (Wu 2019, 3.4)"""


def turned(batch: dict[str, Tensor], side: int, symmetry: int) -> dict[str, Tensor]:
    """A batch turned and mirrored in one of the board's eight ways."""

    def turn(x: Tensor) -> Tensor:
        x = torch.rot90(x.view(*x.shape[:-1], side, side), symmetry % 4, (-2, -1))
        return (x.flip(-1) if symmetry >= 4 else x).flatten(-2)

    made = batch | {name: turn(batch[name]) for name in ("planes", "owner") if name in batch}
    if "policy" in batch:
        made["policy"] = torch.cat((turn(batch["policy"][:, :-1]), batch["policy"][:, -1:]), 1)
    return made


def losses(net: Net, batch: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Cross-entropy in nats of the policy; mean squares of value and owners; Huber's loss of the lead.

    Of these, whatever the batch has targets for; the policy's among the moves `allowed`, if it tells them.
    """
    found = net(batch["planes"].unflatten(-1, (side, side)))
    logits = found.policy.masked_fill(batch["allowed"] == 0, -1e9) if "allowed" in batch else found.policy
    parts: dict[str, Callable[[Tensor], Tensor]] = {
        "policy": lambda target: -(target * logits.log_softmax(-1)).sum(-1).mean(),
        "value": lambda target: F.mse_loss(found.value, target),
        "owner": lambda target: OWNER * F.mse_loss(found.owner.flatten(1), target),
        "lead": lambda target: MARGIN * F.smooth_l1_loss(found.lead, target),
    }
    return {name: part(batch[name]) for name, part in parts.items() if name in batch}


def seconds_an_update(net: Net, batch: dict[str, Tensor], side: int) -> float:
    """What an update on such a batch takes on this machine, from a few; the weights stay."""
    began = 0.0
    for number in range(6):
        began = time.monotonic() if number == 1 else began  # the first warms up
        sum(losses(net.train(), batch, side).values(), torch.zeros(())).backward()
    return 1.1 * (time.monotonic() - began) / 5  # and the optimiser's part


class Learner:
    """Rounds of so many updates by AdamW; `start` is the round where a resumed run goes on."""

    def __init__(self, net: Net, run: Run, rate: float, rounds: int, updates: int):
        self.net, self.run, self.rounds, self.updates, self.start = net, run, rounds, updates, 0
        self.optimiser, self.checkpoints = Optimiser(net, AdamW(lr=rate)), Checkpoints(run)
        self.schedule = Trapezoid(rounds * updates)
        if (found := run.resume()) is not None:
            self.start, state = load_checkpoint(found)
            self.optimiser.restore(state)

    def learn(self, number: int, side: int, draw: Callable[[], dict[str, Tensor]]) -> dict[str, float]:
        """Round `number` on batches that `draw` gives; the mean of each part of the loss."""
        mean: dict[str, float] = {}
        self.net.train()
        for update in range(self.updates):
            parts = losses(self.net, draw(), side)
            sum(parts.values(), torch.zeros(())).backward()
            self.optimiser.step(self.schedule(number * self.updates + update))
            mean = {name: mean.get(name, 0.0) + value.item() / self.updates for name, value in parts.items()}
        if not np.isfinite(list(mean.values())).all():
            raise UserError(f"the loss became {mean} in iteration {number + 1}", hint="lower --rate")
        self.net.eval()
        return mean

    def save(self, done: int, **told: float) -> None:
        """A checkpoint after so many rounds; what is told of the last goes to the stream and the screen."""
        self.run.log("iteration", step=done, steps=self.rounds, **told)
        line = "  ".join(f"{name} {value:.3f}" for name, value in told.items())
        self.run.show(f"iteration {done}/{self.rounds}  {line}", passing=True)
        self.checkpoints.save(done, self.optimiser.state())
