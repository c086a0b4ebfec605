"""Grouped-query attention (Ainslie et al. 2023): G = H/K query heads share each key-value head.

softmax(q kᵀ / sqrt(E)) v by torch's scaled_dot_product_attention; keys are never repeated.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


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
        mask = as_mask((key <= query) & (key > query - window), q.dtype)
        keys, values = k[:, first:stop].transpose(1, 2), v[:, first:stop].transpose(1, 2)
        made.append(attend(q[:, start:stop], keys, values, mask[None, None]))
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
    return as_mask(seen, dtype)[:, None]


def as_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 where a key is seen, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
