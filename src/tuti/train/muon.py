"""Muon (Jordan et al. 2024): momentum whose singular values are all brought near 1, a matrix at a time.

`torch.optim.Muon` does the same, always in bf16: a processor without bf16 instructions multiplies such
matrices thirty times more slowly than fp32 ones (measured on AVX2), so that small models spent most of an
update there. Here a processor computes in fp32, a GPU in bf16, and matrices of one shape go together.
Of weights that FSDP2 has sharded each matrix is gathered once, not at every product of the iteration.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of x ← a x + b (x xᵀ) x + c (x xᵀ)² x: steep at 0, and it ends between .7 and 1.2"""


class Momentum:
    """Nesterov momentum, orthogonalised; `state` holds each weight's momentum."""

    def __init__(
        self, weights: Sequence[Tensor], lr: float, weight_decay: float, momentum: float, iterations: int
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(weights), "lr": lr}]
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.weight_decay, self.momentum, self.iterations = weight_decay, momentum, iterations

    @torch.no_grad()
    def step(self) -> None:
        """w ← (1 - lr · decay) w - lr · 0.2 sqrt(max(rows, columns)) · orthogonal(direction)."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = {}
            for weight in cast(list[Tensor], group["params"]):
                if weight.grad is not None:
                    alike.setdefault(tuple(weight.shape), []).append(weight)
            for shape, weights in alike.items():
                directions = torch.stack([self._direction(weight) for weight in weights])
                changes = orthogonal(directions, self.iterations)
                changes *= -group["lr"] * 0.2 * max(shape) ** 0.5  # the size of AdamW's updates
                for weight, change in zip(weights, changes, strict=True):
                    weight.mul_(1 - group["lr"] * self.weight_decay).add_(_own(change, weight))

    def _direction(self, weight: Tensor) -> Tensor:
        """The momentum with the gradient ahead of it (Nesterov), whole."""
        grad = cast(Tensor, weight.grad)
        buffer = self.state.setdefault(weight, {}).setdefault("momentum_buffer", torch.zeros_like(grad))
        buffer.lerp_(grad, 1 - self.momentum)
        return whole(grad.lerp(buffer, self.momentum))


def whole(tensor: Tensor) -> Tensor:
    """A tensor that FSDP2 may have sharded, gathered."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _own(change: Tensor, weight: Tensor) -> Tensor:
    """This process's part of a change that every process has: nothing is sent."""
    if not isinstance(weight, DTensor):
        return change
    return distribute_tensor(change, weight.device_mesh, weight.placements, src_data_rank=None)


def orthogonal(
    matrices: Float[Tensor, "count rows columns"], iterations: int
) -> Float[Tensor, "count rows columns"]:
    """Each matrix with its singular values brought near 1, by Newton–Schulz iterations on the short side."""
    a, b, c = QUINTIC
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
