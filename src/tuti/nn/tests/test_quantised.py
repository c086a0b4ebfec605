"""Packed products against plain ones of the unpacked numbers, and their promises."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuti.nn import lanes
from tuti.nn.quantised import BLOCK, Bits, Blocks, as_matrix, quantise, stacked, woven
from tuti.run import UserError


def weight(rows: int, blocks: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, blocks * BLOCK, generator=torch.Generator().manual_seed(seed))


def whole(blocks: Blocks) -> torch.Tensor:
    return blocks.numbers


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


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Blocks of 32 in 255 steps of their largest magnitude; what lies midway is decided in fp32, as there."""
    blocks = x.view(len(x), -1, BLOCK)
    most = blocks.abs().amax(-1, keepdim=True)
    return ((blocks * (127 / most)).round().double() * (most / 127)).flatten(1)


@settings(max_examples=30, deadline=None)
@example(rows=1, blocks=4, count=7, bits=8, seed=62)  # midway between two steps
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 20), st.sampled_from([8, 4]), st.integers(0, 99))
def test_products_equal_numpys(rows: int, blocks: int, count: int, bits: Bits, seed: int) -> None:
    packed = quantise(weight(rows, blocks, seed), bits)
    x = weight(count, blocks, seed + 1)
    expected = rounded(x) @ whole(packed).double().T
    torch.testing.assert_close(woven(packed)(x).double(), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_products_of_what_is_not_quantised(kind: torch.dtype) -> None:
    matrix, x = torch.randn(75, 50).to(kind), torch.randn(9, 50)
    found = as_matrix(matrix)(x)
    torch.testing.assert_close(found.double(), x.double() @ matrix.double().T, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_in_any_company(bits: Bits | Literal[16], threads: int) -> None:
    matrix, x = weight(75, 6, 1), weight(33, 6, 2)
    packed = as_matrix(matrix.bfloat16()) if bits == 16 else woven(quantise(matrix, bits))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = torch.cat([packed(row[None]) for row in x])
        for count in (2, 3, 8, 33):
            assert torch.equal(packed(x[:count]), alone[:count])
            assert torch.equal(packed(x[-count:]), alone[-count:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bits", [8, 4])
def test_tiles_hold_what_blocks_do(bits: Bits) -> None:
    blocks = quantise(weight(75, 3, 7), bits)
    which = torch.tensor([0, 74, 16, 15, 74])
    assert torch.equal(woven(blocks).rows(which), whole(blocks)[which])


def test_what_is_no_number_stays_none() -> None:
    packed, x = woven(quantise(weight(20, 2, 1), 8)), weight(3, 2, 2)
    x[1, 40] = float("nan")
    assert bool(packed(x)[1].isnan().all()) and bool(packed(x)[::2].isfinite().all())


GENERIC = """
import numpy as np, torch
from tuti.nn.quantised import Blocks, quantise, woven
chance = np.random.default_rng(0)
most = chance.choice([-128, -127, 127], (40, 3, 32)).astype(np.int8)  # as large as sums of bytes can be
ends = torch.from_numpy(chance.choice([-1.0, 1.0], (11, 96)).astype(np.float32))
found = woven(Blocks(most, np.ones((40, 3, 1), np.float32)))(ends)
exact = ends.double() @ torch.from_numpy(most.reshape(40, 96)).double().T
assert (found - exact).abs().max() < 1e-2, (found - exact).abs().max()
for bits in (8, 4):
    w, x = (torch.randn(n, 96, generator=torch.Generator().manual_seed(n)) for n in (40, 11))
    print(woven(quantise(w, bits))(x).numpy().tobytes().hex())
"""


def test_processors_without_products_of_bytes_find_the_same_bits() -> None:
    """The sums are of whole numbers, so it does not matter how a processor forms them."""
    found = set[str]()
    haswell = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    for features in ({}, haswell, generic):
        made = subprocess.run(
            [sys.executable, "-c", GENERIC],
            env=os.environ | features, capture_output=True, text=True, check=True,
        )
        found.add(made.stdout)
    assert len(found) == 1 and len(found.pop()) > 1000


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


CHANGED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from tuti.nn import lanes, step
assert lanes.__file__.startswith(sys.argv[1])
one = np.ones((32, 1, 32), np.float32), np.empty(0, np.float32)
print(step.fed(np.ones((1, 32), np.float32), one, one, one, (1.0, 0.0), 1)[0, 0])
"""


def test_a_loop_is_compiled_again_when_what_is_compiled_into_it_changes(tmp_path: Path) -> None:
    """`fed` is in step.py; its sums are in lanes.py, of which numba's own cache takes no notice."""
    root = Path(lanes.__file__).parents[1]
    shutil.copytree(root, tmp_path / "tuti", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    command = [sys.executable, "-c", CHANGED, str(tmp_path)]
    said = list[float]()
    for _ in range(2):
        said.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        source = tmp_path / "tuti" / "nn" / "lanes.py"
        rule = '"""x · y + z, rounded once."""'
        text = source.read_text()
        assert rule in text
        source.write_text(text.replace(rule, rule + "\n    z = b.fadd(z, FLOATS([1.0] * WIDTH))"))
    assert said[0] == 32**3 and said[1] > said[0]
