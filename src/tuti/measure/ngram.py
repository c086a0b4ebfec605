"""Held-out bits per byte of interpolated byte n-gram models: the bar beside which every model stands.

Both smoothings keep a part of each gram's count and free the rest for the next lower order:

    P_n(w | h) = kept(hw) / D(h) + freed(h) / D(h) * P_{n-1}(w | h'),    D(h) = kept(h) + freed(h)

where h' drops the oldest byte of h, and P_0 is uniform over 256 bytes.

* Witten-Bell (Bell, Cleary & Witten 1990, method C): kept = c(hw), freed = 1 for each gram seen.
* Modified Kneser-Ney (Chen & Goodman 1999, section 3.2, interpolated): kept = c - D_c, freed = D_c;
  below the highest order c counts the distinct bytes that stand before the gram, not the gram.

A gram of up to eight bytes is one uint64, the byte to predict lowest. A document is preceded by
seven 0xFF bytes, which UTF-8 never holds; they are context only. No end of document is scored.
Memory is some 50 bytes for each byte of training text.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tuti.run import UserError

Kind = Literal["witten-bell", "kneser-ney"]
KINDS: tuple[Kind, ...] = ("witten-bell", "kneser-ney")
ORDERS = range(3, 9)
"""Those that are tried"""
LONGEST = 8
START = 0xFF

Grams = NDArray[np.uint64]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Baseline:
    """The best n-gram model of those that were tried.

    The best is chosen on the held-out text itself, which favours the n-gram: the bar is strict.
    """

    kind: Kind
    order: int
    bits_per_byte: float
    document_bits: Floats
    """What each held-out document costs, for a bootstrap over documents"""


def ngram_bits_per_byte(train: Sequence[bytes], held_out: Sequence[bytes]) -> Baseline:
    """The bits per byte of the best smoothing at its best order.

    Raises UserError when either text is empty.
    """
    for name, documents in (("training", train), ("held-out", held_out)):
        if not any(documents):
            what = f"the {name} text for the n-gram model is empty; it needs at least one byte"
            raise UserError(what, hint="give it more text, or hold out a larger share of it")
    owner = np.repeat(np.arange(len(held_out)), [len(document) for document in held_out])
    tried: list[tuple[Kind, int, Floats]] = [
        (kind, order, np.bincount(owner, -np.log2(p), len(held_out)).astype(np.float64))
        for kind, order, p in _probabilities(_pack(train), _pack(held_out), ORDERS)
    ]
    kind, order, bits = min(tried, key=lambda model: float(model[2].sum()))
    return Baseline(kind, order, float(bits.sum()) / len(owner), bits)


def best_ngram(
    texts: Iterable[Sequence[bytes]], held_out: Sequence[bytes]
) -> tuple[Sequence[bytes], Baseline]:
    """The training text, of several, whose best n-gram model has the fewest bits per byte; and that model."""
    tried = ((train, ngram_bits_per_byte(train, held_out)) for train in texts)
    return min(tried, key=lambda pair: pair[1].bits_per_byte)


def _pack(documents: Sequence[bytes]) -> Grams:
    """One number for each document byte: it and the seven bytes before it, the oldest highest."""
    margin = LONGEST - 1
    padding = bytes([START]) * margin
    joined = np.frombuffer(b"".join(padding + d for d in documents), np.uint8)
    inside = np.frombuffer(b"".join(bytes(margin) + b"\1" * len(d) for d in documents), np.bool_)
    grams = joined.astype(np.uint64)
    for back in range(1, LONGEST):
        grams[back:] |= joined[:-back].astype(np.uint64) << np.uint64(8 * back)
    return grams[inside]


def _mask(order: int) -> np.uint64:
    return np.uint64((1 << 8 * order) - 1)


def _tally(grams: Grams, order: int) -> tuple[Grams, Counts]:
    """The distinct grams of an order, ascending, and how often each occurs."""
    return np.unique(grams & _mask(order), return_counts=True)


def _probabilities(
    train: Grams, queries: Grams, orders: Collection[int]
) -> Iterator[tuple[Kind, int, Floats]]:
    """P(w | h) of each packed query under each kind and order.

    One climb from order 1 serves all orders, since what a model backs off to does not depend on
    its own order; only its top level does, and there Kneser-Ney counts as Witten-Bell does.
    """
    assert orders and all(1 <= order <= LONGEST for order in orders)
    lower = {kind: np.full(len(queries), 1 / 256) for kind in KINDS}
    top = max(orders)
    grams, counts = _tally(train, 1)
    for order in range(1, top + 1):
        after = _tally(train, order + 1) if order < top else None
        asked = queries & _mask(order)
        for kind in KINDS:
            level = _interpolate(grams, *_split(kind, counts), asked, lower[kind])
            if order in orders:
                yield kind, order, level
            if after is not None:
                if kind == "kneser-ney":
                    _, before = _tally(after[0], order)
                    level = _interpolate(grams, *_split(kind, before), asked, lower[kind])
                lower[kind] = level
        if after is not None:
            grams, counts = after


def _split(kind: Kind, counts: Counts) -> tuple[Floats, Floats]:
    """What each gram keeps of its count, and what it frees for the lower order."""
    if kind == "witten-bell":
        return counts.astype(np.float64), np.ones(len(counts))
    freed = discounts(counts)[np.minimum(counts, 3)]
    return counts - freed, freed


def discounts(counts: Counts) -> Floats:
    """D_0 = 0, D_1, D_2, D_3+ from the counts of counts n_1 .. n_4 (Chen & Goodman, eq. 26).

    Where a count of counts is missing (tiny texts, the 256 single bytes) or a discount would not
    be positive, 1/2, 1, 3/2: a discount of 0 would leave unseen bytes without probability.
    """
    n1, n2, n3, n4 = (float(n) for n in np.bincount(np.minimum(counts, 5), minlength=6)[1:5])
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        exact = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if exact[1:].min() > 0:
            return exact
    return np.array([0, 0.5, 1.0, 1.5])


def _interpolate(grams: Grams, kept: Floats, freed: Floats, queries: Grams, lower: Floats) -> Floats:
    """One order of the recursion in the module's first lines, for every query at once."""
    contexts = grams >> np.uint64(8)
    first = np.flatnonzero(np.concatenate(([True], contexts[1:] != contexts[:-1])))  # of each context's grams
    whole = np.add.reduceat(kept + freed, first)
    passed_on = np.add.reduceat(freed, first) / whole
    here, known = _find(contexts[first], queries >> np.uint64(8))
    gram, seen = _find(grams, queries)
    own = np.where(seen, kept[gram] / whole[here], 0.0)
    return own + np.where(known, passed_on[here], 1.0) * lower


def _find(table: Grams, wanted: Grams) -> tuple[Counts, NDArray[np.bool_]]:
    """Where in the ascending table each wanted gram would stand, and whether it does."""
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return place, table[place] == wanted
