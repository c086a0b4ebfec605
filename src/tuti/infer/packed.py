"""A decoder laid out for inference: the same function of the same weights, with less overhead.

On a CPU a step that makes few tokens is bound by reading the weights. `F.linear` reads them at
about a third of the memory's bandwidth; oneDNN's kernel on weights that were reordered once for
it reads faster, and is fastest from four rows on, so fewer rows are filled up to four. The rest
of a step is few, large operators: at batch 1 each one costs more to call than to compute.

Matrices in 8 or 4 bits (`nn/quantised.py`) are read four to six times as fast, by kernels of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tuti.nn import Block, CacheWindow, Decoder, DecoderConfig, KVCache
from tuti.nn.mlp import MLP
from tuti.nn.moe import MoE, Router, by_expert
from tuti.nn.quantised import BLOCK, Bits, Blocks, quantise

ROWS = 4  # the fewest rows that a packed product is given
HINT = 16  # rows that oneDNN chooses the layout for; smaller steps read it as fast
WAKING = 1.8e6  # bytes that one thread reads in the 100 µs that waking the others takes

Linear = Callable[[Tensor], Tensor]
Named = Iterator[tuple[str, nn.Module]]
Sparse = Callable[[int, Router], Linear]  # a layer's number and router → its experts' feed-forward layer


@dataclass(frozen=True)
class Layer:
    """One block's weights; products and the feed-forward layer as functions of rows [N, in] → [N, out]."""

    attention_norm: Tensor
    qkv: Linear
    head_norms: tuple[Tensor, Tensor] | None
    output: Linear
    mlp_norm: Tensor
    feed_forward: Linear


