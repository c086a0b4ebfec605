"""Feed-forward layers, and a sparse mixture of them: each token is sent to k of E (Shazeer et al. 2017).

As in Mixtral (Jiang et al. 2024, section 2.1): y = Σ softmax(topk(x W_gᵀ))_e · SwiGLU_e(x), the sum over
the k chosen experts. Tokens are sorted by expert, so that an expert reads its rows as one matrix and is
read only if it has some; no token is dropped unless a capacity is asked for.
"""

import math
from collections import UserList
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Activation = Literal["silu", "gelu"]
BENDS: dict[Activation, tuple[float, float]] = {"silu": (1.0, 0.0), "gelu": (1.5957691216, 0.0713548163)}
"""(a, b) for which the activation is g · sigmoid(a g + b g³); gelu by tanh (Hendrycks & Gimpel 2016)"""
Shares = Literal["chosen", "all"]


def swiglu(
    gate_up: Float[Tensor, "*batch double"], activation: Activation = "silu"
) -> Float[Tensor, "*batch hidden"]:
    """silu(g) · u for the halves g, u of the last axis, silu(g) = g · sigmoid(g); or gelu(g) · u."""
    gate, up = gate_up.chunk(2, dim=-1)
    return (F.silu(gate) if activation == "silu" else F.gelu(gate, approximate="tanh")) * up


class MLP(nn.Module):
    """SwiGLU or GEGLU (Shazeer 2020, equation 6), W_gate and W_up stacked into one matrix [2F, D].

    W_down (silu(W_gate x) · W_up x)
    """

    def __init__(self, width: int, hidden: int, activation: Activation = "silu"):
        super().__init__()
        self.activation: Activation = activation
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        return self.down(swiglu(self.gate_up(x), self.activation))


@dataclass(frozen=True)
class Routing:
    """Where one layer sent N tokens: scores of all E experts, and the k chosen with their weights."""

    logits: Float[Tensor, "tokens experts"]
    weights: Float[Tensor, "tokens k"]
    chosen: Int[Tensor, "tokens k"]
    """Expert by number; E stands for nobody: that place of the token was dropped, its weight is 0"""

    @property
    def load(self) -> Float[Tensor, " experts"]:
        """Tokens that each expert got."""
        experts = self.logits.shape[1]
        return torch.bincount(self.chosen.flatten(), minlength=experts + 1)[:experts].float()


class Journal(UserList[Routing]):
    """The routings of a pass, layer by layer.

    Not a list: FSDP2 takes lists among a block's arguments apart and hands on copies, so that what the
    block appends is lost.
    """


Expert = Callable[[Tensor], Tensor]
Dispatch = Callable[[Tensor, Routing, Sequence[MLP]], Tensor]


class Router(nn.Module):
    """Scores each expert by a dot product and takes the k best.

    Their weights are a softmax over the chosen scores, which sum to 1 (Mixtral), or the chosen ones' shares
    of one over all (Switch, Qwen3 without normalisation). `bias`, which only a rule such as `Nudge` makes, is
    added for the choice alone, not for the weights.
    """

    bias: Tensor | None

    def __init__(self, width: int, experts: int, k: int, shares: Shares = "chosen"):
        super().__init__()
        assert 1 <= k <= experts, (k, experts)
        self.weight = nn.Parameter(torch.empty(experts, width))
        self.register_buffer("bias", None)
        self.k, self.shares = k, shares
        nn.init.normal_(self.weight, 0.0, 0.02)

    def forward(self, x: Float[Tensor, "tokens dim"]) -> Routing:
        return self.choose(F.linear(x, self.weight))

    def choose(self, logits: Float[Tensor, "tokens experts"]) -> Routing:
        """The routing that these scores mean."""
        scores = logits.detach() if self.bias is None else logits.detach() + self.bias
        chosen = scores.topk(self.k, -1).indices
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        among = wide.gather(1, chosen).softmax(-1)
        weights = among if self.shares == "chosen" else wide.softmax(-1).gather(1, chosen)
        return Routing(logits, weights.to(logits.dtype), chosen)


