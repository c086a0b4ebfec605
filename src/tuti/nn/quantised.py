"""Matrices as compiled loops read them; in 8 or 4 bits, blocks of 32 columns share a scale, as in llama.cpp.

A weight is scale · q with q from -127 to 127 (8 bits: 1.125 bytes a weight; Q8_0), or scale · q + offset
with q from 0 to 15 (4 bits, two in a byte: 0.75 bytes; Q4_0, Q4_1). A step that makes one token is bound
by reading weights, so that it takes as much less time as they take less bytes. What such a matrix is
multiplied with is rounded to 8 bits in the same blocks, so that the products are sums of whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from tuti.run import UserError

BLOCK = 32
TILE = 16
Bits = Literal[8, 4]


@dataclass(frozen=True)
class Blocks:
    """N rows of G blocks. packed: int8 [N, G, 32], or uint8 [N, G, 16] with columns j and 16 + j in byte j.

    scales: fp32 [N, G, 1], or [N, G, 2] with the offsets beside them. Columns past a matrix's own are zeros.
    """

    packed: NDArray[np.int8 | np.uint8]
    scales: NDArray[np.float32]

    @property
    def numbers(self) -> Float[Tensor, "rows columns"]:
        """What the blocks mean."""
        packed, scales = torch.from_numpy(self.packed), torch.from_numpy(self.scales)
        if packed.dtype == torch.uint8:
            packed = torch.cat((packed & 15, packed >> 4), dim=-1)
        values = packed.float() * scales[..., :1]
        return (values if scales.shape[-1] == 1 else values + scales[..., 1:]).flatten(-2)

    def reordered(self, order: Int[Tensor, " rows"]) -> Blocks:
        """The rows in another order, or some of them."""
        return Blocks(self.packed[order.numpy()], self.scales[order.numpy()])


@dataclass(frozen=True)
class Matrix:
    """N rows of K numbers for compiled loops, which read K in blocks of 32 and quantised rows in tiles of 16.

    packed: fp32 or, as uint16, bfloat16 [N, G, 32]; or uint8 [T, G, P, 64], where byte 4 r + c of part j is
    column 4 j + c of the tile's row r: q + 128 in 8 bits (P = 8), columns 4 j + c and 16 + 4 j + c in 4 bits
    (P = 4). scales: fp32 [0], [T, G, 16] or, with offsets, [T, G, 2, 16]. Past N and K lie zeros.
    """

    packed: NDArray[Any]
    scales: NDArray[np.float32]
    count: int

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """What compiled loops are given."""
        return self.packed, self.scales

    def rows(self, which: Int[Tensor, " some"]) -> Float[Tensor, "some columns"]:
        """These rows as fp32 numbers, zeros past K with them."""
        if self.packed.ndim == 4:
            tiles, own = which.numpy() // TILE, which.numpy() % TILE
            shape = (*self.packed.shape[:3], TILE, 4)
            packed = self.packed.reshape(shape)[tiles, :, :, own].reshape(len(which), shape[1], -1)
            if self.scales.ndim == 3:
                return Blocks((packed ^ 128).view(np.int8), self.scales[tiles, :, own][..., None]).numbers
            return Blocks(packed, self.scales[tiles, :, :, own]).numbers
        found = torch.from_numpy(self.packed[which.numpy()])
        return (found if found.dtype == torch.float32 else found.view(torch.bfloat16).float()).flatten(-2)

    def __call__(self, x: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows out"]:
        """x Wᵀ in fp32, on the CPU; a row's bits do not depend on the others."""
        from tuti.nn.woven import products

        given = _whole(x.float()).numpy()
        return torch.from_numpy(products(given, *self.arrays, self.count, torch.get_num_threads()))


def as_matrix(weight: Float[Tensor, "rows columns"]) -> Matrix:
    """The weight as it lies, in fp32 or bfloat16; copied if its rows are no whole blocks."""
    if weight.dtype not in (torch.float32, torch.bfloat16):
        weight = weight.float()
    weight = _whole(weight.detach())
    if weight.dtype == torch.bfloat16:
        weight = weight.view(torch.uint16)
    return Matrix(weight.numpy().reshape(len(weight), -1, BLOCK), np.empty(0, np.float32), len(weight))


def woven(blocks: Blocks) -> Matrix:
    """Blocks laid out in tiles."""
    rows, groups, size = blocks.packed.shape
    missing = ((0, -rows % TILE), (0, 0), (0, 0))
    scales = np.pad(blocks.scales, missing).reshape(-1, TILE, groups, blocks.scales.shape[2])
    scales = np.ascontiguousarray(scales.transpose(0, 2, 3, 1))
    packed = blocks.packed
    if packed.dtype == np.int8:
        packed, scales = packed.view(np.uint8) ^ 128, scales[:, :, 0]
    tiles = np.pad(packed, missing).reshape(-1, TILE, groups, size // 4, 4).transpose(0, 2, 3, 1, 4)
    tiles = np.ascontiguousarray(tiles).reshape(*tiles.shape[:3], 4 * TILE)
    return Matrix(tiles, np.ascontiguousarray(scales), rows)


def _whole(weight: Tensor) -> Tensor:
    """With columns of zeros up to whole blocks."""
    missing = -weight.shape[1] % BLOCK
    return F.pad(weight, (0, missing)) if missing else weight.contiguous()


def stacked(parts: Sequence[Blocks]) -> Blocks:
    """The rows of several matrices of equal bits under each other."""
    packed, scales = [part.packed for part in parts], [part.scales for part in parts]
    return Blocks(np.concatenate(packed), np.concatenate(scales))


def quantise(weight: Float[Tensor, "rows columns"], bits: Bits) -> Blocks:
    """Each block's scale from its largest magnitude (8 bits) or from its range (4 bits), to nearest."""
    values = _whole(weight.detach().float().cpu()).view(len(weight), -1, BLOCK)
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
