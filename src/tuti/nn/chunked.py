"""Causal attention by chunks of queries, for training in bf16 on a processor.

There, torch's flash kernel spends more time than the model's matrices in its backward pass; batched
products over chunks of 64 queries and the keys that these may see take half of it (measured on
AVX-512 with bf16 instructions). The probabilities are kept for the backward pass.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 64  # queries

_softmax_backward: Callable[..., Tensor] = torch.ops.aten._softmax_backward_data.default


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
    """p = softmax(s q kᵀ + mask), o = p v with s = E^-½; dS = p ∘ (dp - rowsum(p ∘ dp))."""

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
    q: Float[Tensor, "batch time heads dim"],
    k: Float[Tensor, "batch time kv dim"],
    v: Float[Tensor, "batch time kv dim"],
    mask: Float[Tensor, "#batch 1 time time"],
    chunk: int = CHUNK,
) -> Float[Tensor, "batch time heads dim"]:
    """softmax(q kᵀ / sqrt(E) + mask) v, where `mask` is -inf above the diagonal at least."""
    return _Chunked.apply(q, k, v, mask, chunk)  # type: ignore[no-any-return]
