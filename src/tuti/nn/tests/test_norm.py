"""RMS normalisation: the written-out gradient against autograd of the equation."""

import pytest
import torch
from torch import Tensor

from tuti.nn.norm import RootMeanSquare

rms_norm = RootMeanSquare.apply


def slow(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def test_value_and_gradients() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, generator=g, dtype=torch.float64, requires_grad=True)
    w = torch.randn(5, generator=g, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(rms_norm(x, w, 1e-3), slow(x, w, 1e-3), rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, 1e-3), (x, w))


@pytest.mark.parametrize("dtype,bound", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_coarse_types_equal_the_fine_one(dtype: torch.dtype, bound: float) -> None:
    g = torch.Generator().manual_seed(1)
    x, w = (torch.randn(s, generator=g).to(dtype).requires_grad_() for s in ((7, 64), (64,)))
    fine_x, fine_w = x.detach().double().requires_grad_(), w.detach().double().requires_grad_()
    y, fine = rms_norm(x, w, 1e-5), slow(fine_x, fine_w, 1e-5)
    assert y.dtype == dtype
    y.sum().backward()
    fine.sum().backward()
    for a, b in [(y, fine), (x.grad, fine_x.grad), (w.grad, fine_w.grad)]:
        torch.testing.assert_close(a.double(), b, rtol=bound, atol=bound)


def test_a_row_of_zeros_has_finite_gradients() -> None:
    x = torch.zeros(1, 4, requires_grad=True)
    rms_norm(x, torch.ones(4), 1e-5).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
