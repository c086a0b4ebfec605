import math

import pytest
import torch
from torch import Tensor

from tuti.nn import Decoder, DecoderConfig, look_back, nll
from tuti.nn.rope import rotate

SHAPES = [(128, 4, 2, 32), (64, 4, 1, 16), (320, 5, 1, 64), (96, 6, 3, 16), (32, 1, 1, 32)]


def made(width: int, heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> Decoder:
    config = DecoderConfig(
        vocab=300, width=width, layers=2, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        hidden=2 * width, context=128,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(config, generator)
    look_back(model, generator)
    return model


def first_attention(model: Decoder, ids: Tensor) -> Tensor:
    """[heads, time, time], computed as one reads it, key-value heads repeated."""
    c, block = model.config, model.blocks[0]
    qkv = block.attention.qkv(block.attention_norm(model.embedding(ids)))
    qkv = qkv.unflatten(-1, (c.heads + 2 * c.kv_heads, c.head_dim))
    table = model.table(len(ids), qkv)[None, : len(ids)]
    turned = rotate(qkv[None], table)[0].transpose(0, 1)
    q, k = turned[: c.heads], turned[c.heads : c.heads + c.kv_heads]
    scores = q @ k.repeat_interleave(c.heads // c.kv_heads, 0).mT / math.sqrt(c.head_dim)
    later = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1)


@pytest.mark.parametrize("sizes", SHAPES)
def test_each_head_looks_at_its_offset(sizes: tuple[int, ...]) -> None:
    model = made(*sizes)
    ids = torch.randint(0, 300, (100,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        seen = first_attention(model, ids)
    for head in range(model.config.heads):
        offset = head % 4
        looked = seen[head].diagonal(-offset)[8:]
        there = seen[head, 8:].argmax(-1) == torch.arange(8, 100) - offset
        assert float(looked.mean()) > 0.8 and float(there.float().mean()) > 0.8


def test_the_first_loss_is_near_that_of_guessing() -> None:
    model = made(*SHAPES[0])
    ids = torch.randint(0, 300, (4, 65))
    with torch.no_grad():
        loss = float(nll(model, ids[:, :-1], ids[:, 1:])) / 256
    assert loss == pytest.approx(math.log(300), rel=0.03)


def test_the_same_generator_gives_the_same_weights() -> None:
    first, again = made(*SHAPES[0], seed=3), made(*SHAPES[0], seed=3)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
