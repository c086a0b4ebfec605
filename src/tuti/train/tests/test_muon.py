"""Muon against torch's: the same updates, but for what rounding to bf16 does to torch's."""

import pytest
import torch
from torch import nn

from tuti.train.optimisers import Momentum, Muon, orthogonal

SHAPES = [(8, 8), (24, 8), (8, 24), (24, 8), (5, 40)]


def in_fp32(grad, coefficients, steps, eps):
    """torch's iteration, written without its rounding."""
    a, b, c = coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if grad.size(0) > grad.size(1) else x


@pytest.mark.parametrize("exact", [True, False])
def test_the_updates_of_torch(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if exact:
        monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", in_fp32)
    chance = torch.Generator().manual_seed(0)
    first = [torch.randn(shape, generator=chance) for shape in SHAPES]
    ours, theirs = ([nn.Parameter(w.clone()) for w in first] for _ in range(2))
    mine = Momentum(ours, Muon(lr=0.02, weight_decay=0.1, momentum=0.95, iterations=3))
    peer = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.1, momentum=0.95, ns_steps=3, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(6):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            grad = torch.randn(a.shape, generator=chance)
            idle = (step + number) % 4 == 3  # an expert without tokens
            a.grad, b.grad = (None, None) if idle else (grad, grad.clone())
        mine.step()
        peer.step()
    for a, b, start in zip(ours, theirs, first, strict=True):
        apart = float(((a - b).norm() / (b - start).norm()).detach())
        assert apart <= (1e-5 if exact else 0.02), apart


def test_singular_values_come_near_one() -> None:
    x = orthogonal(torch.randn(4, 30, 12, generator=torch.Generator().manual_seed(1)), 5)
    values = torch.linalg.svdvals(x)
    assert 0.6 < float(values.min()) and float(values.max()) < 1.3
