"""Attention by chunks against torch's, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from tuti.nn.attention import causal_attend, chunked_attend, document_mask

DOCUMENTS = torch.tensor([[0] * 7, [0, 0, 0, 1, 1, 2, 2]])


@pytest.mark.parametrize("heads,kv", [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("chunk", [3, 7, 64])
def test_chunks_equal_the_whole(heads: int, kv: int, chunk: int) -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 7, n, 4, generator=g, dtype=torch.float64, requires_grad=True)
        for n in (heads, kv, kv)
    )
    mask = document_mask(DOCUMENTS, torch.float64)
    got = chunked_attend(q, k, v, mask, chunk)
    torch.testing.assert_close(got, causal_attend(q, k, v, mask), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *x: chunked_attend(*x, mask, chunk), (q, k, v))


def test_bf16_training_takes_them_and_stays_close() -> None:
    g = torch.Generator().manual_seed(1)
    parts = [torch.randn(2, 150, n, 16, generator=g).bfloat16() for n in (4, 2, 2)]
    coarse = [p.clone().requires_grad_() for p in parts]
    out = causal_attend(*coarse)
    assert "_Chunked" in str(out.grad_fn)
    weight = torch.randn(out.shape, generator=g)
    (out * weight).sum().backward()
    fine = [p.double().requires_grad_() for p in parts]
    q, k, v = (p.transpose(1, 2) for p in fine)
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)
    (want * weight).sum().backward()
    torch.testing.assert_close(out.double(), want, rtol=0.03, atol=0.03)
    for a, b in zip(coarse, fine, strict=True):
        assert F.cosine_similarity(a.grad.double().flatten(), b.grad.flatten(), dim=0) > 0.999
