"""The gated feed-forward layers SwiGLU and GEGLU (Shazeer 2020, equation 6)."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Activation = Literal["silu", "gelu"]
BENDS: dict[Activation, tuple[float, float]] = {"silu": (1.0, 0.0), "gelu": (1.5957691216, 0.0713548163)}
"""(a, b) for which the activation is g · sigmoid(a g + b g³); gelu by tanh (Hendrycks & Gimpel 2016)"""


def swiglu(
    gate_up: Float[Tensor, "*batch double"], activation: Activation = "silu"
) -> Float[Tensor, "*batch hidden"]:
    """silu(g) · u for the halves g, u of the last axis, silu(g) = g · sigmoid(g); or gelu(g) · u."""
    gate, up = gate_up.chunk(2, dim=-1)
    return (F.silu(gate) if activation == "silu" else F.gelu(gate, approximate="tanh")) * up


class MLP(nn.Module):
    """W_down (silu(W_gate x) · W_up x), W_gate and W_up stacked into one matrix [2F, D]."""

    def __init__(self, width: int, hidden: int, activation: Activation = "silu"):
        super().__init__()
        self.activation: Activation = activation
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        return self.down(swiglu(self.gate_up(x), self.activation))
