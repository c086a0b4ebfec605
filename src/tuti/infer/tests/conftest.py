"""A small random model, lively enough that its answers differ."""

import pytest
import torch

from tuti.nn import Decoder, DecoderConfig
from tuti.text import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_merges([])


@pytest.fixture(scope="module")
def decoder(tokenizer: Tokenizer, request: pytest.FixtureRequest) -> Decoder:
    """With the context that the module of tests states."""
    config = DecoderConfig(tokenizer.vocab_size, 36, 2, 6, 3, 8, 64, request.module.CONTEXT)
    made = Decoder(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(7 if p.dim() == 2 else 1)
    return made
