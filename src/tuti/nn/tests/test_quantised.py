"""Packed products against numpy on the unpacked numbers, and their promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.nn.quantised import BLOCK, Bits, Blocks, quantise, stacked
from tuti.run import UserError


def weight(rows: int, blocks: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, blocks * BLOCK, generator=torch.Generator().manual_seed(seed))


def whole(blocks: Blocks) -> torch.Tensor:
    return blocks.rows(torch.arange(blocks.shape[0]))


def one_by_one(blocks: Blocks, i: int, k: int) -> float:
    """A weight by the definition, a number at a time."""
    block, j = divmod(k, BLOCK)
    scale = blocks.scales[i, block]
    if blocks.packed.dtype == np.int8:
        return float(scale[0]) * int(blocks.packed[i, block, j])
    byte = int(blocks.packed[i, block, j % 16])
    return float(scale[0]) * (byte & 15 if j < 16 else byte >> 4) + float(scale[1])


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_are_what_the_format_says(bits: Bits) -> None:
    blocks = quantise(weight(5, 3, 0), bits)
    expected = [[one_by_one(blocks, i, k) for k in range(96)] for i in range(5)]
    torch.testing.assert_close(whole(blocks), torch.tensor(expected), rtol=1e-6, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 20), st.sampled_from([8, 4]), st.integers(0, 99))
def test_products_equal_numpys(rows: int, blocks: int, count: int, bits: Bits, seed: int) -> None:
    packed = quantise(weight(rows, blocks, seed), bits)
    x = weight(count, blocks, seed + 1)
    expected = x.double() @ whole(packed).double().T
    torch.testing.assert_close(packed(x).double(), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_in_any_company(bits: Bits, threads: int) -> None:
    packed, x = quantise(weight(75, 6, 1), bits), weight(33, 6, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = torch.cat([packed(row[None]) for row in x])
        for count in (2, 3, 8, 33):
            assert torch.equal(packed(x[:count]), alone[:count])
            assert torch.equal(packed(x[-count:]), alone[-count:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("bits", "most"), [(8, 1 / 254), (4, 1 / 30)])
def test_rounding_is_to_the_nearest(bits: Bits, most: float) -> None:
    values = weight(50, 4, 3)
    spread = values.view(50, 4, BLOCK)
    step = spread.abs().amax(-1) if bits == 8 else spread.amax(-1) - spread.amin(-1)
    error = (whole(quantise(values, bits)) - values).view(50, 4, BLOCK).abs().amax(-1)
    assert bool((error <= step * most * 1.001).all())


def test_zeros_constants_and_huge_numbers_survive() -> None:
    values = torch.zeros(3, BLOCK)
    values[1], values[2] = 3.5, torch.linspace(-1e30, 1e30, BLOCK)
    for bits in (8, 4):
        found = whole(quantise(values, bits))
        torch.testing.assert_close(found[:2], values[:2])
        torch.testing.assert_close(found[2], values[2], rtol=0, atol=1e30 / 14)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(bad: float) -> None:
    values = weight(2, 1, 4)
    values[1, 5] = bad
    with pytest.raises(UserError, match="finite"):
        quantise(values, 8)


def test_stacked_and_reordered() -> None:
    a, b = quantise(weight(4, 2, 5), 4), quantise(weight(3, 2, 6), 4)
    order = torch.tensor([6, 0, 3])
    assert torch.equal(whole(stacked([a, b]).reordered(order)), torch.cat((whole(a), whole(b)))[order])
