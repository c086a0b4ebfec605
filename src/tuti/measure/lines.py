"""Do generated lines have the length of the corpus's? Lengths are counted in code points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tuti.run import UserError

from .intervals import Interval, binomial_interval


@dataclass(frozen=True)
class LineRange:
    """The lengths between which the middle of a corpus's lines lies, both ends included."""

    low: int
    high: int
    lines: int


def text_lines(text: str) -> list[str]:
    """The lines that hold something, without the space around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def line_range(texts: Iterable[str], low: float = 5, high: float = 95) -> LineRange:
    """The low-th to high-th percentile of the line lengths of a corpus, which are lengths in it."""
    lengths = [len(line) for text in texts for line in text_lines(text)]
    if not lengths:
        raise UserError("no line of text to measure", hint="give a corpus with at least one line")
    ends = np.percentile(lengths, [low, high], method="inverted_cdf")
    return LineRange(int(ends[0]), int(ends[1]), len(lengths))


def couplets(text: str) -> list[tuple[str, str]]:
    """Lines 1 and 2, 3 and 4, and so on; a last odd line, which may be cut short, is left out."""
    lines = text_lines(text)
    return list(zip(lines[::2], lines[1::2], strict=False))


def share_inside(pairs: Sequence[tuple[str, str]], limits: LineRange) -> Interval:
    """The share of couplets of which both lines lie in the range, with its exact interval."""
    inside = sum(all(limits.low <= len(line) <= limits.high for line in pair) for pair in pairs)
    return binomial_interval(inside, len(pairs))
