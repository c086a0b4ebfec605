"""Perplexity on held-out English with weights in 8 and in 4 bits ÷ fp32.

    make bench NAME=quant

SmolLM2-135M on the Debian handbook's English text, windows of 512 tokens; `ratio` is that of 8 bits,
with a bootstrap over windows. This model came as a file of 4-bit blocks like ours, so 4 bits cost it
less than they would cost another: beside it stands a model of equal shape whose weights were disturbed
by half of a 4-bit step before, so that they lie on no grid.
"""

import re

import numpy as np
import torch
from harness import show, write

from tuti.infer import PackedDecoder
from tuti.nn import Decoder, load_decoder
from tuti.nn.quantised import BLOCK, quantise
from tuti.pipelines.base import base_folder
from tuti.run.assets import fetch
from tuti.text import Tokenizer

WINDOW, WINDOWS = 512, 24


def windows(tokenizer: Tokenizer) -> torch.Tensor:
    """[WINDOWS, WINDOW] ids of the handbook, spread over it."""
    pages = sorted(fetch("handbook").glob("en-US/*.html"))
    text = " ".join(re.sub(r"<[^>]+>", " ", page.read_text("utf-8", "replace")) for page in pages)
    ids = torch.tensor(tokenizer.encode(re.sub(r"\s+", " ", text)))
    starts = torch.linspace(0, len(ids) - WINDOW, WINDOWS).long()
    return torch.stack([ids[start : start + WINDOW] for start in starts.tolist()])


@torch.inference_mode()
def nats(model: PackedDecoder, rows: torch.Tensor) -> np.ndarray:
    """Mean nats a token of each window."""
    found = []
    for row in rows:
        cache = model.cache(1, WINDOW)
        hidden = model(row[None], cache=cache.window([0], [WINDOW]))
        found.append(float(torch.nn.functional.cross_entropy(model.logits(hidden)[0, :-1], row[1:])))
    return np.array(found)


def disturbed() -> Decoder:
    """The model off its grid: each block of 32 moved by uniform noise of half a 4-bit step."""
    model = load_decoder(base_folder("smollm2"))
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                step = torch.from_numpy(quantise(p, 4).scales[..., :1])
                noise = torch.rand(len(p), p.shape[1] // BLOCK, BLOCK, generator=source) - 0.5
                p += (noise * step).view_as(p)
    return model


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    rows = windows(Tokenizer.load(folder))
    whole = nats(PackedDecoder(load_decoder(folder)), rows)
    ratios: dict[str, float] = {}
    spread = (0.0, 0.0)
    for bits in (8, 4):
        gap = nats(PackedDecoder(load_decoder(folder), bits), rows) - whole
        ratios[f"{bits} bits"] = float(np.exp(gap.mean()))
        if bits == 8:
            draws = np.random.default_rng(0).choice(gap, (2000, len(gap))).mean(1)
            spread = (float(np.exp(np.quantile(draws, 0.025))), float(np.exp(np.quantile(draws, 0.975))))
        show(f"{bits} bits: × {ratios[f'{bits} bits']:.4f}")
    base = nats(PackedDecoder(disturbed()), rows)
    for bits in (8, 4):
        gap = nats(PackedDecoder(disturbed(), bits), rows) - base
        ratios[f"{bits} bits, off the grid"] = float(np.exp(gap.mean()))
        show(f"{bits} bits, off the grid: × {ratios[f'{bits} bits, off the grid']:.4f}")
    perplexity = float(np.exp(whole.mean()))
    write(
        "quant",
        ours=ratios["8 bits"] * perplexity,
        peer=perplexity,
        unit="perplexity",
        ratio=ratios["8 bits"],
        spread=spread,
        n=WINDOWS,
        ratios=ratios,
        off_the_grid_fp32=float(np.exp(base.mean())),
    )


if __name__ == "__main__":
    main()
