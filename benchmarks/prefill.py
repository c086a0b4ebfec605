"""Prompt tokens/s, 1,024 tokens by SmolLM2-135M ÷ transformers' forward in fp32, 2 threads.

    make bench NAME=prefill

Both keep the keys and values and give the last token's logits. Checked first: equal logits.
"""

from collections.abc import Callable

import torch
from decode import peer
from harness import compare, report, show

from tuti.infer import load_model
from tuti.pipelines.base import base_folder

TOKENS = 1024


@torch.inference_mode()
def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    ours, theirs = load_model(folder).model, peer(str(folder))
    prompt = torch.randint(1000, 40000, (1, TOKENS), generator=torch.Generator().manual_seed(0))

    def read() -> torch.Tensor:
        cache = ours.cache(1, TOKENS)
        return ours.logits(ours(prompt, cache=cache.window([0], [TOKENS]))[:, -1])

    def they_read() -> torch.Tensor:
        return theirs(prompt, use_cache=True, logits_to_keep=1).logits[:, -1]

    torch.testing.assert_close(read(), they_read(), rtol=0, atol=2e-3)
    show(f"equal logits after {TOKENS} tokens")

    def size(work: Callable[[], torch.Tensor]) -> float:
        work()
        return float(TOKENS)

    pairs = compare(lambda: size(read), lambda: size(they_read), pairs=9)
    report("prefill", pairs, unit="tokens/s")


if __name__ == "__main__":
    main()
