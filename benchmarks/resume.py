"""What a checkpoint costs: the time training stands still ÷ the time between two checkpoints.

    make bench NAME=resume

The model, optimiser and interval are those of the demo's plan; the bound is 2 %.
"""

import statistics
import tempfile
from pathlib import Path

import harness
import torch

from tuti.nn import Decoder, nll
from tuti.pipelines.plan import CONTEXT, shape
from tuti.run import Run, RunOptions
from tuti.train import Checkpoints, Muon, Optimiser

BOUND = 0.02
EVERY = 30


def main() -> None:
    torch.manual_seed(0)
    model = Decoder(shape(192, 6, 4096)).to(torch.bfloat16)
    optimiser = Optimiser(model, Muon())
    ids = torch.randint(0, 4096, (8, CONTEXT + 1))
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(Run(Path(scratch), RunOptions()))
        for turn in range(7):
            seconds = sum(1 / harness.rate(lambda: update(model, optimiser, ids)) for _ in range(EVERY))
            stall = checkpoints.save(turn, optimiser.state())
            if turn:  # the first one allocates its buffers
                shares.append(stall / (seconds + stall))
                harness.show(f"stall {stall * 1000:.1f} ms in {seconds:.1f} s: {shares[-1]:.4%}")
        checkpoints.wait()
    ratios = [share / BOUND for share in shares]
    harness.write(
        "resume",
        ours=statistics.median(shares),
        peer=None,
        unit="share of the time",
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        n=len(ratios),
        every=EVERY,
    )


def update(model: Decoder, optimiser: Optimiser, ids: torch.Tensor) -> float:
    (nll(model, ids[:, :-1], ids[:, 1:]) / ids[:, 1:].numel()).backward()
    optimiser.step(0.5)
    return 1.0


if __name__ == "__main__":
    main()