class PackedDecoder:
    """`Decoder` with a cache, for inference only. It takes the decoder's weights away from it.

    bits: quantise every matrix to 8 or 4 bits. blocks: matrices by name that are quantised already, so
    that the decoder's own may be on the meta device. sparse: gives the experts that `model` has only the
    shapes of (see offload.py). A tied embedding of whole numbers is kept twice, as rows to look up and
    packed to read out with.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: Decoder,
        bits: Bits | None = None,
        blocks: Mapping[str, Blocks] | None = None,
        sparse: Sparse | None = None,
    ):
        self.config: DecoderConfig = model.config
        self.norm = model.norm.weight.detach()
        self._least = 1 if bits or blocks else ROWS  # rows that a product is filled up to
        pack = _Packing(model, bits, blocks or {}, self._least)
        self.embedding = pack.matrix(model.embedding)
        self._readout = pack.product(self.embedding if model.head is None else pack.matrix(model.head))
        table = model.table(self.config.context, self.norm)
        cos, sin = table.detach().unbind(1)
        # (a, b) → (a cos - b sin, b cos + a sin) as x · [cos, cos] + [b, a] · [-sin, sin]
        self._turns = torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1)
        self.layers: list[Layer] = []
        for block in model.blocks:
            assert isinstance(block, Block)
            self.layers.append(pack.layer(block, sparse))
            for name, parameter in block.named_parameters():
                if "router" not in name:  # which goes on as it is
                    parameter.data = parameter.data.new_empty(0)
        c, size = self.config, {8: 1.125, 4: 0.75}.get(bits or 0, 1 if blocks else self.norm.element_size())
        self._product = size * c.matrix_parameters / (4 * c.layers + 1)  # bytes, on average

    def cache(self, slots: int, length: int) -> KVCache:
        """An empty cache for `slots` sequences of at most `length` tokens each."""
        c, w = self.config, self.norm
        sizes = (c.layers, c.kv_heads, c.head_dim, slots, length, c.window)
        return KVCache(*sizes, dtype=w.dtype, device=w.device)

    @torch.inference_mode()
    def __call__(
        self, ids: Int[Tensor, "batch time"], *, cache: CacheWindow
    ) -> Float[Tensor, "batch time dim"]:
        """Final hidden states of the new tokens, as `Decoder.forward` with a cache.

        Padding costs nothing: the products see new tokens only, all in one pass.
        """
        kept = _kept(cache)
        with self._threads(sum(cache.counts)):
            hidden = self._forward(ids[kept], cache.positions[kept], list(cache.parts()))
        cache.commit()
        padded = hidden.new_zeros(*ids.shape, hidden.shape[-1])
        padded[kept] = hidden
        return padded

    @contextmanager
    def _threads(self, rows: int) -> Generator[None]:
        """Few rows are read by one thread where the others would cost more to wake than they save.

        n threads read about n/1.5 times as fast as one, and wait for each other at every product.
        """
        n = torch.get_num_threads()
        saved = self._product * (1 - 1.5 / n)
        if rows > ROWS or n == 1 or saved > WAKING or self.norm.device.type != "cpu":
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n)

    def _forward(
        self, ids: Int[Tensor, " new"], positions: Int[Tensor, " new"], parts: Sequence[CacheWindow]
    ) -> Float[Tensor, "new dim"]:
        """Attention goes part by part (see `CacheWindow.parts`), all else by token."""
        c = self.config
        n, h, kv, width = len(ids), c.heads, c.kv_heads, (c.width,)
        known = self.embedding
        x = known.rows(ids) if isinstance(known, Blocks) else F.embedding(ids, known)
        x = _fill(x, self._least)
        cos, sin = self._turning(positions)
        attends = [(_Step if part.time == 1 else _Turn)(part, c).attend for part in parts]
        sizes = [sum(part.counts) for part in parts]
        seen = x.new_zeros(x.shape[0], h * c.head_dim)  # what attention gives; filled rows stay 0
        places = seen[:n].split_with_sizes(sizes)
        for index, layer in enumerate(self.layers):
            qkv = layer.qkv(F.rms_norm(x, width, layer.attention_norm, c.norm_eps))[:n]
            qkv = qkv.view(n, h + 2 * kv, c.head_dim)
            if layer.head_norms is not None:
                for heads, norm in zip((qkv[:, :h], qkv[:, h : h + kv]), layer.head_norms, strict=True):
                    heads.copy_(F.rms_norm(heads, (c.head_dim,), norm, c.norm_eps))
            turned = torch.addcmul(qkv * cos, qkv.roll(c.head_dim // 2, -1), sin)
            news = turned.split_with_sizes(sizes)
            for place, attend, new in zip(places, attends, news, strict=True):
                place.copy_(attend(index, new).reshape(place.shape))
            x = x + layer.output(seen)
            normed = F.rms_norm(x, width, layer.mlp_norm, c.norm_eps)
            if c.experts:  # filled rows must wake no expert
                x[:n] += layer.feed_forward(normed[:n])
            else:
                x = x + layer.feed_forward(normed)
        return F.rms_norm(x[:n], width, self.norm, c.norm_eps)

    def _turning(
        self, positions: Int[Tensor, " new"]
    ) -> tuple[Float[Tensor, "new heads dim"], Float[Tensor, "new heads dim"]]:
        """cos and sin for queries, keys and values in a row; values are turned by nothing."""
        c = self.config
        turns = self._turns[positions.clamp(max=c.context - 1)]
        turned = turns[:, :, None].expand(-1, -1, c.heads + c.kv_heads, -1)
        still = turned.new_zeros(*turned.shape[:2], c.kv_heads, c.head_dim)
        still[:, 0] = 1
        cos, sin = torch.cat((turned, still), dim=2).unbind(1)
        return cos, sin

    @torch.inference_mode()
    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Unnormalised log-probabilities of the next token."""
        rows = hidden.reshape(-1, hidden.shape[-1])
        with self._threads(rows.shape[0]):
            return self._readout(_fill(rows, self._least))[: rows.shape[0]].view(*hidden.shape[:-1], -1)


class _Turn:
    """Attention of one row's several new tokens, as the decoder does it."""

    def __init__(self, window: CacheWindow, config: DecoderConfig):
        self.window, self.heads, self.last = window, config.heads, -config.kv_heads

    def attend(self, layer: int, qkv: Float[Tensor, "time heads dim"]) -> Tensor:
        new = qkv[None]
        q, k, v = new[:, :, : self.heads], new[:, :, self.heads : self.last], new[:, :, self.last :]
        return self.window.attend(layer, q, k, v)


class _Step:
    """Attention of one new token a row, written to the cache in one operator for all rows."""

    def __init__(self, window: CacheWindow, config: DecoderConfig):
        cache, slots = window.cache, window.slots
        device = cache.store.device
        self.layers = cache.store.unbind(1)
        self.mask, self.rows, self.end = window.mask, window.rows, window.end
        self.slots = torch.tensor(slots, device=device)
        self.places = torch.tensor(window.starts, device=device)
        self.queries = (len(slots), config.kv_heads, -1, config.head_dim)
        self.new = (len(slots), 2, config.kv_heads, config.head_dim)
        self.heads = config.heads

    def attend(self, layer: int, qkv: Float[Tensor, "batch heads dim"]) -> Tensor:
        past = self.layers[layer]
        past[self.slots, :, :, self.places] = qkv[:, self.heads :].view(self.new)
        grouped = qkv[:, : self.heads].view(self.queries)  # a group's G heads as its queries
        keys, values = past[self.rows, :, :, : self.end].unbind(1)
        return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=self.mask)


