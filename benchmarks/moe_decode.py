"""Greedy tokens/s of one answer by a random Mixtral of a billion parameters in fp32 ÷ transformers' generate.

    make bench NAME=moe_decode

The same weights (a folder that ours saved and both load), 2 threads, cache on in both, a prompt of 32
tokens. Checked first: equal logits after the prompt. The floor beside it: the weights that one token
takes part of read once, at the bandwidth that summing a large array reaches. In 8 bits beside it, its
logits checked to be near.
"""

import statistics
import tempfile
from pathlib import Path

import torch
from decode import bandwidth
from harness import compare, report, show
from transformers import AutoModelForCausalLM

from tuti.infer import PackedDecoder
from tuti.nn import Decoder, DecoderConfig, load_decoder, save_decoder

SHAPE = DecoderConfig(
    vocab=32000,
    width=1024,
    layers=10,
    heads=16,
    kv_heads=4,
    head_dim=64,
    hidden=3584,
    context=2048,
    rope_theta=1e6,
    tied=False,
    experts=8,
)
PROMPT, NEW = 32, 16


@torch.inference_mode()
def our_ids(model: PackedDecoder, prompt: torch.Tensor) -> list[int]:
    """NEW greedy ids after the prompt."""
    cache, ids, made = model.cache(1, PROMPT + NEW), prompt, list[int]()
    for _ in range(NEW):
        hidden = model(ids, cache=cache.window([0], [ids.shape[1]]))
        made.append(int(model.logits(hidden[:, -1]).argmax()))
        ids = torch.tensor([[made[-1]]])
    return made


def their_ids(model: AutoModelForCausalLM, prompt: torch.Tensor) -> list[int]:
    """The same by transformers."""
    mask = torch.ones_like(prompt)
    made = model.generate(prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    return made[0, PROMPT:].tolist()


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch:
        save_decoder(Decoder(SHAPE, torch.Generator().manual_seed(0)), Path(scratch))
        ours = PackedDecoder(load_decoder(Path(scratch)))
        fewer = PackedDecoder(load_decoder(Path(scratch)), 8)
        theirs = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32).eval()
    theirs.generation_config.eos_token_id = None
    prompt = torch.randint(SHAPE.vocab, (1, PROMPT), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        cache = ours.cache(1, PROMPT)
        mine = ours.logits(ours(prompt, cache=cache.window([0], [PROMPT])))
        torch.testing.assert_close(mine, theirs(prompt).logits, rtol=0, atol=1e-4)
        cache = fewer.cache(1, PROMPT)
        near = fewer.logits(fewer(prompt, cache=cache.window([0], [PROMPT])))
        cosines = torch.nn.functional.cosine_similarity(near, mine, -1)[0]
    # A random router's best scores are nearly equal: rounding sends some tokens to other experts.
    close = {"median": float(cosines.median()), "least": float(cosines.min())}
    show(f"in 8 bits the logits of {PROMPT} tokens have cosines of {close}")
    assert close["median"] > 0.99, close
    show(f"{SHAPE.parameters:,} parameters, {SHAPE.active_parameters:,} active: equal logits")
    size = 4 * SHAPE.matrix_parameters
    floors = [bandwidth(size)]
    pairs = compare(
        lambda: float(len(our_ids(ours, prompt))), lambda: float(len(their_ids(theirs, prompt))), pairs=7
    )
    floors.append(bandwidth(size))
    eight = compare(
        lambda: float(len(our_ids(fewer, prompt))), lambda: float(len(their_ids(theirs, prompt))), pairs=7
    )
    report(
        "moe-decode",
        pairs,
        unit="tokens/s",
        floor={"what": "active weights read at memory bandwidth", "tokens_per_second": max(floors)},
        in_8_bits={
            "cosine": close,
            "unit": "tokens/s",
            "median": statistics.median(pair.ours for pair in eight),
            "ratio": statistics.median(pair.ratio for pair in eight),
            "range": [min(pair.ratio for pair in eight), max(pair.ratio for pair in eight)],
        },
        share_of_floor=statistics.median(pair.ours for pair in pairs) / max(floors),
    )


if __name__ == "__main__":
    main()
