"""A tiny Mixtral at the full 32,768 tokens: the logits of transformers, by one pass, by a cache, packed."""

import dataclasses
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tuti.infer import PackedDecoder
from tuti.nn import Decoder, load_decoder, save_decoder
from tuti.systems.mixtral.size import TINY, count

SHAPE = dataclasses.replace(TINY, layers=1, heads=2, kv_heads=1)


@torch.inference_mode()
def test_thirty_two_thousand_tokens(tmp_path: Path) -> None:
    save_decoder(Decoder(SHAPE, torch.Generator().manual_seed(0)), tmp_path)
    ours = load_decoder(tmp_path)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    ids = torch.randint(SHAPE.vocab, (1, SHAPE.context), generator=torch.Generator().manual_seed(1))
    places = [0, 1, 4095, 4096, 20_000, SHAPE.context - 1]
    want = peer.lm_head(peer.model(ids).last_hidden_state[0, places])

    whole = ours(ids)
    torch.testing.assert_close(ours.logits(whole[0, places]), want, rtol=0, atol=1e-4)

    assert ours.cache(1, SHAPE.context).bytes == count(SHAPE, 32, SHAPE.context)[2]
    for model in (ours, PackedDecoder(load_decoder(tmp_path))):
        cache = model.cache(1, SHAPE.context)
        for chunk in ids.split([*[8192] * 3, 8191, 1], 1):
            last = model(chunk, cache=cache.window([0], [chunk.shape[1]]))
        torch.testing.assert_close(model.logits(last[0, -1]), want[-1], rtol=0, atol=1e-4)
