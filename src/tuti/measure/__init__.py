"""From predictions to numbers with intervals: bits per byte, its n-gram bar, copying, accuracy."""

from .bits import bits_difference, bits_per_byte, bits_per_byte_interval
from .bootstrap import Interval, mean_interval, paired_interval, ratio_interval
from .cloze import Cloze, Paired, binomial_interval, cloze_accuracy, compare_cloze
from .copying import CopyReport, parrot_score, parrot_scores
from .lines import LineRange, couplets, line_range, share_inside
from .ngram import (
    Baseline,
    best_ngram,
    ngram_bits_per_byte,
    ngram_document_bits,
    ngram_entropy_estimate,
)

__all__ = [
    "Baseline",
    "Cloze",
    "CopyReport",
    "Interval",
    "LineRange",
    "Paired",
    "best_ngram",
    "binomial_interval",
    "bits_difference",
    "bits_per_byte",
    "bits_per_byte_interval",
    "cloze_accuracy",
    "compare_cloze",
    "couplets",
    "line_range",
    "mean_interval",
    "ngram_bits_per_byte",
    "ngram_document_bits",
    "ngram_entropy_estimate",
    "paired_interval",
    "parrot_score",
    "parrot_scores",
    "ratio_interval",
    "share_inside",
]
