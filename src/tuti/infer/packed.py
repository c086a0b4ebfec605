"""A decoder laid out for inference: the same function of the same weights, with less overhead.

On a CPU a step that makes few tokens is bound by reading the weights and by calling its hundred small
operators. So there a matrix becomes rows of blocks (`nn/quantised.py`; fp32 and bfloat16 ones stay as
they lie) and a layer two compiled calls (`nn/step.py`), which read 16, 8 or 4 bits as fast as memory
gives them; what is computed is fp32 always. Elsewhere the decoder goes on as it is.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tuti.infer.generate import Model
from tuti.nn import Block, CacheWindow, Decoder, DecoderConfig, KVCache
from tuti.nn.moe import BENDS, MLP, Activation, MoE, Router, by_expert
from tuti.nn.norm import RMSNorm
from tuti.nn.quantised import BLOCK, Bits, Blocks, Matrix, as_matrix, quantise, woven
from tuti.run import UserError

QUERIES = 12  # of one sequence that look at its keys together

Rows = Callable[[Tensor], Tensor]
# What `step.attended` is given; the feed-forward layer's norm, itself, and the norm of what it adds
Layer = tuple[Any, Tensor, Rows, Tensor]
Named = Iterator[tuple[str, nn.Module]]
Sparse = Callable[[int, Router], Rows]  # a layer's number and router → its experts' feed-forward layer


def laid_out(model: Decoder, bits: Bits | None = None, sparse: Sparse | None = None) -> Model:
    """For inference: packed on a CPU, which takes the decoder's weights away, else as it is."""
    if model.norm.weight.device.type == "cpu":
        return PackedDecoder(model, bits, sparse=sparse)
    if bits or sparse:
        raise UserError("quantised weights are for a CPU", hint="leave the bits out, or take the device cpu")
    return model


