"""Grouped-query attention (Ainslie et al. 2023): G = H/K query heads share each key-value head.

softmax(q kᵀ / sqrt(E)) v by torch's scaled_dot_product_attention; keys are never repeated.
"""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tuti.nn.chunked import chunked_attend
from tuti.nn.norm import RMSNorm
from tuti.nn.rope import rotate


@runtime_checkable
class Past(Protocol):
    """A cache's view of one forward pass (`cache.CacheWindow`)."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor: ...


def causal_attend(
    q: Float[Tensor, "batch time heads dim"], k: Float[Tensor, "batch time kv dim"],
    v: Float[Tensor, "batch time kv dim"], mask: Float[Tensor, "batch 1 time time"] | None = None,
    window: int | None = None,
) -> Float[Tensor, "batch time heads dim"]:
    """Each token attends to itself and those before it, at most `window` in all.

    `mask`, if given, is added instead.
    """
    if mask is None and window is not None and q.shape[1] > window:
        return windowed_attend(q, k, v, window)
    learning = q.requires_grad and torch.is_grad_enabled()
    if learning and q.dtype == torch.bfloat16 and q.device.type == "cpu" and q.shape[1] <= 512:
        if mask is None:
            mask = document_mask(torch.zeros(1, q.shape[1], dtype=torch.long), q.dtype)
        return chunked_attend(q, k, v, mask)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    return out.transpose(1, 2)


def windowed_attend(
    q: Float[Tensor, "batch time heads dim"], k: Float[Tensor, "batch time kv dim"],
    v: Float[Tensor, "batch time kv dim"], window: int,
) -> Float[Tensor, "batch time heads dim"]:
    """Sliding-window attention (Beltagy et al. 2020): a block of queries reads only keys that it may see.

    O(T · (window + block)) instead of O(T²), in time and in memory.
    """
    size, time, made = max(window, 256), q.shape[1], list[Tensor]()
    for start in range(0, time, size):
        stop, first = min(start + size, time), max(0, start - window + 1)
        query = torch.arange(start, stop, device=q.device)[:, None]
        key = torch.arange(first, stop, device=q.device)
        unseen = (key > query) | (key <= query - window)
        mask = q.new_zeros(unseen.shape).masked_fill_(unseen, float("-inf"))[None, None]
        keys, values = k[:, first:stop].transpose(1, 2), v[:, first:stop].transpose(1, 2)
        made.append(attend(q[:, start:stop], keys, values, mask))
    return torch.cat(made, 1)


def attend(
    q: Float[Tensor, "batch time heads dim"], k: Float[Tensor, "batch kv source dim"],
    v: Float[Tensor, "batch kv source dim"], mask: Float[Tensor, "batch 1 time source"] | None,
) -> Float[Tensor, "batch time heads dim"]:
    """Attention over cached keys, the G heads of a group laid along the query's time axis."""
    batch, time, heads, dim = q.shape
    kv = k.shape[1]
    group = heads // kv
    q = q.view(batch, time, kv, group, dim).permute(0, 2, 3, 1, 4)
    q = q.reshape(batch, kv, group * time, dim)
    if mask is not None and time > 1:
        mask = mask.repeat(1, 1, group, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = out.view(batch, kv, group, time, dim).permute(0, 3, 1, 2, 4)
    return out.reshape(batch, time, heads, dim)


def document_mask(
    documents: Int[Tensor, "batch time"], dtype: torch.dtype, window: int | None = None
) -> Float[Tensor, "batch 1 time time"]:
    """0 where token t may see token s (s ≤ t, same document, within the window), -inf elsewhere."""
    time = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    seen = same & torch.ones(time, time, dtype=torch.bool, device=documents.device).tril()
    if window is not None:
        seen = seen.triu(1 - window)
    mask = torch.zeros(seen.shape, dtype=dtype, device=documents.device)
    return mask.masked_fill_(~seen, float("-inf"))[:, None]


class Attention(nn.Module):
    """Rotary grouped-query self-attention; q, k and v are one matrix [(H + 2K)E, D].

    bias: of queries, keys and values (Qwen2). norm_eps: each head's query and key are normalised before
    they are turned (Henry et al. 2020, as Qwen3 does it).
    """

    def __init__(
        self, width: int, heads: int, kv_heads: int, head_dim: int, layer: int, window: int | None = None,
        *, bias: bool = False, norm_eps: float | None = None,
    ):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.layer = heads, kv_heads, head_dim, layer
        self.window = window
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * head_dim, bias=bias)
        self.q_norm = None if norm_eps is None else RMSNorm(head_dim, norm_eps)
        self.k_norm = None if norm_eps is None else RMSNorm(head_dim, norm_eps)
        self.output = nn.Linear(heads * head_dim, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        table: Float[Tensor, "#batch time 2 planes"],
        mask: Float[Tensor, "batch 1 time time"] | None = None,
        past: Past | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        h, n = self.heads, self.kv_heads
        qkv = self.qkv(x).unflatten(-1, (h + 2 * n, self.head_dim))
        qk, v = qkv[:, :, : h + n], qkv[:, :, h + n :]
        if self.q_norm is not None and self.k_norm is not None:
            qk = torch.cat((self.q_norm(qk[:, :, :h]), self.k_norm(qk[:, :, h:])), 2)
        qk = rotate(qk, table)
        q, k = qk[:, :, :h], qk[:, :, h:]
        if past is None:
            out = causal_attend(q, k, v, mask, self.window)
        else:
            out = past.attend(self.layer, q, k, v, self.window)
        return self.output(out.flatten(2))
