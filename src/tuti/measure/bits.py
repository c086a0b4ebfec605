"""Bits per byte: the loss of any model of text, whatever its tokens, on one scale."""

import math

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import Interval, ratio_interval


def bits_per_byte(nats: float, bytes_scored: int) -> float:
    """nats / (bytes ln 2): summed negative log-likelihood over the UTF-8 bytes that it covers."""
    assert bytes_scored > 0, bytes_scored
    return nats / (bytes_scored * math.log(2))


def bits_per_byte_interval(nats: ArrayLike, bytes_scored: ArrayLike) -> Interval:
    """Bits per byte with its bootstrap interval, from each document's summed nats and its bytes."""
    return ratio_interval(np.asarray(nats, np.float64) / math.log(2), bytes_scored)


def bits_difference(nats: ArrayLike, bits: ArrayLike, bytes_scored: ArrayLike) -> Interval:
    """A model's bits per byte minus a baseline's on the same documents; below 0 the model is better.

    nats: the model's by document. bits: the baseline's by document (`ngram_document_bits`).
    """
    ours = np.asarray(nats, np.float64) / math.log(2)
    return ratio_interval(ours - np.asarray(bits, np.float64), bytes_scored)
