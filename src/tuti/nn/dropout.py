"""Dropout (Srivastava et al. 2014) whose probability differs from token to token.

Text that is read many times needs it, text that is read once does not, and both lie in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Dropout:
    """What zeroes the channels of a batch: p for each token, and a seed for each row.

    Every row draws from its own seed, so neither micro-batches nor processes change what it drops
    (another kind of device draws other numbers from the same seed).
    """

    probability: Float[Tensor, "batch time"]
    seeds: Sequence[int]

    def draws(self) -> Draws:
        """The source of one forward pass's masks."""
        device = self.probability.device
        rows = [n for n in range(len(self.seeds)) if bool((self.probability[n] > 0).any())]
        chances = {row: torch.Generator(device).manual_seed(self.seeds[row]) for row in rows}
        return Draws(1 - self.probability[:, :, None], chances)


@dataclass(frozen=True)
class Draws:
    """Called once for each place of a forward pass, in order."""

    keep: Float[Tensor, "batch time 1"]
    chances: dict[int, torch.Generator]

    def __call__(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        """x with each channel zeroed with its token's probability, else divided by 1 - p."""
        if not self.chances:
            return x
        scale = torch.ones_like(x)
        for row, chance in self.chances.items():
            keep = self.keep[row]
            drawn = torch.rand(x.shape[1:], generator=chance, device=x.device)
            scale[row] = (drawn < keep) / keep
        return x * scale
