"""Grouped-query attention (Ainslie et al. 2023): G = H/K query heads share each key-value head.

softmax(q kᵀ / sqrt(E)) v by torch's scaled_dot_product_attention; keys are never repeated.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 64  # queries

_softmax_backward: Callable[..., Tensor] = torch.ops.aten._softmax_backward_data.default


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


def _by_group(x: Tensor, kv: int) -> Tensor:
    """[B, T, H, E] → [B·K, T·G, E]: a chunk of time is a slice of rows."""
    batch, time, heads, dim = x.shape
    x = x.view(batch, time, kv, heads // kv, dim).transpose(1, 2)
    return x.reshape(batch * kv, time * (heads // kv), dim)


def _by_time(x: Tensor, batch: int, time: int) -> Tensor:
    """[B·K, T·G, E] → [B, T, H, E], the inverse of `_by_group`."""
    kv, dim = x.shape[0] // batch, x.shape[2]
    return x.view(batch, kv, time, -1, dim).transpose(1, 2).reshape(batch, time, -1, dim)


class _Chunked(torch.autograd.Function):
    """p = softmax(s q kᵀ + mask), o = p v with s = E^-½; dS = p ∘ (dp - rowsum(p ∘ dp)).

    For training in bf16 on a processor. There, torch's flash kernel spends more time than the model's
    matrices in its backward pass; batched products over chunks of 64 queries and the keys that these may
    see take half of it (measured on AVX-512 with bf16 instructions). p is kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, chunk: int) -> Tensor:
        (batch, time, heads, dim), kv = q.shape, k.shape[2]
        group = heads // kv
        q, k, v = _by_group(q * dim**-0.5, kv), _by_group(k, kv), _by_group(v, kv)
        out = torch.empty_like(q)
        kept: list[Tensor] = []
        for start in range(0, time, chunk):
            stop = min(start + chunk, time)
            rows = slice(start * group, stop * group)
            scores = torch.bmm(q[:, rows], k[:, :stop].transpose(1, 2))
            seen = mask[:, :, start:stop, None, :stop]
            scores.view(batch, kv, stop - start, group, stop).add_(seen)
            kept.append(torch.softmax(scores, -1))
            torch.bmm(kept[-1], v[:, :stop], out=out[:, rows])
        ctx.save_for_backward(q, k, v, *kept)
        ctx.shape, ctx.chunk = (batch, time, group, dim), chunk
        return _by_time(out, batch, time)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        batch, time, group, dim = ctx.shape
        g = _by_group(grads[0], k.shape[0] // batch)
        wide = torch.promote_types(k.dtype, torch.float32)  # several chunks add into a key
        dq, dk = torch.empty_like(q), torch.zeros_like(k, dtype=wide)
        dv = torch.zeros_like(v, dtype=wide)
        for start, p in zip(range(0, time, ctx.chunk), kept, strict=True):
            stop = min(start + ctx.chunk, time)
            rows = slice(start * group, stop * group)
            dv[:, :stop] += torch.bmm(p.transpose(1, 2), g[:, rows])
            dp = torch.bmm(g[:, rows], v[:, :stop].transpose(1, 2))
            ds = _softmax_backward(dp, p, -1, p.dtype)
            torch.bmm(ds, k[:, :stop], out=dq[:, rows])
            dk[:, :stop] += torch.bmm(ds.transpose(1, 2), q[:, rows])
        dq = _by_time(dq.mul_(dim**-0.5), batch, time)
        dk, dv = (_by_time(x.to(k.dtype), batch, time) for x in (dk, dv))
        return dq, dk, dv, None, None


def chunked_attend(
    q: Float[Tensor, "batch time heads dim"], k: Float[Tensor, "batch time kv dim"],
    v: Float[Tensor, "batch time kv dim"], mask: Float[Tensor, "#batch 1 time time"], chunk: int = CHUNK,
) -> Float[Tensor, "batch time heads dim"]:
    """softmax(q kᵀ / sqrt(E) + mask) v, where `mask` is -inf above the diagonal at least."""
    return _Chunked.apply(q, k, v, mask, chunk)  # type: ignore[no-any-return]
