"""The next-token loss of a linear read-out, without ever holding all N × V logits.

nll(h, W, y) = Σ_n (logsumexp(W h_n) - (W h_n)[y_n]) over the n with y_n ≠ IGNORE, in nats.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = -100  # the target of a token that carries no loss
CHUNK = 2**20  # logits at a time: few enough to stay in the processor's cache
ROWS = 256  # tokens at a time at least: with fewer, reading W takes longer than multiplying by it


def _rows(vocab: int) -> int:
    """Tokens whose logits are held at once: 50 MB of them for 49,152 entries."""
    return max(ROWS, CHUNK // vocab)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class _SummedNLL(torch.autograd.Function):
    """Gradients are made with the loss, while a chunk's logits are at hand; backward scales them.

    With p = softmax(z), m = max z: logsumexp(z) = m - log(max p), which saves a second pass of
    exponentials, and dz = p - onehot(y) takes the place of p.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        need_h, need_w = ctx.needs_input_grad[:2]
        rows = _rows(weight.shape[0])
        total = _wide(hidden.new_zeros(()))
        grad_h = torch.empty_like(hidden) if need_h else None
        grad_w = _wide(torch.zeros_like(weight)) if need_w else None
        for start in range(0, hidden.shape[0], rows):
            h, y = hidden[start : start + rows], targets[start : start + rows, None]
            z = _wide(h @ weight.T)
            m = z.amax(1, keepdim=True)
            total += (m - z.gather(1, y)).sum()
            p = torch.softmax(z, 1, out=z)
            total -= p.amax(1).log_().sum()
            if not (need_h or need_w):
                continue
            error = p.scatter_add_(1, y, p.new_full(y.shape, -1.0)).to(h.dtype)
            if grad_h is not None:
                torch.mm(error, weight, out=grad_h[start : start + rows])
            if grad_w is not None:
                if grad_w.dtype == h.dtype:
                    grad_w.addmm_(error.T, h)
                else:
                    grad_w += error.T @ h
        ctx.save_for_backward(grad_h, None if grad_w is None else grad_w.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        kept: tuple[Tensor | None, ...] = ctx.saved_tensors
        grad_h, grad_w = (None if grad is None else grad * grads[0].to(grad.dtype) for grad in kept)
        return grad_h, grad_w, None


def summed_nll(
    hidden: Float[Tensor, "*batch dim"], weight: Float[Tensor, "vocab dim"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Σ of the negative log-likelihoods of the targets, in nats, fp32 (fp64 for fp64)."""
    flat, y = hidden.flatten(0, -2), targets.flatten().long()
    keep = y != IGNORE
    if not bool(keep.all()):
        flat, y = flat[keep], y[keep]
    return _SummedNLL.apply(flat, weight, y)  # type: ignore[no-any-return]


def each_nll(
    hidden: Float[Tensor, "*batch dim"], weight: Float[Tensor, "vocab dim"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """The negative log-likelihood of every target, 0 where it is IGNORE; nats, fp32 at least."""
    flat, y = hidden.flatten(0, -2), targets.flatten().long()
    scored = (y != IGNORE).nonzero()[:, 0]
    found = torch.zeros(y.shape, dtype=_wide(hidden[:0]).dtype, device=hidden.device)
    for own in torch.split(scored, _rows(weight.shape[0])):
        found[own] = F.cross_entropy(_wide(flat[own] @ weight.T), y[own], reduction="none")
    return found.view(targets.shape)
