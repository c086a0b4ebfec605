"""Dropout (Srivastava et al. 2014) whose probability differs from token to token.

Text that is read many times needs it, text that is read once does not, and both lie in one batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Masks = Callable[[Tensor, int], Tensor]
"""(x, place) → x with each channel zeroed with its token's probability, else divided by 1 - p"""


@dataclass(frozen=True)
class Dropout:
    """What zeroes the channels of a batch: p for each token, and a seed for each row.

    Every row draws from its own seed, so neither micro-batches nor processes change what it drops
    (another kind of device draws other numbers from the same seed).
    """

    probability: Float[Tensor, "batch time"]
    seeds: Sequence[int]

    def masks(self, places: int, width: int, dtype: torch.dtype) -> Masks:
        """What `places` layers of one forward pass multiply their output with.

        Memory: as much as one activation of each place, for the tokens that are dropped at all.
        """
        device = self.probability.device
        drawn: list[Tensor] = []
        for p, seed in zip(self.probability, self.seeds, strict=True):
            keep = 1 - p[p > 0, None]
            chance = torch.Generator(device).manual_seed(seed)
            numbers = torch.rand(places, len(keep), width, generator=chance, device=device)
            drawn.append((numbers < keep).to(dtype) * (1 / keep).to(dtype))
        tokens, scales = self.probability.flatten().nonzero()[:, 0], torch.cat(drawn, dim=1)

        def drop(x: Tensor, place: int) -> Tensor:
            scale = torch.ones_like(x)
            scale.view(-1, width)[tokens] = scales[place]
            return x * scale

        return drop
