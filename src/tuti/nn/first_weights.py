"""Weights to begin with, for a small decoder that has little time: the first block sees n-grams at once.

From random weights a decoder spends its first thousand updates on finding heads that look one or two
tokens back; only then can it learn what follows a pair, and from that to copy (Elhage et al. 2021; Olsson
et al. 2022). Under rotary embedding such a head can be written down. Let channel 0 of every embedding be
the same number, let a key be that channel laid along angle 0 of each fast plane i, and the query of a
head that looks o tokens back be the same at angle -o f_i. Positions t and s then score

    a² c² Σ_i cos((t - s - o) f_i) / sqrt(E),

and that is largest at s = t - o. (c, what the norm makes of the constant, differs a little from token to
token.) Nothing is fixed: all of it may be unlearnt.
"""

import math
from typing import cast

import torch

from tuti.nn.decoder import Block, Decoder
from tuti.nn.rope import frequencies

OFFSETS = 4
"""Head h of the first block looks h mod 4 tokens back: at the token itself, and the three before it"""
SHARPNESS = 5.0
"""Nats between the place that a head looks at and the places beside it"""
FAST = 0.05
"""Radians a token: slower planes hardly tell neighbours apart, and are left to chance"""
CONSTANT = 4.0
"""Channel 0 of an embedding, in standard deviations of the others"""
VALUES, WRITES = 3.4, 0.9
"""Deviation of the first block's values and of what it writes, before division by the square root of
what they are sums of: its n-gram then outweighs the embedding, which is still small"""


@torch.no_grad()
def look_back(model: Decoder, generator: torch.Generator | None = None) -> None:
    """Makes the heads of the first block look 0 to 3 tokens back, and write down strongly what they see."""
    c = model.config
    embedding, attention = model.embedding.weight, cast(Block, model.blocks[0]).attention
    embedding[:, 0] = CONSTANT * embedding.std()
    constant = CONSTANT / math.sqrt(1 + (CONSTANT**2 - 1) / c.width)  # as the first norm leaves it
    f = frequencies(c.head_dim, c.rope_theta, c.rope_scaling, torch.float32)
    f = f[: max(1, int((f > FAST).sum()))]
    falloff = float((1 - f.cos()).sum()) * constant**2 / math.sqrt(c.head_dim)
    size = math.sqrt(SHARPNESS / falloff)
    planes, half = len(f), c.head_dim // 2

    heads = attention.qkv.weight.view(-1, c.head_dim, c.width)
    query, key, value = heads[: c.heads], heads[c.heads : -c.kv_heads], heads[-c.kv_heads :]
    fast = [*range(planes), *range(half, half + planes)]
    query[:, fast], key[:, fast] = 0.0, 0.0
    key[:, :planes, 0] = size
    for head in range(c.heads):
        angle = (head % OFFSETS) * f
        query[head, :planes, 0] = size * angle.cos()
        query[head, half : half + planes, 0] = -size * angle.sin()
    value.normal_(0, VALUES / math.sqrt(c.width), generator=generator)
    value[:, :, 0] = 0
    attention.output.weight.normal_(0, WRITES / math.sqrt(c.heads * c.head_dim), generator=generator)
