"""A context of 32,768 tokens, as long as Mixtral's."""

from dataclasses import replace
from pathlib import Path

import torch

from tuti.infer import PackedDecoder
from tuti.nn import Decoder, save_decoder
from tuti.systems.mixtral.shapes import TINY
from tuti.systems.mixtral.size import count

SHAPE = replace(TINY, heads=2, kv_heads=1, head_dim=32)


def test_the_last_logits_of_32768_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    """And the cache has the size that `tuti mixtral size` says."""
    from transformers import AutoModelForCausalLM

    model = Decoder(SHAPE, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.mul_(4)  # so that attention looks at some tokens more than at others
    save_decoder(model, tmp_path)
    ids = torch.randint(SHAPE.vocab, (1, SHAPE.context), generator=torch.Generator().manual_seed(1))
    ours = PackedDecoder(model)
    cache = ours.cache(1, SHAPE.context)
    assert cache.bytes == count(SHAPE, 32, SHAPE.context)[2]
    for start in range(0, SHAPE.context, 4096):
        chunk = ids[:, start : start + 4096]
        hidden = ours(chunk, cache=cache.window([0], [chunk.shape[1]]))
    found = ours.logits(hidden[0, -300:])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="sdpa")
    with torch.no_grad():
        wanted = theirs(ids, logits_to_keep=300).logits[0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
