"""Experts spread over processes: each holds E/R of them, and tokens travel (Lepikhin et al. 2020, GShard).

    moe = MoE(width, hidden, experts, k, dispatch=across(group))
    keep_own(moe, group)

Every process routes its own tokens, sends each to the process of its expert, and gets back what the
expert made of it: two all-to-alls forward, two backward. What a process holds of an expert's gradient is
the sum over all processes' tokens.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from tuti.nn.mlp import MLP
from tuti.nn.moe import Dispatch, MoE, Routing, by_expert


def keep_own(moe: MoE, group: dist.ProcessGroup) -> None:
    """Drops the experts that other processes hold; the router stays whole everywhere."""
    size, rank = group.size(), group.rank()
    experts = list(moe.experts)
    assert len(experts) % size == 0, f"{len(experts)} experts over {size} processes"
    share = len(experts) // size
    moe.experts = nn.ModuleList(experts[rank * share : (rank + 1) * share])


class _Exchange(torch.autograd.Function):
    """Rows to the processes they are for; their gradients travel back the same way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], got: list[int], group: dist.ProcessGroup) -> Tensor:
        ctx.sent, ctx.got, ctx.group = sent, got, group
        out = rows.new_empty(sum(got), *rows.shape[1:])
        dist.all_to_all_single(out, rows.contiguous(), got, sent, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return exchange(grads[0], ctx.got, ctx.sent, ctx.group), None, None, None


def exchange(rows: Tensor, sent: list[int], got: list[int], group: dist.ProcessGroup) -> Tensor:
    """`sent[r]` rows to process r, `got[r]` from it, in the order of processes."""
    return _Exchange.apply(rows, sent, got, group)  # type: ignore[no-any-return]


def across(group: dist.ProcessGroup) -> Dispatch:
    """A dispatch to experts of which this process holds every R-th part, in order."""

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
        rows = exchange(x[token], there, back, group)
        number = exchange(place % own, there, back, group)
        alone = Routing(x.new_zeros(1, own), x.new_ones(len(rows), 1), number[:, None])
        made = exchange(by_expert(rows, alone, experts), back, there, group)
        weights = routing.weights.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, token, made * weights)

    return dispatch
