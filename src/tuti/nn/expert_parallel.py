"""Experts spread over processes: each holds E/R of them, and tokens travel (Lepikhin et al. 2020, GShard).

    moe = MoE(width, hidden, experts, k, dispatch=across(group))
    keep_own(moe, group)

Every process routes its own tokens, sends each to the process of its expert, and gets back what the
expert made of it: two all-to-alls forward, two backward. What a process holds of an expert's gradient is
the sum over all processes' tokens.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_to_all_single_autograd as exchange  # pyright: ignore[reportUnknownVariableType]

from tuti.nn.moe import MLP, Dispatch, MoE, Routing, by_expert


def keep_own(moe: MoE, group: dist.ProcessGroup) -> None:
    """Drops the experts that other processes hold; the router stays whole everywhere."""
    size, rank = group.size(), group.rank()
    experts = list(moe.experts)
    assert len(experts) % size == 0, f"{len(experts)} experts over {size} processes"
    share = len(experts) // size
    moe.experts = nn.ModuleList(experts[rank * share : (rank + 1) * share])


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
        rows = exchange(x[token], back, there, group)
        number = exchange(place % own, back, there, group)
        alone = Routing(x.new_zeros(1, own), x.new_ones(len(rows), 1), number[:, None])
        made = exchange(by_expert(rows, alone, experts), there, back, group)
        weights = routing.weights.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, token, made * weights)

    return dispatch
