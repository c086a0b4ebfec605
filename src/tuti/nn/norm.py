"""Root-mean-square normalisation (Zhang and Sennrich 2019, equation 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def rms_norm(
    x: Float[Tensor, "*batch dim"], weight: Float[Tensor, " dim"], eps: float
) -> Float[Tensor, "*batch dim"]:
    """y = w · x / sqrt(mean(x²) + eps), the mean over the last axis, taken in fp32 at least."""
    wide = x if x.dtype == torch.float64 else x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


class RMSNorm(nn.Module):
    """RMS normalisation with a learned scale per channel."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return rms_norm(x, self.weight, self.eps)
