"""Optimisers over a model whose weights may be bf16: the updates happen on fp32 masters.

Rounding an update of 1e-3 × 0.02 into bf16 (8 bits of mantissa) loses most of it; so the masters, the
momenta and the update stay in fp32, and the model's weights are rounded copies of the masters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov & Hutter 2019) for every weight."""

    lr: float = 2e-3
    """Peak learning rate"""
    weight_decay: float = 0.1
    """Decay of matrices (norms and embeddings are not decayed)"""
    beta2: float = 0.95
    """Decay of the second moment"""


@dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for all else."""

    lr: float = 8e-3
    """Peak learning rate of the matrices, scaled to AdamW's RMS"""
    embedding_lr: float = 1.4e-2
    """Peak learning rate of embeddings, head and norms"""
    weight_decay: float = 0.1
    """Decay of the matrices"""
    momentum: float = 0.95
    """Momentum of Muon"""
    iterations: int = 3
    """Newton–Schulz iterations of an update: 5 are closer to orthogonal, and learn no faster here"""


QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of x ← a x + b (x xᵀ) x + c (x xᵀ)² x: steep at 0, and it ends between .7 and 1.2"""


class Momentum:
    """Muon (Jordan et al. 2024): Nesterov momentum whose singular values are all brought near 1.

    `torch.optim.Muon` does the same, always in bf16: a processor without bf16 instructions multiplies such
    matrices thirty times more slowly than fp32 ones (measured on AVX2), so that small models spent most of an
    update there. Here a processor computes in fp32, a GPU in bf16, and matrices of one shape go together. Of
    weights that FSDP2 has sharded each is gathered once, not at every product of the iteration. `state` holds
    each weight's momentum.
    """

    def __init__(self, weights: Sequence[Tensor], method: Muon) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(weights), "lr": method.lr}]
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.method = method

    @torch.no_grad()
    def step(self) -> None:
        """w ← (1 - lr · decay) w - lr · 0.2 sqrt(max(rows, columns)) · orthogonal(direction)."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = {}
            for weight in cast(list[Tensor], group["params"]):
                if weight.grad is not None:
                    alike.setdefault(tuple(weight.shape), []).append(weight)
            for shape, weights in alike.items():
                directions = torch.stack([self._direction(weight) for weight in weights])
                changes = orthogonal(directions, self.method.iterations)
                changes *= -group["lr"] * 0.2 * max(shape) ** 0.5  # the size of AdamW's updates
                for weight, change in zip(weights, changes, strict=True):
                    if isinstance(weight, DTensor):  # every process has the whole change: nothing is sent
                        there = (weight.device_mesh, weight.placements)
                        change = distribute_tensor(change, *there, src_data_rank=None)
                    weight.mul_(1 - group["lr"] * self.method.weight_decay).add_(change)

    def _direction(self, weight: Tensor) -> Tensor:
        """The momentum with the gradient ahead of it (Nesterov), whole."""
        grad = cast(Tensor, weight.grad)
        buffer = self.state.setdefault(weight, {}).setdefault("momentum_buffer", torch.zeros_like(grad))
        buffer.lerp_(grad, 1 - self.method.momentum)
        return whole(grad.lerp(buffer, self.method.momentum))


def whole(tensor: Tensor) -> Tensor:
    """A tensor that FSDP2 may have sharded, gathered."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def orthogonal(
    matrices: Float[Tensor, "count rows columns"], iterations: int
) -> Float[Tensor, "count rows columns"]:
    """Each matrix with its singular values brought near 1, by Newton–Schulz iterations on the short side."""
    a, b, c = QUINTIC
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


CLIP = 1.0
"""Largest norm of a gradient"""
Part = torch.optim.Optimizer | Momentum


class Optimiser:
    """Steps the masters of a model and keeps its (possibly rounded) weights equal to them."""

    def __init__(self, model: nn.Module, method: AdamW | Muon) -> None:
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.masters = {
            name: nn.Parameter(p.detach().float().clone()) if p.dtype == torch.bfloat16 else p
            for name, p in self.weights.items()
        }
        self.parts = _build(self.masters, method)
        self.owners = {name: self.parts[0 if is_matrix(name, p) else -1] for name, p in self.masters.items()}
        self.peaks = [(group, group["lr"]) for part in self.parts for group in part.param_groups]

    def step(self, multiplier: float) -> float:
        """One update at `multiplier` × the peak rate; returns the gradient's norm before clipping.

        A norm that is not finite leaves everything as it was: the caller decides what then.
        """
        assert multiplier >= 0
        for name, weight in self.weights.items():
            if self.masters[name] is not weight and weight.grad is not None:  # None: an expert without tokens
                self.masters[name].grad = weight.grad.float()
        norm = float(whole(nn.utils.clip_grad_norm_(list(self.masters.values()), CLIP)))
        if norm == norm and norm != float("inf"):
            for group, peak in self.peaks:
                group["lr"] = peak * multiplier
            for part in self.parts:
                part.step()
            self.round()
        for name, weight in self.weights.items():
            weight.grad = self.masters[name].grad = None
        return norm

    def round(self) -> None:
        """Copies the masters into the model's weights."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                if self.masters[name] is not weight:
                    weight.copy_(self.masters[name])

    def state(self) -> dict[str, Tensor]:
        """Masters and momenta by name: all that a resumed run needs of the optimiser and model."""
        found = {f"master.{name}": master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in cast(dict[str, Any], self.owners[name].state.get(master, {})).items():
                found[f"state.{key}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Puts back what `state` gave, to the bit."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(state[f"master.{name}"])
        for entry, value in state.items():
            if entry.startswith("state."):
                _, key, name = entry.split(".", 2)
                part, master = self.owners[name], self.masters[name]
                # Step counts stay on the processor, where AdamW keeps them unless it is fused.
                there = master.device if value.ndim or part.param_groups[0].get("fused") else "cpu"
                part.state.setdefault(master, {})[key] = value.to(there, copy=True)
        self.round()


def is_matrix(name: str, p: Tensor) -> bool:
    """Whether Muon updates this weight: a matrix that is neither embedding nor head nor router."""
    return p.ndim == 2 and not any(part in name for part in ("embed", "head", "router"))


def _build(masters: Mapping[str, nn.Parameter], method: AdamW | Muon) -> list[Part]:
    """The optimiser of the matrices, and last the one of all other weights, which may be the same."""
    matrices = [p for name, p in masters.items() if is_matrix(name, p)]
    others = [p for name, p in masters.items() if not is_matrix(name, p)]
    first = next(iter(masters.values()))
    fused = first.device.type in ("cpu", "cuda") and type(first) is nn.Parameter

    def adamw(groups: list[dict[str, Any]], lr: float, beta2: float) -> torch.optim.AdamW:
        betas, filled = (0.9, beta2), [group for group in groups if group["params"]]
        return torch.optim.AdamW(filled, lr=lr, betas=betas, weight_decay=0.0, fused=fused)

    plain: dict[str, Any] = {"params": others}
    if isinstance(method, AdamW):
        decayed = {"params": matrices, "weight_decay": method.weight_decay}
        return [adamw([decayed, plain], method.lr, method.beta2)]
    muon = Momentum(matrices, method)
    return [muon, adamw([plain], method.embedding_lr, 0.95)] if others else [muon]
