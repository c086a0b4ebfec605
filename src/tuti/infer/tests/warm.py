"""Compiles the loops of inference for every kind of weights, so that no test waits: `make test` runs it."""

import torch

from tuti.infer.packed import PackedDecoder
from tuti.nn import Decoder, DecoderConfig
from tuti.nn.quantised import Bits

for experts in (0, 2):
    for bits in (32, 16, 8, 4):
        model = Decoder(DecoderConfig(50, 32, 1, 2, 1, 16, 48, 16, experts=experts))
        few: Bits | None = bits if bits in (8, 4) else None
        packed = PackedDecoder(model.bfloat16() if bits == 16 else model, few)
        window = packed.cache(1, 2).window([0], [2])
        packed.logits(packed(torch.zeros(1, 2, dtype=torch.long), cache=window))
