"""The layout for inference computes what the decoder computes."""

import copy
import itertools

import pytest
import torch

from tuti.infer.packed import PackedDecoder
from tuti.nn import Decoder, DecoderConfig
from tuti.nn.quantised import Bits, quantise

SHAPES = {
    "grouped": DecoderConfig(300, 48, 3, 6, 2, 8, 96, 64),
    "untied, linear rope": DecoderConfig(
        130, 32, 2, 4, 4, 8, 80, 64, tied=False, rope_scaling={"rope_type": "linear", "factor": 2.0}
    ),
    "head wider than D/H": DecoderConfig(77, 20, 2, 3, 1, 16, 36, 64, norm_eps=1e-6),
    "experts": DecoderConfig(120, 32, 3, 4, 2, 8, 48, 64, experts=6),
    "experts, shares of all, norms of heads": DecoderConfig(
        120, 32, 2, 4, 2, 8, 48, 64, experts=5, active=3, shares="all", qk_norm=True
    ),
    "a window": DecoderConfig(120, 32, 2, 4, 2, 8, 48, 64, window=5),
    "whole blocks": DecoderConfig(120, 64, 2, 4, 2, 32, 96, 64, qk_norm=True, qkv_bias=True, experts=4),
    "Gemma's": DecoderConfig(
        120, 32, 2, 4, 2, 8, 48, 64, window=5, qk_norm=True, scale=32**0.5, activation="gelu",
        post_norms=True, far=(1,), near_theta=500.0,
    ),
    "biases": DecoderConfig(120, 32, 2, 4, 2, 8, 48, 64, qkv_bias=True),
}


def lively(config: DecoderConfig, strength: float = 6) -> Decoder:
    model = Decoder(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(strength) if p.dim() == 2 else p.add_(torch.linspace(-0.5, 0.5, p.numel()))
    return model


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_prefill_and_decode_equal_the_decoder(config: DecoderConfig) -> None:
    decoder = lively(config)
    packed = PackedDecoder(copy.deepcopy(decoder))
    ours, theirs = packed.cache(8, 64), decoder.cache(8, 64)
    turns = [
        ([2], [7]),
        ([2], [1]),
        ([0, 1], [5, 3]),
        ([0, 1, 2], [1, 1, 1]),
        ([0, 2], [4, 6]),  # not neighbours, past and new of different lengths
        ([5, 0], [1, 1]),
        ([0, 1, 2, 3, 4], [1, 1, 1, 1, 1]),
        ([0, 1, 5, 2, 6, 7, 3], [1, 1, 4, 1, 9, 2, 1]),  # answers under way, prompts old and new
    ]
    source = torch.Generator().manual_seed(1)
    for slots, counts in turns:
        ids = torch.randint(0, config.vocab, (len(slots), max(counts)), generator=source)
        with torch.no_grad():
            wanted = decoder(ids, cache=theirs.window(slots, counts))
            logits = decoder.logits(wanted)
        found = packed(ids, cache=ours.window(slots, counts))
        assert ours.lengths == theirs.lengths
        for row, count in enumerate(counts):
            torch.testing.assert_close(
                found[row, :count], wanted[row, :count], atol=2e-5, rtol=1e-5
            )
            torch.testing.assert_close(
                packed.logits(found)[row, :count], logits[row, :count], atol=1e-4, rtol=1e-5
            )


ENDS = ("embedding.weight", "head.weight")  # in 8 bits always


@torch.no_grad()
def rounded(decoder: Decoder, bits: Bits) -> Decoder:
    """The decoder with every matrix that can be quantised rounded to what it would be read as."""
    decoder = copy.deepcopy(decoder)
    for name, p in decoder.named_parameters():
        if p.dim() == 2 and "router" not in name:
            p.copy_(quantise(p, 8 if name in ENDS else bits).numbers[:, : p.shape[1]])
    return decoder


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_quantised_layers_compute_what_their_rounded_weights_do(shape: str, bits: Bits) -> None:
    """Almost: what they multiply is rounded to 8 bits. Without its layers a model is 49 % off and more."""
    decoder = lively(SHAPES[shape], 3)
    packed, wanted = PackedDecoder(copy.deepcopy(decoder), bits), PackedDecoder(rounded(decoder, bits))
    ours, theirs = packed.cache(3, 64), wanted.cache(3, 64)
    source = torch.Generator().manual_seed(2)
    for slots, counts in [([1], [9]), ([0, 1], [4, 1]), ([0, 1], [1, 1]), ([2], [1])]:
        ids = torch.randint(0, 70, (len(slots), max(counts)), generator=source)
        found = packed(ids, cache=ours.window(slots, counts))
        hidden = wanted(ids, cache=theirs.window(slots, counts))
        assert apart(found, hidden) < 0.02
        assert apart(packed.logits(found), wanted.logits(found)) < 0.02


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The size of the difference as a share, the median of all tokens: one may go to another expert."""
    shares = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    return float(shares[wanted.norm(dim=-1) > 0].median())


def test_packing_takes_the_weights_away() -> None:
    decoder = lively(SHAPES["untied, linear rope"])
    PackedDecoder(decoder)
    kept = {name for name, p in decoder.named_parameters() if p.numel()}
    assert kept == {"norm.weight"}


@pytest.mark.parametrize("shape", ["grouped", "experts", "whole blocks", "a window"])
def test_a_row_has_the_same_bits_in_any_company(shape: str) -> None:
    """Read at once or token by token, alone or beside others: no sum is formed in another order."""
    config = SHAPES[shape]
    packed = PackedDecoder(lively(config))
    texts = torch.randint(0, 77, (7, 40), generator=torch.Generator().manual_seed(3))
    alone = packed.cache(1, 64)
    wanted = packed(texts[:1], cache=alone.window([0], [40]))[0]
    together = packed.cache(7, 64)
    found, cuts = list[torch.Tensor](), [0, 1, 2, 9, 30, 31, 40]
    for first, last in itertools.pairwise(cuts):
        others = range(1, 1 + (last - first) % 7)
        slots, counts = [*others, 0], [min(1 + slot, last - first) for slot in others] + [last - first]
        made = packed(texts[slots, first:last], cache=together.window(slots, counts))
        found.append(made[-1])
        assert torch.equal(packed.logits(made)[-1], packed.logits(found[-1]))
    assert torch.equal(torch.cat(found), wanted)


def test_bfloat16_is_read_as_it_is() -> None:
    decoder = lively(SHAPES["experts"]).bfloat16()
    ids = torch.randint(0, 77, (1, 20))
    made = [PackedDecoder(copy.deepcopy(model)) for model in (decoder, copy.deepcopy(decoder).float())]
    half, whole = (model(ids, cache=model.cache(1, 20).window([0], [20])) for model in made)
    assert torch.equal(half, whole)
