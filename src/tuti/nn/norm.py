"""Root-mean-square normalisation (Zhang and Sennrich 2019, equation 4)."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_norm: Callable[..., Tensor] = torch.linalg.vector_norm  # pyright: ignore[reportUnknownVariableType]


class RootMeanSquare(torch.autograd.Function):
    """The same in fewer passes over memory than autograd makes of it.

    With r = 1/sqrt(mean(x²) + eps), x̂ = r x, and g the gradient of y = w x̂:
    dw = Σ g x̂ over rows, dx = r (g w - x̂ mean(g w x̂)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        r = _norm(wide, dim=-1, keepdim=True)
        r = r.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, r)
        return (wide * r).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, r = ctx.saved_tensors
        g, w = grads[0].to(r.dtype), weight.to(r.dtype)
        normed = x.to(r.dtype) * r
        product = g * normed
        dw = product.flatten(0, -2).sum(0)
        mean = (product @ w).div_(x.shape[-1])
        dx = torch.mul(g, w, out=product).addcmul_(normed, mean[..., None], value=-1).mul_(r)
        return dx.to(x.dtype), dw.to(weight.dtype), None


class RMSNorm(nn.Module):
    """y = w · x / sqrt(mean(x²) + eps), the mean over the last axis, in fp32 at least; w is learnt."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return RootMeanSquare.apply(x, self.weight, self.eps)  # type: ignore[no-any-return]
