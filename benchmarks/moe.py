"""Forward and backward of a layer of experts ÷ transformers' Mixtral block, as its model configures it.

512 wide, 8 experts of 1,792, top 2, fp32, 2 threads, a real router on random tokens, at 1, 64 and 1,024
tokens. Checked first: equal outputs and gradients. Beside each: a dense layer of the same FLOPs, and the
bytes of the experts that the tokens touched. The JSON's `ratio` is that of 64 tokens.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from harness import Pair, compare, report, show
from torch import Tensor, nn
from transformers import MixtralConfig, MixtralForCausalLM

from tuti.nn.moe import MLP, Journal, MoE

WIDTH, HIDDEN, EXPERTS, TOP = 512, 1792, 8, 2
REPEATS = {1: 30, 64: 10, 1024: 2}
"""Passes of one measurement"""


def peer() -> nn.Module:
    """The block inside a model: so it has the model's own choice of implementation (`grouped_mm`)."""
    config = MixtralConfig(
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_local_experts=EXPERTS,
        num_experts_per_tok=TOP,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=2,
        vocab_size=64,
    )
    model = MixtralForCausalLM(config)
    assert model.config._experts_implementation == "grouped_mm"
    block = model.model.layers[0].mlp
    for p in block.parameters():
        nn.init.normal_(p, 0, 0.02)
    return block


def ours(block: Any) -> MoE:
    """The same weights."""
    moe = MoE(WIDTH, HIDDEN, EXPERTS, TOP)
    with torch.no_grad():
        moe.router.weight.copy_(block.gate.weight)
        for e, expert in enumerate(moe.each()):
            expert.gate_up.weight.copy_(block.experts.gate_up_proj[e])
            expert.down.weight.copy_(block.experts.down_proj[e])
    return moe


def passed(model: nn.Module, x: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """One forward and backward pass: the output and the input's gradient."""
    model.zero_grad(set_to_none=True)
    x = x.detach().requires_grad_()
    y = model(x)
    y.backward(aim)
    assert x.grad is not None
    return y.detach(), x.grad


def equal(mine: MoE, block: Any, x: Tensor, aim: Tensor) -> None:
    """Outputs and all gradients agree; an expert that was not touched has none, there it is zero."""
    for a, b in zip(passed(mine, x, aim), passed(block, x, aim), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.router.weight.grad, block.gate.weight.grad, rtol=1e-3, atol=1e-4)
    for e, expert in enumerate(mine.each()):
        for one, other in ((expert.gate_up, "gate_up_proj"), (expert.down, "down_proj")):
            want = getattr(block.experts, other).grad[e]
            got = torch.zeros_like(want) if one.weight.grad is None else one.weight.grad
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def work(model: nn.Module, x: Tensor, aim: Tensor) -> Callable[[], float]:
    """Passes over the tokens, as a benchmark counts them: tokens."""

    def run() -> float:
        for _ in range(REPEATS[x.shape[1]]):
            passed(model, x, aim)
        return float(REPEATS[x.shape[1]] * x.shape[1])

    return run


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    block = peer()
    mine, dense = ours(block), MLP(WIDTH, TOP * HIDDEN)
    pairs: dict[int, list[Pair]] = {}
    about: dict[str, dict[str, float]] = {}
    for tokens in REPEATS:
        x, aim = torch.randn(1, tokens, WIDTH), torch.randn(1, tokens, WIDTH)
        equal(mine, block, x, aim)
        show(f"{tokens} tokens: equal outputs and gradients")
        pairs[tokens] = compare(work(mine, x, aim), work(block, x, aim), pairs=9, warm_up=2)
        against = compare(work(mine, x, aim), work(dense, x, aim), pairs=5)
        journal = Journal()
        mine(x, journal)
        touched = int((journal[0].load > 0).sum())
        ratios = [pair.ratio for pair in pairs[tokens]]
        about[str(tokens)] = {
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "time_over_dense": statistics.median(1 / pair.ratio for pair in against),
            "touched_megabytes": touched * 3 * WIDTH * HIDDEN * 4 / 1e6,
        }
        show(f"{tokens} tokens: {about[str(tokens)]}")
    report("moe", pairs[64], unit="tokens/s", by_tokens=about)


if __name__ == "__main__":
    main()
