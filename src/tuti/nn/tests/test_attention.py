"""Attention in bf16 against torch's in fp64, values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tuti.nn.attention import causal_attend, document_mask

DOCUMENTS = torch.arange(150).div(60, rounding_mode="floor").expand(2, -1)


@pytest.mark.parametrize("mask", [None, document_mask(DOCUMENTS, torch.bfloat16)])
def test_bf16_training_stays_close(mask: Tensor | None) -> None:
    g = torch.Generator().manual_seed(1)
    parts = [torch.randn(2, 150, n, 16, generator=g).bfloat16() for n in (4, 2, 2)]
    coarse = [p.clone().requires_grad_() for p in parts]
    out = causal_attend(*coarse, mask)
    weight = torch.randn(out.shape, generator=g)
    (out * weight).sum().backward()
    fine = [p.double().requires_grad_() for p in parts]
    q, k, v = (p.transpose(1, 2) for p in fine)
    seen = torch.ones(150, 150, dtype=torch.bool).tril() if mask is None else mask == 0
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True).transpose(1, 2)
    (want * weight).sum().backward()
    torch.testing.assert_close(out.double(), want, rtol=0.03, atol=0.03)
    for a, b in zip(coarse, fine, strict=True):
        assert F.cosine_similarity(a.grad.double().flatten(), b.grad.flatten(), dim=0) > 0.999
