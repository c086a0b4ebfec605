"""Optimisers over a model whose weights may be bf16: the updates happen on fp32 masters.

Rounding an update of 1e-3 × 0.02 into bf16 (8 bits of mantissa) loses most of it; so the masters, the
momenta and the update stay in fp32, and the model's weights are rounded copies of the masters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from tuti.train.muon import Momentum, whole


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


Part = torch.optim.Optimizer | Momentum


class Optimiser:
    """Steps the masters of a model and keeps its (possibly rounded) weights equal to them."""

    def __init__(self, model: nn.Module, method: AdamW | Muon, *, clip: float = 1.0) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.weights = [p for _, p in named]
        self.clip = clip
        self.masters = [
            nn.Parameter(p.detach().float().clone()) if p.dtype == torch.bfloat16 else p for p in self.weights
        ]
        self.parts = _build(list(zip(self.names, self.masters, strict=True)), method)
        for part in self.parts:
            for group in part.param_groups:
                group["peak"] = group["lr"]

    def step(self, multiplier: float) -> float:
        """One update at `multiplier` × the peak rate; returns the gradient's norm before clipping.

        A norm that is not finite leaves everything as it was: the caller decides what then.
        """
        assert multiplier >= 0
        for weight, master in zip(self.weights, self.masters, strict=True):
            if master is not weight and weight.grad is not None:  # None: an expert without tokens
                master.grad = weight.grad.float()
        norm = float(whole(nn.utils.clip_grad_norm_(self.masters, self.clip)))
        if norm == norm and norm != float("inf"):
            for part in self.parts:
                for group in part.param_groups:
                    group["lr"] = group["peak"] * multiplier
                part.step()
            self.round()
        for weight, master in zip(self.weights, self.masters, strict=True):
            weight.grad = master.grad = None
        return norm

    def round(self) -> None:
        """Copies the masters into the model's weights."""
        with torch.no_grad():
            for weight, master in zip(self.weights, self.masters, strict=True):
                if master is not weight:
                    weight.copy_(master)

    def state(self) -> dict[str, Tensor]:
        """Masters and momenta by name: all that a resumed run needs of the optimiser and model."""
        found = {f"master.{n}": m.detach() for n, m in zip(self.names, self.masters, strict=True)}
        for name, part, master in self._owned():
            for key, value in cast(dict[str, Any], part.state.get(master, {})).items():
                found[f"state.{key}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Puts back what `state` gave, to the bit."""
        with torch.no_grad():
            for name, master in zip(self.names, self.masters, strict=True):
                master.copy_(state[f"master.{name}"])
        for name, part, master in self._owned():
            fused = bool(part.param_groups[0].get("fused"))
            kept = {
                # Step counts stay on the processor, where AdamW keeps them unless it is fused.
                key.split(".")[1]: value.to(master.device if value.ndim or fused else "cpu", copy=True)
                for key, value in state.items()
                if key.startswith("state.") and key.split(".", 2)[2] == name
            }
            if kept:
                part.state[master] = kept
        self.round()

    def _owned(self) -> Iterable[tuple[str, Part, Tensor]]:
        names = {id(m): n for n, m in zip(self.names, self.masters, strict=True)}
        for part in self.parts:
            for group in part.param_groups:
                for master in cast(list[Tensor], group["params"]):
                    yield names[id(master)], part, master


def is_matrix(name: str, p: Tensor) -> bool:
    """Whether Muon updates this weight: a matrix that is neither embedding nor head nor router."""
    return p.ndim == 2 and not any(part in name for part in ("embed", "head", "router"))


def _build(named: list[tuple[str, nn.Parameter]], method: AdamW | Muon) -> list[Part]:
    matrices = [p for name, p in named if is_matrix(name, p)]
    others = [p for name, p in named if not is_matrix(name, p)]
    fused = named[0][1].device.type in ("cpu", "cuda") and type(named[0][1]) is nn.Parameter

    def adamw(groups: list[dict[str, Any]], lr: float, beta2: float) -> torch.optim.AdamW:
        betas, filled = (0.9, beta2), [group for group in groups if group["params"]]
        return torch.optim.AdamW(filled, lr=lr, betas=betas, weight_decay=0.0, fused=fused)

    plain: dict[str, Any] = {"params": others}
    if isinstance(method, AdamW):
        decayed = {"params": matrices, "weight_decay": method.weight_decay}
        return [adamw([decayed, plain], method.lr, method.beta2)]
    muon = Momentum(matrices, method.lr, method.weight_decay, method.momentum, method.iterations)
    return [muon, adamw([plain], method.embedding_lr, 0.95)] if others else [muon]