@dataclass(frozen=True)
class Gated:
    """x → W_down (silu(W_gate x) · W_up x) for rows [N, dim]"""

    gate: Matrix
    up: Matrix
    down: Matrix
    activation: Activation = "silu"

    @cached_property
    def arrays(self) -> Any:
        return self.gate.arrays, self.up.arrays, self.down.arrays, BENDS[self.activation]

    def __call__(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        step, n = _loops(), torch.get_num_threads()
        with step.threads(n):
            return torch.from_numpy(step.fed(x.numpy(), *self.arrays, n))


class PackedDecoder:
    """`Decoder` with a cache, for inference on a CPU. It takes the decoder's weights away from it.

    bits: quantise every matrix to 8 or 4 bits, embedding and readout to 8 at least. blocks: matrices by name
    that are quantised already, so that the decoder's own may be on the meta device. sparse: gives the
    experts that `model` has only the shapes of (see offload.py). A row's bits do not depend on other rows.
    """

    @torch.inference_mode()
    def __init__(
        self, model: Decoder, bits: Bits | None = None, blocks: Mapping[str, Blocks] | None = None,
        sparse: Sparse | None = None,
    ):
        self.config: DecoderConfig = model.config
        self.norm = model.norm.weight.detach().float()
        pack = _Packing(model, bits, blocks or {})
        self.embedding = pack.matrix(model.embedding, 8)
        self._readout = self.embedding if model.head is None else pack.matrix(model.head, 8)
        c = self.config
        tables = [model.table(c.context, self.norm, c.is_far(layer)) for layer in range(c.layers)]
        self._tables = [table.detach().float().numpy() for table in tables]
        self._windows = [c.window_of(layer) for layer in range(c.layers)]
        self.layers: list[Layer] = []
        for block in model.blocks:
            assert isinstance(block, Block)
            self.layers.append(pack.layer(block, sparse))
            for name, parameter in block.named_parameters():
                if "router" not in name:  # which goes on as it is
                    parameter.data = parameter.data.new_empty(0)
        if sparse is None:  # what the first pass compiles is compiled now: once on a machine, half a minute
            self.logits(self(torch.zeros(1, 1, dtype=torch.long), cache=self.cache(1, 1).window([0], [1])))

    def cache(self, slots: int, length: int) -> KVCache:
        """An empty cache for `slots` sequences of at most `length` tokens each; a head is whole blocks."""
        c = self.config
        return KVCache(c.layers, c.kv_heads, -(-c.head_dim // BLOCK) * BLOCK, slots, length)

    @torch.inference_mode()
    def __call__(
        self, ids: Int[Tensor, "batch time"], *, cache: CacheWindow
    ) -> Float[Tensor, "batch time dim"]:
        """Final hidden states of the new tokens, as `Decoder.forward` with a cache.

        Padding costs nothing: only new tokens are computed, all in one pass.
        """
        kept = torch.arange(cache.time) < torch.tensor(cache.counts)[:, None]
        embedded = self.embedding.rows(ids[kept])[:, : self.config.width] * self.config.scale
        x = self._layers(embedded.contiguous(), cache)
        hidden = x.new_zeros(*ids.shape, x.shape[-1])
        hidden[kept] = F.rms_norm(x, (self.config.width,), self.norm, self.config.norm_eps)
        cache.commit()
        return hidden

    def _layers(self, x: Float[Tensor, "new dim"], cache: CacheWindow) -> Float[Tensor, "new dim"]:
        """All layers, in place."""
        step, n, c, numbers = _loops(), torch.get_num_threads(), self.config, x.numpy()
        shared = max(1, QUERIES * c.kv_heads // c.heads)
        store = cache.cache.store.numpy()
        rows = step.placed(cache.slots, cache.starts, cache.counts, shared)
        for index, (attention, norm, gated, after) in enumerate(self.layers):
            window = self._windows[index] or c.context + cache.end
            with step.threads(n):
                step.attended(numbers, *attention, self._tables[index], store, index, rows, window, n)
                if isinstance(gated, Gated):
                    step.thought(numbers, norm.numpy(), after.numpy(), c.norm_eps, *gated.arrays, n)
            if not isinstance(gated, Gated):
                x += gated(F.rms_norm(x, (c.width,), norm, c.norm_eps))
        return x

    @torch.inference_mode()
    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Unnormalised log-probabilities of the next token."""
        return self._readout(hidden.reshape(-1, hidden.shape[-1])).view(*hidden.shape[:-1], -1)


def _loops() -> Any:
    """`nn/step.py`, which has no types, loaded when it is needed: it takes a second."""
    from tuti.nn import step

    return step


class _Packing:
    """A decoder's matrices, packed one by one while its own weights are let go."""

    def __init__(self, model: Decoder, bits: Bits | None, blocks: Mapping[str, Blocks]):
        self.config, self.blocks = model.config, blocks
        self.bits: Bits | None = bits
        self.names = {id(module): name for name, module in cast(Named, model.named_modules())}

    def matrix(self, module: nn.Linear | nn.Embedding, bits: Bits | None = None) -> Matrix:
        """The module's weight as it will be kept; the module loses it. bits: in place of `self.bits`."""
        return self.parts(module, 1, bits)[0]

    def parts(self, module: nn.Linear | nn.Embedding, count: int, bits: Bits | None = None) -> list[Matrix]:
        """The same, its rows in equal parts."""
        weight = module.weight.detach()
        module.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
        found = self.blocks.get(f"{self.names[id(module)]}.weight")
        if found is None and self.bits is None:
            return [as_matrix(part) for part in weight.chunk(count)]
        blocks = found or quantise(weight, bits or self.bits or 8)
        return [woven(blocks.reordered(rows)) for rows in torch.arange(len(blocks.packed)).chunk(count)]

    def fed(self, mlp: MLP) -> Gated:
        """A feed-forward layer, of as many rows as it is given."""
        gate, up = self.parts(mlp.gate_up, 2)
        return Gated(gate, up, self.matrix(mlp.down), mlp.activation)

    def mixed(self, moe: MoE) -> Rows:
        """Rows to their experts and back: only the weights of experts that have rows are read."""
        experts, scores = list(map(self.fed, moe.experts)), as_matrix(moe.router.weight)
        return lambda x: by_expert(x, moe.router.choose(scores(x)), experts)

    def layer(self, block: Block, sparse: Sparse | None) -> Layer:
        """A block, laid out."""
        attention, mlp, c = block.attention, block.mlp, self.config
        norm = block.attention_norm.weight.detach().float()
        norms = torch.empty(2, 0)
        if attention.q_norm is not None and attention.k_norm is not None:
            norms = torch.stack((attention.q_norm.weight, attention.k_norm.weight)).float()
        bias = cast(Tensor | None, attention.qkv.bias)
        bias = torch.empty(0) if bias is None else bias.detach().float()
        numbers = (bias.view(-1, c.head_dim).numpy(), norms.numpy())
        qkv, output = self.matrix(attention.qkv), self.matrix(attention.output)
        if isinstance(mlp, MLP):
            feed_forward = self.fed(mlp)
        else:
            feed_forward = self.mixed(mlp) if sparse is None else sparse(block.layer, mlp.router)
        after = [
            one.weight.detach().float() if isinstance(one, RMSNorm) else torch.empty(0)
            for one in (block.attention_after, block.mlp_after)
        ]
        given = (norm.numpy(), after[0].numpy(), c.norm_eps, qkv.arrays, c.heads, *numbers, output.arrays)
        return given, block.mlp_norm.weight.detach().float(), feed_forward, after[1]
