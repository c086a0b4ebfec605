"""The layout for inference computes what the decoder computes."""

import copy

import pytest
import torch

from tuti.infer.packed import ROWS, PackedDecoder, pack, unpacked
from tuti.nn import Decoder, DecoderConfig
from tuti.nn.quantised import BLOCK, Bits, quantise

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
    "biases": DecoderConfig(120, 32, 2, 4, 2, 8, 48, 64, qkv_bias=True),
}


def lively(config: DecoderConfig) -> Decoder:
    model = Decoder(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(6) if p.dim() == 2 else p.add_(torch.linspace(-0.5, 0.5, p.numel()))
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


@torch.no_grad()
def rounded(decoder: Decoder, bits: Bits) -> Decoder:
    """The decoder with every matrix that can be quantised rounded to what it would be read as."""
    decoder = copy.deepcopy(decoder)
    for name, p in decoder.named_parameters():
        if p.dim() == 2 and p.shape[1] % BLOCK == 0 and "router" not in name:
            p.copy_(quantise(p, bits).rows(torch.arange(len(p))))
    return decoder


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", ["untied, linear rope", "experts", "biases", "head wider than D/H"])
def test_quantised_layers_compute_what_their_rounded_weights_do(shape: str, bits: Bits) -> None:
    decoder = lively(SHAPES[shape])
    packed, wanted = PackedDecoder(copy.deepcopy(decoder), bits), PackedDecoder(rounded(decoder, bits))
    ours, theirs = packed.cache(3, 64), wanted.cache(3, 64)
    source = torch.Generator().manual_seed(2)
    for slots, counts in [([1], [9]), ([0, 1], [4, 1]), ([0, 1], [1, 1]), ([2], [1])]:
        ids = torch.randint(0, 70, (len(slots), max(counts)), generator=source)
        found = packed(ids, cache=ours.window(slots, counts))
        hidden = wanted(ids, cache=theirs.window(slots, counts))
        torch.testing.assert_close(found, hidden, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(packed.logits(found), wanted.logits(hidden), atol=5e-4, rtol=1e-4)


def test_packing_takes_the_weights_away() -> None:
    decoder = lively(SHAPES["untied, linear rope"])
    PackedDecoder(decoder)
    kept = {name for name, p in decoder.named_parameters() if p.numel()}
    assert kept == {"norm.weight"}


@pytest.mark.parametrize("out, inner", [(96, 32), (100, 36), (1, 5), (515, 64)])
def test_a_packed_product_is_the_same_bits_in_any_company(out: int, inner: int) -> None:
    weight, x = torch.randn(out, inner), torch.randn(40, inner)
    product = pack(weight)
    whole = product(x)
    torch.testing.assert_close(whole, x @ weight.T, atol=1e-4, rtol=1e-5)
    for rows in (ROWS, 5, 8, 13, 16, 31):
        assert torch.equal(product(x[:rows].contiguous()), whole[:rows])
        assert torch.equal(product(x[-rows:].contiguous()), whole[-rows:])
        assert torch.equal(unpacked(lambda: weight, x[:rows].contiguous()), whole[:rows])
