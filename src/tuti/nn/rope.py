"""Rotary position embedding (Su et al. 2021), in the half-rotation layout of Hugging Face's Llama.

A head of E channels is E/2 planes: channel i is paired with channel i + E/2. At position p the
plane i is turned by the angle p · f_i with f_i = theta^(-2i/E).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def frequencies(
    head_dim: int, theta: float, scaling: Mapping[str, Any] | None, dtype: torch.dtype
) -> Float[Tensor, " planes"]:
    """f_i = theta^(-2i/E) in radians per position, slowed as `scaling` says.

    linear: f / factor (Chen et al. 2023). llama3: wavelengths longer than the original context
    are divided by `factor`, short ones kept, those between blended (Llama 3's release notes).
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).to(dtype) / head_dim
    f = 1.0 / theta**exponent
    if scaling is None:
        return f
    factor = float(scaling["factor"])
    if scaling["rope_type"] == "linear":
        return f / factor
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    turns = float(scaling["original_max_position_embeddings"]) * f / (2 * math.pi)
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return keep * f + (1 - keep) * f / factor


def rope_table(
    length: int, head_dim: int, theta: float, scaling: Mapping[str, Any] | None, dtype: torch.dtype
) -> Float[Tensor, "time 2 planes"]:
    """cos and sin of every plane's angle at positions 0 … length - 1.

    Angles are computed in fp32 (fp64 for fp64 models), as the weights we load were trained, and
    on the CPU, so that every device turns by the same angles.
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    f = frequencies(head_dim, theta, scaling, exact)
    angles = torch.arange(length, dtype=exact)[:, None] * f
    return torch.stack((angles.cos(), angles.sin()), dim=1).to(dtype)


def rotate(
    x: Float[Tensor, "batch time heads dim"], table: Float[Tensor, "#batch time 2 planes"]
) -> Float[Tensor, "batch time heads dim"]:
    """(a, b) → (a cos - b sin, b cos + a sin) for the halves a, b of every head."""
    cos, sin = table[:, :, :1], table[:, :, 1:]
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def document_positions(documents: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Each token's distance from the first token of its document's run in the row."""
    steps = torch.arange(documents.shape[1], device=documents.device)
    new = torch.ones_like(documents, dtype=torch.bool)
    new[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return steps - torch.where(new, steps, 0).cummax(dim=1).values
