"""A Llama-shaped decoder (Touvron et al. 2023): pre-norm blocks of attention and SwiGLU, or of experts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tuti.nn.attention import causal_attend, document_mask
from tuti.nn.cache import CacheWindow, KVCache
from tuti.nn.dropout import Dropout, Masks
from tuti.nn.loss import IGNORE, each_nll, summed_nll
from tuti.nn.moe import MLP, Activation, Journal, MoE, Routing, Shares
from tuti.nn.norm import RMSNorm
from tuti.nn.rope import document_positions, rope_table, rotate

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Balance = Callable[[Sequence[Routing]], Tensor]


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder; `rope_scaling` has `rope_type` linear or llama3 and its numbers.

    experts: feed-forward layers a block chooses from, 0 for the one that all tokens take; `active` of
    them a token, `shares` their weights: a softmax among the chosen (Mixtral) or among all.
    window: tokens back that attention sees, itself included (None: all).
    Gemma 3's: `scale` of the embedding; gelu in place of silu; norms of what a layer adds (`post_norms`); the
    layers `far` see all and turn by rope_theta, the others the window, by `near_theta` (None: all alike).
    """

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    context: int
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    tied: bool = True
    rope_scaling: Mapping[str, Any] | None = None
    experts: int = 0
    active: int = 2
    shares: Shares = "chosen"
    window: int | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    scale: float = 1.0
    activation: Activation = "silu"
    post_norms: bool = False
    far: tuple[int, ...] | None = None
    near_theta: float = 10000.0

    def __post_init__(self) -> None:
        sizes = (self.vocab, self.width, self.layers, self.heads, self.kv_heads, self.hidden)
        assert min(*sizes, self.context) > 0, self
        assert self.heads % self.kv_heads == 0, f"{self.heads} heads, {self.kv_heads} kv heads"
        assert self.head_dim > 0 and self.head_dim % 2 == 0, f"odd head_dim {self.head_dim}"
        assert 0 <= self.active <= self.experts or not self.experts, (self.active, self.experts)

    def is_far(self, layer: int) -> bool:
        """Whether the layer turns by rope_theta; where some layers are `far`, these see all, too."""
        return self.far is None or layer in self.far

    def window_of(self, layer: int) -> int | None:
        """Tokens back that the layer sees."""
        return None if self.far is not None and layer in self.far else self.window

    @property
    def matrix_parameters(self) -> int:
        """Parameters that a token is multiplied with: the blocks' matrices and the read-out."""
        heads = (2 * self.heads + 2 * self.kv_heads) * self.head_dim
        feed_forward = 3 * self.hidden * (self.active if self.experts else 1) + self.experts
        return self.layers * self.width * (heads + feed_forward) + self.vocab * self.width

    @property
    def active_parameters(self) -> int:
        """Parameters that one token's pass takes part of; a tied embedding counted once."""
        embedding = 0 if self.tied else self.vocab * self.width
        norms = (2 * (1 + self.post_norms) * self.layers + 1) * self.width
        norms += 2 * self.qk_norm * self.layers * self.head_dim
        biases = self.qkv_bias * self.layers * (self.heads + 2 * self.kv_heads) * self.head_dim
        return self.matrix_parameters + embedding + norms + biases

    @property
    def parameters(self) -> int:
        """All parameters, those of experts that a token does not meet included."""
        idle = max(0, self.experts - self.active)
        return self.active_parameters + self.layers * idle * 3 * self.hidden * self.width

    def flops_per_token(self, context: int) -> float:
        """Forward and backward FLOPs of one of `context` tokens under causal attention.

        6 per matrix parameter (2 forward, 4 backward); attention's two products cost
        2 · 2 · H · E per visible token and layer, (context + 1)/2 of them seen on average.
        """
        seen = (context + 1) / 2
        attention = 12 * self.layers * self.heads * self.head_dim * seen
        return 6.0 * self.matrix_parameters + attention


