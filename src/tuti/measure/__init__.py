"""From predictions to numbers with intervals: bits per byte, its n-gram bar, copying, accuracy."""

from tuti.measure.copying import parrot_scores as parrot_scores
from tuti.measure.intervals import Interval as Interval
from tuti.measure.intervals import binomial_interval as binomial_interval
from tuti.measure.intervals import bits_per_byte as bits_per_byte
from tuti.measure.intervals import pass_at_k_interval as pass_at_k_interval
from tuti.measure.intervals import ratio_interval as ratio_interval
from tuti.measure.ngram import best_ngram as best_ngram
from tuti.measure.ngram import ngram_bits_per_byte as ngram_bits_per_byte
