"""A decoder laid out for inference: the same function of the same weights, with less overhead.

On a CPU a step that makes few tokens is bound by reading the weights. `F.linear` reads them at
about a third of the memory's bandwidth; oneDNN's kernel on weights that were reordered once for
it reads faster, and is fastest from four rows on, so fewer rows are filled up to four. The rest
of a step is few, large operators: at batch 1 each one costs more to call than to compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tuti.nn import CacheWindow, Decoder, DecoderConfig, KVCache

ROWS = 4  # the fewest rows that a packed product is given
HINT = 16  # rows that oneDNN chooses the layout for; smaller steps read it as fast

Linear = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """One block's weights; the four products as functions of rows [N, in] → [N, out]."""

    attention_norm: Tensor
    qkv: Linear
    output: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


class PackedDecoder:
    """`Decoder` with a cache, for inference only. It takes the decoder's weights away from it.

    A tied embedding is kept twice, as rows to look up and packed to read out with.
    """

    @torch.inference_mode()
    def __init__(self, model: Decoder):
        self.config: DecoderConfig = model.config
        self.embedding = model.embedding.weight.detach()
        head = self.embedding if model.head is None else model.head.weight.detach()
        self.norm = model.norm.weight.detach()
        self._readout = pack(head)
        table = model.table(self.config.context, self.embedding)
        cos, sin = table.detach().unbind(1)
        # (a, b) → (a cos - b sin, b cos + a sin) as x · [cos, cos] + [b, a] · [-sin, sin]
        self._turns = torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1)
        self.layers: list[Layer] = []
        for block in model.blocks:
            take = dict(block.named_parameters())
            made = {
                name: pack(take[key].detach())
                for name, key in (
                    ("qkv", "attention.qkv.weight"),
                    ("output", "attention.output.weight"),
                    ("gate_up", "mlp.gate_up.weight"),
                    ("down", "mlp.down.weight"),
                )
            }
            norms = (take["attention_norm.weight"].detach(), take["mlp_norm.weight"].detach())
            self.layers.append(
                Layer(
                    norms[0], made["qkv"], made["output"], norms[1], made["gate_up"], made["down"]
                )
            )
            for parameter in take.values():
                parameter.data = parameter.data.new_empty(0)
        if model.head is not None:
            model.head.weight.data = head.new_empty(0)

    def cache(self, slots: int, length: int) -> KVCache:
        """An empty cache for `slots` sequences of at most `length` tokens each."""
        c, w = self.config, self.embedding
        return KVCache(
            c.layers, c.kv_heads, c.head_dim, slots, length, dtype=w.dtype, device=w.device
        )

    @torch.inference_mode()
    def __call__(
        self, ids: Int[Tensor, "batch time"], *, cache: CacheWindow
    ) -> Float[Tensor, "batch time dim"]:
        """Final hidden states of the new tokens, as `Decoder.forward` with a cache."""
        c = self.config
        batch, time = ids.shape
        n, h, kv = batch * time, c.heads, c.kv_heads
        x = _fill(F.embedding(ids.flatten(), self.embedding))
        turns = self._turns[cache.positions.clamp(max=c.context - 1)]
        cos, sin = turns[:, :, :1], turns[:, :, 1:]
        attend = _Step(cache).attend if time == 1 else cache.attend
        seen = x.new_zeros(x.shape[0], h * c.head_dim)  # what attention gives; filled rows stay 0
        for index, layer in enumerate(self.layers):
            y = F.rms_norm(x, (c.width,), layer.attention_norm, c.norm_eps)
            qkv = layer.qkv(y)[:n].view(batch, time, h + 2 * kv, c.head_dim)
            v, qk = qkv[:, :, h + kv :], qkv[:, :, : h + kv]
            turned = torch.addcmul(qk * cos, qk.roll(c.head_dim // 2, -1), sin)
            q, k = turned[:, :, :h], turned[:, :, h:]
            seen[:n] = attend(index, q, k, v).reshape(n, -1)
            x = x + layer.output(seen)
            y = F.rms_norm(x, (c.width,), layer.mlp_norm, c.norm_eps)
            gate, up = layer.gate_up(y).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate).mul_(up))
        cache.commit()
        return F.rms_norm(x[:n], (c.width,), self.norm, c.norm_eps).view(batch, time, -1)

    @torch.inference_mode()
    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Unnormalised log-probabilities of the next token."""
        rows = hidden.reshape(-1, hidden.shape[-1])
        return self._readout(_fill(rows))[: rows.shape[0]].view(*hidden.shape[:-1], -1)


class _Step:
    """Attention of one new token a row, written to the cache in one operator for all rows."""

    def __init__(self, window: CacheWindow):
        cache, slots = window.cache, window.slots
        device = cache.store.device
        self.store, self.mask = cache.store, window.mask
        self.rows, self.end = window.rows, window.end
        self.slots = torch.tensor(slots, device=device)
        self.places = torch.tensor(window.starts, device=device)
        self.scale = 1 / math.sqrt(cache.store.shape[-1])

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch 1 heads dim"],
        k: Float[Tensor, "batch 1 kv dim"],
        v: Float[Tensor, "batch 1 kv dim"],
    ) -> Float[Tensor, "batch heads dim"]:
        batch, _, heads, dim = q.shape
        kv = k.shape[2]
        keys, values = self.store[layer]
        keys[self.slots, :, self.places] = k[:, 0]
        values[self.slots, :, self.places] = v[:, 0]
        grouped = q.reshape(batch, kv, heads // kv, dim)  # the G heads of a group as its queries
        keys, values = keys[self.rows, :, : self.end], values[self.rows, :, : self.end]
        return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=self.mask)


def pack(weight: Float[Tensor, "out in"]) -> Linear:
    """x → x Wᵀ, by a copy of W reordered for oneDNN where that is the faster way (a CPU)."""
    known = weight.dtype in (torch.float32, torch.bfloat16)
    if weight.device.type != "cpu" or not known or not torch.backends.mkldnn.is_available():
        return lambda x: F.linear(x, weight)
    ops = torch.ops.mkldnn
    packed = ops._reorder_linear_weight(weight.contiguous(), HINT)
    product = ops._linear_pointwise.default

    def linear(x: Tensor) -> Tensor:
        return product(x, packed, None, "none", [], "")

    return linear


def _fill(x: Float[Tensor, "rows dim"]) -> Float[Tensor, "more dim"]:
    """At least ROWS rows, zeros after the given ones."""
    lacking = ROWS - x.shape[0]
    return F.pad(x, (0, 0, 0, lacking)) if lacking > 0 else x