class Attention(nn.Module):
    """Rotary grouped-query self-attention; q, k and v are one matrix [(H + 2K)E, D].

    With `qkv_bias` they have biases (Qwen2); with `qk_norm` each head's query and key are normalised
    before they are turned (Henry et al. 2020, as Qwen3 does it).
    """

    def __init__(self, config: DecoderConfig, layer: int):
        super().__init__()
        c, self.layer, self.window = config, layer, config.window_of(layer)
        self.heads, self.kv_heads, self.head_dim = c.heads, c.kv_heads, c.head_dim
        self.qkv = nn.Linear(c.width, (c.heads + 2 * c.kv_heads) * c.head_dim, bias=c.qkv_bias)
        self.q_norm = RMSNorm(c.head_dim, c.norm_eps) if c.qk_norm else None
        self.k_norm = RMSNorm(c.head_dim, c.norm_eps) if c.qk_norm else None
        self.output = nn.Linear(c.heads * c.head_dim, c.width, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time dim"], table: Float[Tensor, "#batch time 2 planes"],
        mask: Float[Tensor, "batch 1 time time"] | None, past: CacheWindow | None,
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


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); `post_norms` are of what is added."""

    def __init__(self, config: DecoderConfig, layer: int):
        super().__init__()
        c, self.layer = config, layer
        self.attention_norm = RMSNorm(c.width, c.norm_eps)
        self.attention = Attention(c, layer)
        self.mlp_norm = RMSNorm(c.width, c.norm_eps)
        self.attention_after = RMSNorm(c.width, c.norm_eps) if c.post_norms else nn.Identity()
        self.mlp_after = RMSNorm(c.width, c.norm_eps) if c.post_norms else nn.Identity()
        self.mlp: MLP | MoE = MLP(c.width, c.hidden, c.activation)
        if c.experts:
            self.mlp = MoE(c.width, c.hidden, c.experts, c.active, shares=c.shares)

    def forward(
        self, x: Float[Tensor, "batch time dim"], table: Float[Tensor, "#batch time 2 planes"],
        mask: Float[Tensor, "batch 1 time time"] | None, past: CacheWindow | None,
        drop: Masks | None = None, journal: Journal | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        read = self.attention_after(self.attention(self.attention_norm(x), table, mask, past))
        x = x + (read if drop is None else drop(read, 2 * self.layer))
        normed = self.mlp_norm(x)
        thought = self.mlp(normed, journal) if isinstance(self.mlp, MoE) else self.mlp(normed)
        thought = self.mlp_after(thought)
        return x + (thought if drop is None else drop(thought, 2 * self.layer + 1))


class Decoder(nn.Module):
    """Token ids → final, normalised hidden states; `logits` reads them out.

    Without a generator, weights come from torch's global one. `blocks` are the units for FSDP2.
    `balance`, e.g. `Penalty()`, is what the routing of a batch costs a token while experts are trained.
    """

    def __init__(self, config: DecoderConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab, bias=False)
        self.balance: Balance | None = None
        self._tables: dict[tuple[torch.device, torch.dtype, bool], Tensor] = {}
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Normal weights of deviation 0.02, matrices that write to the residual stream 1/sqrt(2L)
        of it. The read-out is kept so small that the first loss is near ln V: with tied weights
        a token's own logit is about D·std, here at most half of ln V.
        """
        c = self.config
        small = 0.02 / math.sqrt(2 * c.layers)
        for name, p in self.named_parameters():
            if p.dim() == 1:
                nn.init.constant_(p, 0.0 if name.endswith("bias") else 1.0)
                continue
            std = small if name.endswith(("output.weight", "down.weight")) else 0.02
            if name == "embedding.weight" and c.tied:
                std = min(std, math.log(c.vocab) / (2 * c.width))
            if name == "head.weight":
                std = min(std, 0.3 / math.sqrt(c.width))
            nn.init.normal_(p, 0.0, std, generator=generator)

    @property
    def readout(self) -> Float[Tensor, "vocab dim"]:
        """The matrix that turns hidden states into logits."""
        return self.embedding.weight if self.head is None else self.head.weight

    def cache(self, slots: int, length: int) -> KVCache:
        """An empty cache for `slots` sequences of at most `length` tokens each."""
        c, w = self.config, self.embedding.weight
        return KVCache(c.layers, c.kv_heads, c.head_dim, slots, length, dtype=w.dtype, device=w.device)

    def table(self, length: int, like: Tensor, far: bool = True) -> Float[Tensor, "time 2 planes"]:
        """cos and sin for at least `length` positions, of far layers or of the others, kept between calls."""
        key, c = (like.device, like.dtype, far), self.config
        if key not in self._tables or len(self._tables[key]) < length:
            turns = (c.rope_theta, c.rope_scaling) if far else (c.near_theta, None)
            with torch.inference_mode(False):  # a table made while sampling must serve training
                table = rope_table(max(length, c.context), c.head_dim, *turns, like.dtype)
                self._tables[key] = table.to(like.device)
        return self._tables[key]

    def forward(
        self, ids: Int[Tensor, "batch time"], *, positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None, cache: CacheWindow | None = None,
        targets: Int[Tensor, "batch time"] | None = None, loss: Loss = summed_nll,
        dropout: Dropout | None = None, journal: Journal | None = None,
    ) -> Tensor:
        """Hidden states [B, T, D] after the last norm; with `targets`, loss(hidden, readout, targets).

        documents: each token's document number; none attends across, and positions restart.
        cache: `KVCache.window(...)`; ids are the new tokens (see cache.py).
        targets: the loss belongs to the forward pass so that DDP and FSDP2, which hook it, see all.
        dropout: zeroes channels of what each attention and each feed-forward layer adds.
        journal: takes the routing of each layer of experts.
        """
        assert targets is None or cache is None, "no gradient passes a cache"
        x = self.embedding(ids) * self.config.scale
        kinds = {self.config.is_far(layer) for layer in range(self.config.layers)}
        placed = {far: self._placed(x, far, positions, documents, cache) for far in kinds}
        drop = dropout and dropout.masks(2 * len(self.blocks), self.config.width, x.dtype)
        balanced = self.balance if targets is not None and torch.is_grad_enabled() else None
        if journal is None and balanced is not None:
            journal = Journal()
        for layer, block in enumerate(self.blocks):
            x = block(x, *placed[self.config.is_far(layer)], cache, drop, journal)
        x = self.norm(x)
        if cache is not None:
            cache.commit()
        if targets is None:
            return x
        nats = loss(x, self.readout, targets)
        if balanced is not None and journal:
            penalty = balanced(journal) * (targets != IGNORE).sum()
            nats = nats + (penalty - penalty.detach())  # a gradient alone: what is told stays the likelihood
        return nats

    def _placed(
        self, x: Float[Tensor, "batch time dim"], far: bool, positions: Int[Tensor, "batch time"] | None,
        documents: Int[Tensor, "batch time"] | None, cache: CacheWindow | None,
    ) -> tuple[Float[Tensor, "#batch time 2 planes"], Float[Tensor, "batch 1 time time"] | None]:
        """Each token's angles, and what hides other documents from it, in far layers or in the others."""
        if documents is not None and bool((documents == documents[:, :1]).all()):
            documents = None  # one document a row: plain causal attention, which is faster
        window = None if far and self.config.far is not None else self.config.window
        mask = None if documents is None else document_mask(documents, x.dtype, window)
        if cache is not None:
            assert documents is None and positions is None, "a cache knows its positions"
            positions = cache.positions
        elif positions is None and documents is not None:
            positions = document_positions(documents)
        if positions is None:
            table = self.table(x.shape[1], x, far)[None, : x.shape[1]]
        else:
            end = cache.end if cache is not None else int(positions.max()) + 1
            full = self.table(end, x, far)
            table = full[positions.clamp(max=full.shape[0] - 1)]
        return table, mask

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Unnormalised log-probabilities of the next token."""
        return F.linear(hidden, self.readout)


def nll(
    model: nn.Module, ids: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"],
    documents: Int[Tensor, "batch time"] | None = None, dropout: Dropout | None = None,
) -> Float[Tensor, ""]:
    """Summed negative log-likelihood in nats of the targets that are not -100.

    `model` is a Decoder, bare or wrapped by DDP or FSDP2.
    """
    return model(ids, documents=documents, targets=targets, dropout=dropout)


def token_nll(
    model: nn.Module, ids: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"],
    documents: Int[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch time"]:
    """Each target's negative log-likelihood in nats, 0 where it is -100."""
    return model(ids, documents=documents, targets=targets, loss=each_nll)
