"""Matrices in 8 or 4 bits: blocks of 32 columns share a scale, as in llama.cpp's Q8_0, Q4_0 and Q4_1.

A weight is scale · q with q from -127 to 127 (8 bits: 1.125 bytes a weight), or scale · q + offset with
q from 0 to 15 (4 bits, two in a byte: 0.75 bytes). Activations stay as they are. A step that makes
one token is bound by reading weights, so that it takes as much less time as they take less bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from tuti.run import UserError

BLOCK = 32
Bits = Literal[8, 4]


@dataclass(frozen=True)
class Blocks:
    """N rows of G blocks. packed: int8 [N, G, 32], or uint8 [N, G, 16] with columns j and 16 + j in byte j.

    scales: fp32 [N, G, 1], or [N, G, 2] with the offsets beside them.
    """

    packed: NDArray[np.int8 | np.uint8]
    scales: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.packed), self.packed.shape[1] * BLOCK

    def rows(self, which: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch columns"]:
        """These rows as fp32 numbers."""
        index = which.numpy()
        packed, scales = torch.from_numpy(self.packed[index]), self.scales[index]
        if packed.dtype == torch.uint8:
            packed = torch.cat((packed & 15, packed >> 4), dim=-1)
        values = packed.numpy().astype(np.float32) * scales[..., :1]
        if scales.shape[-1] == 2:
            values += scales[..., 1:]
        return torch.from_numpy(values.reshape(*which.shape, self.shape[1]))

    def __call__(self, x: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows out"]:
        """x Wᵀ in fp32, on the CPU; a row's bits do not depend on the others."""
        from tuti.nn.lanes import products

        given = x.float().contiguous().numpy()
        made = products(given, self.packed, self.scales, torch.get_num_threads())
        return torch.from_numpy(made).to(x.dtype)

    def reordered(self, order: Int[Tensor, " rows"]) -> Blocks:
        """The rows in another order, or some of them."""
        return Blocks(self.packed[order.numpy()], self.scales[order.numpy()])


def stacked(parts: Sequence[Blocks]) -> Blocks:
    """The rows of several matrices of equal bits under each other."""
    packed, scales = [part.packed for part in parts], [part.scales for part in parts]
    return Blocks(np.concatenate(packed), np.concatenate(scales))


def quantise(weight: Float[Tensor, "rows columns"], bits: Bits) -> Blocks:
    """Each block's scale from its largest magnitude (8 bits) or from its range (4 bits), to nearest."""
    rows, columns = weight.shape
    assert columns % BLOCK == 0, weight.shape
    values = weight.detach().float().cpu().view(rows, columns // BLOCK, BLOCK)
    if not bool(values.isfinite().all()):
        raise UserError("a weight is not a finite number", hint="was this model's training cut short?")
    if bits == 8:
        scales = values.abs().amax(-1, keepdim=True) / 127
        packed = (values / scales.clamp(min=1e-30)).round().to(torch.int8)
        return Blocks(packed.numpy(), scales.numpy())
    low, high = values.aminmax(dim=-1, keepdim=True)
    scales = (high - low) / 15
    counts = ((values - low) / scales.clamp(min=1e-30)).round().to(torch.uint8)
    packed = counts[..., : BLOCK // 2] | counts[..., BLOCK // 2 :] << 4
    return Blocks(packed.numpy(), torch.cat((scales, low), -1).numpy())