def _kept(window: CacheWindow) -> Bool[Tensor, "batch time"]:
    """Which places of a padded batch hold new tokens."""
    counts = torch.tensor(window.counts, device=window.positions.device)
    return torch.arange(window.time, device=counts.device) < counts[:, None]


class _Packing:
    """A decoder's products, packed one by one while its own weights are let go."""

    def __init__(self, model: Decoder, bits: Bits | None, blocks: Mapping[str, Blocks], least: int):
        self.bits: Bits | None = bits
        self.blocks, self.least = blocks, least
        self.names = {id(module): name for name, module in cast(Named, model.named_modules())}

    def matrix(self, module: nn.Linear | nn.Embedding) -> Tensor | Blocks:
        """The module's weight as it will be kept; the module loses it."""
        weight = module.weight.detach()
        module.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
        found = self.blocks.get(f"{self.names[id(module)]}.weight")
        if found is None and self.bits is not None and weight.shape[1] % BLOCK == 0:
            found = quantise(weight, self.bits)
        return weight if found is None else found

    def product(self, matrix: Tensor | Blocks, bias: Tensor | None = None) -> Linear:
        """x → x Wᵀ + b."""
        if isinstance(matrix, Tensor):
            return pack(matrix, bias)
        return matrix if bias is None else lambda x: matrix(x) + bias

    def taken(self, linear: nn.Linear) -> Linear:
        """A layer's product."""
        bias = cast(Tensor | None, linear.bias)
        return self.product(self.matrix(linear), None if bias is None else bias.detach())

    def fed(self, mlp: MLP) -> Linear:
        """A feed-forward layer, of as many rows as it is given."""
        gate_up, down = self.taken(mlp.gate_up), self.taken(mlp.down)

        def feed_forward(x: Tensor) -> Tensor:
            gate, up = gate_up(_fill(x, self.least)).chunk(2, dim=-1)
            return down(F.silu(gate).mul_(up))[: x.shape[0]]

        return feed_forward

    def mixed(self, moe: MoE) -> Linear:
        """Rows to their experts and back: only the weights of experts that have rows are read."""
        experts = list(map(self.fed, moe.each()))
        return lambda x: by_expert(x, moe.router(x), experts)

    def layer(self, block: Block, sparse: Sparse | None) -> Layer:
        """A block, laid out."""
        attention, mlp = block.attention, block.mlp
        norms = None
        if attention.q_norm is not None and attention.k_norm is not None:
            norms = (attention.q_norm.weight.detach(), attention.k_norm.weight.detach())
        if isinstance(mlp, MLP):
            feed_forward = self.fed(mlp)
        else:
            feed_forward = self.mixed(mlp) if sparse is None else sparse(block.layer, mlp.router)
        return Layer(
            block.attention_norm.weight.detach(),
            self.taken(attention.qkv),
            norms,
            self.taken(attention.output),
            block.mlp_norm.weight.detach(),
            feed_forward,
        )


def pack(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None = None) -> Linear:
    """x → x Wᵀ + b, by a copy of W reordered for oneDNN where that is the faster way (a CPU)."""
    if not reorders(weight):
        return lambda x: F.linear(x, weight, bias)
    ops = torch.ops.mkldnn
    packed = ops._reorder_linear_weight(weight.contiguous(), HINT)
    product = ops._linear_pointwise.default

    def linear(x: Tensor) -> Tensor:
        return product(x, packed, bias, "none", [], "")

    return linear


def unpacked(weight: Callable[[], Float[Tensor, "out in"]], x: Float[Tensor, "rows in"]) -> Tensor:
    """The bits of `pack(W)(x)` from W as it lies: no copy, for a tenth to a third more time."""
    w = weight()
    if not reorders(w):
        return F.linear(x, w)
    return torch.ops.mkldnn._linear_pointwise.default(x, w, None, "none", [], "")


def reorders(weight: Tensor) -> bool:
    """Whether `pack` makes a copy; otherwise it goes on with the given weight."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def gated(gate: Linear, up: Linear, down: Linear) -> Linear:
    """x → W_down (silu(W_gate x) · W_up x), from three products."""

    def feed_forward(x: Tensor) -> Tensor:
        rows = _fill(x, ROWS)
        return down(F.silu(gate(rows)).mul_(up(rows)))[: x.shape[0]]

    return feed_forward


def _fill(x: Float[Tensor, "rows dim"], least: int) -> Float[Tensor, "more dim"]:
    """At least so many rows, zeros after the given ones."""
    lacking = least - x.shape[0]
    return F.pad(x, (0, 0, 0, lacking)) if lacking > 0 else x
