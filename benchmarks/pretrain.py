"""Training tokens/s of our decoder ÷ transformers' LlamaForCausalLM, with the floor beside them.

4 layers, width 128, context 256, batch 8, vocabulary 4,096, fp32, 2 threads; the same weights, the
same batches and the same fused AdamW. Checked first: losses within 1e-3 of each other for 50 steps. The
floor is the time of the matrix products alone (forward and backward, no attention), taken by turns
with the others.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from harness import compare, rate, report, show
from torch import Tensor
from transformers import LlamaForCausalLM

from tuti.nn import Decoder, DecoderConfig, nll, save_decoder

CONFIG = DecoderConfig(
    vocab=4096, width=128, layers=4, heads=4, kv_heads=4, head_dim=32, hidden=344, context=256
)
BATCH, STEPS = 8, 10
TOKENS = BATCH * CONFIG.context

Step = Callable[[Tensor, Tensor], Tensor]


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets [8, 256] with a Zipf-like frequency and a little order to learn."""
    g = torch.Generator().manual_seed(0)
    weights = 1.0 / torch.arange(1, CONFIG.vocab + 1)
    ids = torch.multinomial(weights, count * BATCH * 257, replacement=True, generator=g)
    ids = ids.view(count, BATCH, 257)
    ids[:, :, 1::2] = (ids[:, :, :-1:2] * 7 + 1) % CONFIG.vocab
    return [(rows[:, :-1].contiguous(), rows[:, 1:].contiguous()) for rows in ids]


def adamw(model: torch.nn.Module) -> torch.optim.AdamW:
    """The optimiser of both sides."""
    return torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )


def our_step(model: Decoder) -> Step:
    """One optimiser step of ours on a batch; returns the loss."""
    optimiser = adamw(model)

    def step(ids: Tensor, targets: Tensor) -> Tensor:
        loss = nll(model, ids, targets) / TOKENS
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def their_step(model: LlamaForCausalLM) -> Step:
    """The same step of the peer."""
    optimiser = adamw(model)

    def step(ids: Tensor, targets: Tensor) -> Tensor:
        loss = model(input_ids=ids, labels=targets, shift_labels=targets).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def products() -> Callable[[], float]:
    """Every matrix product of one training step, of the shapes and the number that a step has."""
    c = CONFIG
    heads = c.heads * c.head_dim
    shapes = [(c.width, heads + 2 * c.kv_heads * c.head_dim), (heads, c.width)]
    shapes += [(c.width, 2 * c.hidden), (c.hidden, c.width)]
    shapes = shapes * c.layers + [(c.width, c.vocab)]
    work = [(torch.randn(TOKENS, i), torch.randn(o, i), torch.randn(TOKENS, o)) for i, o in shapes]

    def run() -> float:
        for _ in range(STEPS):
            for x, w, g in work:
                torch.mm(x, w.T)
                torch.mm(g, w)
                torch.mm(g.T, x)
        return float(STEPS * TOKENS)

    return run


def main() -> None:
    """Check that both learn the same, then time them by turns."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    ours = Decoder(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        save_decoder(ours, Path(folder))
        theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs.train()
    theirs.config.use_cache = False
    mine, peer, data = our_step(ours), their_step(theirs), batches(50)
    gap = 0.0
    for index, batch in enumerate(data):
        a, b = float(mine(*batch)), float(peer(*batch))
        gap = max(gap, abs(a - b))
        if index % 10 == 0:
            show(f"step {index}: loss {a:.5f} against {b:.5f}")
    assert gap <= 1e-3, f"the loss curves differ by {gap}: not the same computation"

    def timed(step: Step) -> Callable[[], float]:
        def run() -> float:
            for batch in data[:STEPS]:
                step(*batch)
            return float(STEPS * TOKENS)

        return run

    pairs = compare(timed(mine), timed(peer), pairs=9)
    floor = products()
    bound = statistics.median(rate(floor) for _ in range(5))
    report(
        "pretrain",
        pairs,
        unit="tokens/s",
        largest_loss_gap=gap,
        matrix_products_alone=bound,
        share_of_floor=statistics.median(p.ours for p in pairs) / bound,
    )


if __name__ == "__main__":
    main()