def within_capacity(routing: Routing, capacity: float) -> Routing:
    """Each expert takes its first ⌈capacity · k N / E⌉ tokens, others lose it (Fedus et al. 2022, 2.2)."""
    experts, flat = routing.logits.shape[1], routing.chosen.flatten()
    most = math.ceil(capacity * flat.numel() / experts)
    order = flat.argsort(stable=True)
    first = torch.searchsorted(flat[order], flat)  # where the expert's rows begin
    late = (order.argsort() - first >= most).view_as(routing.chosen)
    return replace(
        routing, weights=routing.weights.masked_fill(late, 0.0),
        chosen=routing.chosen.masked_fill(late, experts),
    )


def by_expert(
    x: Float[Tensor, "tokens dim"], routing: Routing, experts: Sequence[Expert]
) -> Float[Tensor, "tokens dim"]:
    """Each expert that has tokens is called once, with all of them; the others cost nothing.

    An idle expert gets no gradient, not zeros, unless processes must agree on what has one.
    """
    chosen = routing.chosen.flatten()
    order = chosen.argsort(stable=True)
    counts = cast(list[int], torch.bincount(chosen, minlength=len(experts) + 1).tolist())
    rows = x[order // routing.chosen.shape[1]]
    parts: Sequence[Tensor] = rows.split_with_sizes(counts)  # the last: nobody's
    together = torch.is_grad_enabled() and dist.is_initialized()
    pairs = zip(experts, parts[:-1], strict=True)
    made = [expert(part) for expert, part in pairs if len(part) or together]
    return _weighted(torch.cat([*made, torch.zeros_like(parts[-1])]), order, routing)


def grouped(
    x: Float[Tensor, "tokens dim"], routing: Routing, experts: Sequence[MLP]
) -> Float[Tensor, "tokens dim"]:
    """The same by grouped products, one launch for all experts: the way of a GPU."""
    chosen = routing.chosen.flatten()
    order = chosen.argsort(stable=True)
    counts = torch.bincount(chosen, minlength=len(experts) + 1)
    ends = counts[:-1].cumsum(0).to(torch.int32)
    gate_up = torch.stack([expert.gate_up.weight for expert in experts])
    down = torch.stack([expert.down.weight for expert in experts])
    rows = x[order // routing.chosen.shape[1]]
    hidden = swiglu(F.grouped_mm(rows, gate_up.transpose(1, 2), offs=ends))
    made = F.grouped_mm(hidden, down.transpose(1, 2), offs=ends)
    kept = torch.arange(len(rows), device=x.device) < ends[-1]  # what lies past the last end is not written
    return _weighted(torch.where(kept[:, None], made, 0.0), order, routing)


def _weighted(
    made: Float[Tensor, "rows dim"], order: Int[Tensor, " rows"], routing: Routing
) -> Float[Tensor, "tokens dim"]:
    """Rows in the experts' order back to their tokens, and each token's weighted sum.

    By plain operators: the bits of a small matrix product depend on where in memory its numbers lie.
    """
    places = order.argsort().view_as(routing.chosen).unbind(1)
    weights = routing.weights[..., None].unbind(1)
    total = made[places[0]] * weights[0]
    for own, weight in zip(places[1:], weights[1:], strict=True):
        total = total + made[own] * weight
    return total


class MoE(nn.Module):
    """E experts, each an MLP, and the router that sends a token to k of them.

    `experts` are those that this process holds, in order. `dispatch` carries tokens to experts and back:
    `by_expert`, `grouped`, or that of `across`; None takes the first on a processor, the second on a GPU.
    """

    def __init__(
        self, width: int, hidden: int, experts: int, k: int, *, shares: Shares = "chosen",
        dispatch: Dispatch | None = None, capacity: float | None = None,
    ):
        super().__init__()
        self.router = Router(width, experts, k, shares)
        self.experts = cast(Sequence[MLP], nn.ModuleList(MLP(width, hidden) for _ in range(experts)))
        self.dispatch, self.capacity = dispatch, capacity

    def forward(
        self, x: Float[Tensor, "*batch dim"], journal: Journal | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """y [.., D]; the routing is appended to `journal`, for balance and for those who look on."""
        rows = x.flatten(0, -2)
        routing = self.router(rows)
        if journal is not None:
            journal.append(routing)
        if self.capacity is not None:
            routing = within_capacity(routing, self.capacity)
        dispatch = self.dispatch or (grouped if x.is_cuda else by_expert)
        return dispatch(rows, routing, self.experts).view_as(x)


def keep_own(moe: MoE, group: dist.ProcessGroup) -> None:
    """Drops the experts that other processes hold; the router stays whole everywhere."""
    size, rank = group.size(), group.rank()
    experts = list(moe.experts)
    assert len(experts) % size == 0, f"{len(experts)} experts over {size} processes"
    share = len(experts) // size
    moe.experts = cast(Sequence[MLP], nn.ModuleList(experts[rank * share : (rank + 1) * share]))


def across(group: dist.ProcessGroup) -> Dispatch:
    """A dispatch to experts spread over processes: each holds E/R of them (Lepikhin et al. 2020, GShard).

        moe = MoE(width, hidden, experts, k, dispatch=across(group))
        keep_own(moe, group)

    Every process routes its own tokens, sends each to the process of its expert, and gets back what the
    expert made of it: two all-to-alls forward, two backward. What a process holds of an expert's gradient is
    the sum over all processes' tokens.
    """
    # Importing it takes a tenth of a second.
    from torch.distributed._functional_collectives import all_to_all_single_autograd as exchange  # pyright: ignore[reportUnknownVariableType]

    def dispatch(
        x: Float[Tensor, "tokens dim"], routing: Routing, experts: Sequence[MLP]
    ) -> Float[Tensor, "tokens dim"]:
        size, own = group.size(), len(experts)
        chosen = routing.chosen.flatten()
        order = chosen.argsort(stable=True)
        order = order[: int((chosen < size * own).sum())]  # nobody's rows stay here
        token, place = order // routing.chosen.shape[1], chosen[order]
        sent = torch.bincount(place // own, minlength=size)
        got = torch.empty_like(sent)
        dist.all_to_all_single(got, sent, group=group)
        there, back = cast(list[int], sent.tolist()), cast(list[int], got.tolist())
        rows = exchange(x[token], back, there, group)
        number = exchange(place % own, back, there, group)
        alone = Routing(x.new_zeros(1, own), x.new_ones(len(rows), 1), number[:, None])
        made = exchange(by_expert(rows, alone, experts), there, back, group)
        weights = routing.weights.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, token, made * weights)

    return dispatch


def load_balancing(journal: Sequence[Routing]) -> Float[Tensor, ""]:
    """E · Σ_e f_e P_e, layers together: k when tokens spread evenly, up to E when one expert takes all.

    f_e is the share of tokens that chose e (they sum to k) and P_e the mean probability that the router
    gives it (Fedus et al. 2022, equation 4; for k = 2 as Zoph et al. 2022). Only P has a gradient.
    """
    logits = torch.cat([routing.logits for routing in journal]).float()
    load = torch.stack([routing.load for routing in journal]).sum(0)
    return logits.shape[1] * (load / len(logits) * logits.softmax(-1).mean(0)).sum()


def router_z(journal: Sequence[Routing]) -> Float[Tensor, ""]:
    """The mean of logsumexp(logits)², which keeps scores small (Zoph et al. 2022, equation 5)."""
    logits = torch.cat([routing.logits for routing in journal]).float()
    return logits.logsumexp(-1).square().mean()


@dataclass(frozen=True)
class Penalty:
    """What unbalanced routing costs, in nats a token. Mixtral's is not disclosed; these are usual."""

    balance: float = 0.01
    """Weight of `load_balancing`"""
    z: float = 0.001
    """Weight of `router_z`"""

    def __call__(self, journal: Sequence[Routing]) -> Float[Tensor, ""]:
        return self.balance * load_balancing(journal) + self.z * router_z(journal)


@dataclass(frozen=True)
class Nudge:
    """Balance without a penalty: an expert with too few tokens gets a higher bias for the choice.

    b_e += rate · sign(mean load - load_e) after each update (Wang et al. 2024, algorithm 1; DeepSeek-V3).
    """

    rate: float = 0.001

    @torch.no_grad()
    def __call__(self, routers: Sequence[Router], journal: Sequence[Routing]) -> None:
        """One update of all layers' biases from the routings of its batches, each layer's in turn."""
        for number, router in enumerate(routers):
            load = torch.stack([r.load for r in journal[number :: len(routers)]]).sum(0)
            step = self.rate * (load.mean() - load).sign()
            router.bias = step if router.bias is None else router.bias + step
