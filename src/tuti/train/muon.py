"""Muon on weights that FSDP2 has sharded: the same update, with one gathering a matrix.

`torch.optim.Muon` runs on sharded matrices too, but every product of its Newton–Schulz iteration then
communicates (fifteen times a matrix; ten times slower on two processes).
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class ShardedMuon:
    """`torch.optim.Muon` (Nesterov) for sharded matrices; momenta and updates of weights stay sharded."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        lr: float,
        weight_decay: float,
        momentum: float,
        iterations: int,
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(weights), "lr": lr}]
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.weight_decay, self.momentum, self.iterations = weight_decay, momentum, iterations

    @torch.no_grad()
    def step(self) -> None:
        """One update of every matrix from its gradient."""
        for group in self.param_groups:
            for weight in cast(list[DTensor], group["params"]):
                assert weight.grad is not None
                kept = self.state.setdefault(weight, {})
                buffer = kept.setdefault("momentum_buffer", torch.zeros_like(weight.grad))
                buffer.lerp_(weight.grad, 1 - self.momentum)
                ahead = cast(DTensor, weight.grad.lerp(buffer, self.momentum))
                change = _orthogonal_step(ahead.full_tensor(), group["lr"], self.iterations)
                # Every process has the whole change: each keeps its own part, nothing is sent.
                own = distribute_tensor(change, weight.device_mesh, weight.placements, src_data_rank=None)
                weight.mul_(1 - group["lr"] * self.weight_decay).add_(own)


def _orthogonal_step(direction: Tensor, lr: float, iterations: int) -> Tensor:
    """-lr · 0.2 sqrt(max(shape)) · NewtonSchulz(direction): what Muon adds to a weight of zeros."""
    zeros = nn.Parameter(torch.zeros_like(direction))
    zeros.grad = direction
    muon = torch.optim.Muon(
        [zeros],
        lr=lr,
        weight_decay=0.0,
        momentum=0.0,
        nesterov=False,
        ns_steps=iterations,
        adjust_lr_fn="match_rms_adamw",
    )
    muon.step()
    return zeros.detach()
