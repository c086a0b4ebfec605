"""The gated feed-forward layer SwiGLU (Shazeer 2020, equation 6)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def swiglu(gate_up: Float[Tensor, "*batch double"]) -> Float[Tensor, "*batch hidden"]:
    """silu(g) · u for the halves g, u of the last axis, silu(g) = g · sigmoid(g)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class MLP(nn.Module):
    """W_down (silu(W_gate x) · W_up x), W_gate and W_up stacked into one matrix [2F, D]."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        return self.down(swiglu(self.gate_up(x)))
