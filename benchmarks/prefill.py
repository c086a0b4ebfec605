"""Prompt tokens/s, 1,024 tokens by SmolLM2-135M ÷ transformers' forward in fp32, 2 threads.

    make bench NAME=prefill

In 8 bits, whose perplexity `quant` measures, and in fp32 beside it. Both keep the keys and values and give
the last token's logits. Checked first: equal logits in fp32; in 8 bits, nearly the same direction.
"""

import statistics
from collections.abc import Callable

import torch
from decode import peer
from harness import compare, report, show

from tuti.infer import Model, load_model
from tuti.pipelines.base import base_folder

TOKENS = 1024


@torch.inference_mode()
def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    ours, fewer, theirs = load_model(folder).model, load_model(folder, bits=8).model, peer(str(folder))
    prompt = torch.randint(1000, 40000, (1, TOKENS), generator=torch.Generator().manual_seed(0))

    def read(model: Model) -> torch.Tensor:
        cache = model.cache(1, TOKENS)
        return model.logits(model(prompt, cache=cache.window([0], [TOKENS]))[:, -1])

    def they_read() -> torch.Tensor:
        return theirs(prompt, use_cache=True, logits_to_keep=1).logits[:, -1]

    whole = read(ours)
    torch.testing.assert_close(whole, they_read(), rtol=0, atol=2e-3)
    near = float(torch.cosine_similarity(read(fewer), whole))
    show(f"equal logits after {TOKENS} tokens; in 8 bits a cosine of {near:.4f}")
    assert near > 0.99, near

    def size(work: Callable[[], torch.Tensor]) -> float:
        work()
        return float(TOKENS)

    pairs = compare(lambda: size(lambda: read(fewer)), lambda: size(they_read), pairs=9)
    beside = compare(lambda: size(lambda: read(ours)), lambda: size(they_read), pairs=5)
    fp32 = {"unit": "ratio", "median": statistics.median(pair.ratio for pair in beside)}
    report("prefill", pairs, unit="tokens/s", cosine=round(near, 5), in_fp32=fp32)


if __name__ == "__main__":
    main()
