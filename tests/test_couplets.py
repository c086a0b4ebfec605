"""The lengths of lines that benchmarks/couplets.py compares."""

import runpy
from pathlib import Path


def test_line_lengths() -> None:
    made = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "couplets.py"))
    corpus = [
        "\n".join("x" * n for n in range(1, 51)),
        "\n\n" + "\n".join("x" * n for n in range(51, 101)),
    ]
    low, high = made["limits"](corpus)
    assert (low, high) == (5, 95)
    pairs = made["couplets"]("  aaaaa \n\nbbbbbb\r\ncccc\ndddddd\nodd")
    assert pairs == [("aaaaa", "bbbbbb"), ("cccc", "dddddd")]
    share = made["share_inside"](pairs, low, high)
    assert (share.value, share.n) == (0.5, 2) and share.low > 0
    assert made["share_inside"]([], low, high).n == 0
