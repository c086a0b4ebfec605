"""What held-out texts cost a model: bits per byte of documents, and a sample now and then."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tuti.data import Batch, Tokens, held_out_rows, read_tokens
from tuti.infer.generate import sample_text
from tuti.measure import bits_per_byte
from tuti.nn import Decoder, token_nll
from tuti.run import Run
from tuti.text import Tokenizer


def document_nats(
    model: Decoder, tokens: Tokens, context: int, documents: int, rows: int = 16
) -> NDArray[np.float64]:
    """Summed nats of each of the first `documents` documents, every token but the end id scored."""
    return summed_nats(model, held_out_rows(tokens, context, rows, documents), documents)


@torch.inference_mode()
def summed_nats(
    model: Decoder, batches: Iterable[tuple[Batch, NDArray[np.int64]]], count: int
) -> NDArray[np.float64]:
    """Summed nats of what is scored of each of `count` texts; each row comes with the number of its text."""
    nats = np.zeros(count)
    device = str(model.readout.device)
    for batch, numbers in batches:
        there = batch.to(device)
        each = token_nll(model, there.ids, there.targets).double().sum(dim=1).cpu().numpy()
        np.add.at(nats, numbers, each)
    return nats


class HeldOut:
    """Measures a model between updates on a few documents, and after the last one on all."""

    def __init__(self, folder: Path, context: int, run: Run, glance_bytes: int = 40_000) -> None:
        self.tokens = read_tokens(folder, "valid")
        self.tokenizer = Tokenizer.load(folder)
        self.context, self.run = context, run
        self.glance = int(np.searchsorted(np.cumsum(self.tokens.bytes), glance_bytes)) + 1

    def __call__(self, model: Decoder, step: int, *, last: bool = False) -> None:
        """Logs the measures, a sample, and the seconds that these took."""
        began = time.monotonic()
        model.eval()
        found, text = self.measured(model, step, last)
        self.run.log("held_out", step=step, last=last, **found)
        self.run.show(f"step {step}: held-out {text}")
        asked, text = self.sampled(model, step)
        self.run.log("sample", step=step, **({"prompt": asked} if asked else {}), text=text)
        self.run.show(f"  {asked[-80:]!r} → {text[:160]!r}" if asked else f"  {text[:200]!r}")
        model.train()
        self.run.log("measured", step=step, seconds=round(time.monotonic() - began, 3))

    def measured(self, model: Decoder, step: int, last: bool) -> tuple[dict[str, Any], str]:
        """Bits per byte of a glance, or of everything; and as words."""
        count = len(self.tokens) if last else min(self.glance, len(self.tokens))
        found = self.bits(document_nats(model, self.tokens, self.context, count))
        text = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        return {"documents": count, "bits_per_byte": found}, f"bits per byte: {text}"

    def sampled(self, model: Decoder, step: int) -> tuple[str, str]:
        """What was asked (here: nothing), and what the model wrote."""
        return "", sample_text(model, self.tokenizer, self.opening(step), max_tokens=60, seed=step)

    def bits(self, nats: NDArray[np.float64]) -> dict[str, float]:
        """Bits per byte of all, and of each group (script) by itself."""
        sizes, groups = self.tokens.bytes[: len(nats)], self.tokens.groups[: len(nats)]
        found = {"all": float(bits_per_byte(nats.sum(), int(sizes.sum())))}
        for number, name in enumerate(self.tokens.names):
            own = groups == number
            if own.any() and len(self.tokens.names) > 1:
                found[name] = float(nats[own].sum() / math.log(2) / sizes[own].sum())
        return found

    def opening(self, step: int) -> str:
        """The first words of a held-out document, another one each time."""
        ids = self.tokens.document(step % len(self.tokens))[1:9]
        return self.tokenizer.decode(ids.tolist())
