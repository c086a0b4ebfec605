"""The vectorised n-gram models against dictionaries and loops that follow the formulas."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.measure import best_ngram, ngram_bits_per_byte
from tuti.measure.ngram import KINDS, ORDERS, Kind, _pack, _probabilities, discounts
from tuti.run import UserError

PAD = bytes([0xFF]) * 7
DOCUMENTS = st.lists(st.binary(max_size=40).map(lambda b: bytes(x % 5 for x in b)), max_size=6)
FILLED = DOCUMENTS.filter(any)


def grams_of(documents: list[bytes], order: int) -> Counter[bytes]:
    counts: Counter[bytes] = Counter()
    for document in documents:
        padded = PAD + document
        for end in range(8, len(padded) + 1):
            counts[padded[end - order : end]] += 1
    return counts


def document_bits(train: list[bytes], held_out: list[bytes], kind: Kind, order: int) -> list[float]:
    models = _probabilities(_pack(train), _pack(held_out), {order})
    [bits] = [-np.log2(p) for other, _, p in models if other == kind]
    return [float(part.sum()) for part in np.split(bits, np.cumsum([len(d) for d in held_out])[:-1])]


class Slow:
    """One model, one byte at a time."""

    def __init__(self, train: list[bytes], kind: Kind, order: int) -> None:
        self.levels: list[tuple[dict[bytes, dict[int, float]], list[float] | None]] = []
        for n in range(1, order + 1):
            counts = grams_of(train, n)
            if kind == "kneser-ney" and n < order:
                counts = Counter(gram[1:] for gram in grams_of(train, n + 1))
            table: dict[bytes, dict[int, float]] = defaultdict(dict)
            for gram, count in counts.items():
                table[gram[:-1]][gram[-1]] = count
            discount = None
            if kind == "kneser-ney":
                n1, n2, n3, n4 = (sum(c == j for c in counts.values()) for j in (1, 2, 3, 4))
                discount = [0.0, 0.5, 1.0, 1.5]
                if n1 and n2 and n3 and n4:
                    y = n1 / (n1 + 2 * n2)
                    exact = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
                    discount = exact if min(exact[1:]) > 0 else discount
            self.levels.append((table, discount))

    def probability(self, before: bytes, byte: int) -> float:
        p = 1 / 256
        for n, (table, discount) in enumerate(self.levels):
            followers = table.get(before[len(before) - n :], {})
            if not followers:
                continue
            total, count = sum(followers.values()), followers.get(byte, 0)
            if discount is None:
                p = (count + len(followers) * p) / (total + len(followers))
            else:
                freed = sum(discount[min(3, int(c))] for c in followers.values())
                p = (count - discount[min(3, int(count))] + freed * p) / total
        return p

    def bits(self, document: bytes) -> float:
        padded = PAD + document
        return -sum(
            np.log2(self.probability(padded[:at], padded[at])) for at in range(7, len(padded))
        )


@pytest.mark.parametrize("kind", KINDS)
@given(train=FILLED, held_out=FILLED, order=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_bits_equal_the_dictionary(
    kind: Kind, train: list[bytes], held_out: list[bytes], order: int
) -> None:
    slow = Slow(train, kind, order)
    fast = document_bits(train, held_out, kind, order)
    np.testing.assert_allclose(fast, [slow.bits(d) for d in held_out], rtol=1e-9, atol=1e-9)


def test_bits_equal_the_dictionary_on_text_with_exact_discounts() -> None:
    rng = np.random.default_rng(1)
    words = [bytes(rng.integers(97, 107, rng.integers(1, 7)).tolist()) for _ in range(60)]
    ranks = np.minimum(rng.zipf(1.5, 1200) - 1, 59)
    text = b" ".join(words[r] for r in ranks)
    train, held_out = [text[:2000], text[2000:4500]], [text[4500:4900], text[4900:5100]]
    counts = np.array(list(grams_of(train, 4).values()))
    assert discounts(counts).tolist() != [0, 0.5, 1.0, 1.5]
    best = ngram_bits_per_byte(train, held_out)
    size = sum(map(len, held_out))
    found: list[float] = []
    for kind, order in itertools.product(KINDS, ORDERS):
        found.append(sum(document_bits(train, held_out, kind, order)) / size)
        slow = sum(Slow(train, kind, order).bits(d) for d in held_out) / size
        assert found[-1] == pytest.approx(slow, abs=1e-9)
    assert len(found) == 12 and best.bits_per_byte == pytest.approx(min(found), abs=1e-12)
    slow = Slow(train, best.kind, best.order)
    np.testing.assert_allclose(best.document_bits, [slow.bits(d) for d in held_out], rtol=1e-9)


@given(train=FILLED, context=st.binary(max_size=7).map(lambda b: bytes(x % 6 for x in b)))
@settings(max_examples=40, deadline=None)
def test_probabilities_of_all_bytes_sum_to_one(train: list[bytes], context: bytes) -> None:
    queries = np.concatenate([_pack([context + bytes([byte])])[-1:] for byte in range(256)])
    for _, _, p in _probabilities(_pack(train), queries, range(1, 9)):
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert p.min() > 0


def test_contexts_do_not_cross_documents() -> None:
    apart = document_bits([b"abc", b"xyz"], [b"", b"xyz"], "witten-bell", 3)
    assert apart[0] == 0
    swapped = document_bits([b"xyz", b"abc"], [b"", b"xyz"], "witten-bell", 3)
    np.testing.assert_array_equal(apart, swapped)
    joined = document_bits([b"abcxyz"], [b"", b"xyz"], "witten-bell", 3)
    assert joined[1] > apart[1]


def test_memorised_text_costs_little_and_noise_no_less_than_its_entropy() -> None:
    text = [b"the parrot says what the parrot heard. " * 200]
    assert ngram_bits_per_byte(text, text).bits_per_byte < 0.1
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, 60_000, np.uint8).tobytes() for _ in range(2)]
    assert 8 < ngram_bits_per_byte(noise[:1], noise[1:]).bits_per_byte < 9


@pytest.mark.parametrize(("train", "held_out"), [([], [b"a"]), ([b"", b""], [b"a"]), ([b"a"], [])])
def test_empty_text_is_the_users_error(train: list[bytes], held_out: list[bytes]) -> None:
    with pytest.raises(UserError, match="empty"):
        ngram_bits_per_byte(train, held_out)


def test_the_best_ngram_is_that_of_the_text_that_helps_most() -> None:
    held_out = [b"the parrot repeats what the parrot hears"]
    near, far = [b"what the parrot hears, it repeats " * 20], [b"0123456789" * 80]
    seen, best = best_ngram([far, near, far + near], held_out)
    bits = [ngram_bits_per_byte(text, held_out).bits_per_byte for text in (far, near, far + near)]
    assert best.bits_per_byte == min(bits) < max(bits) and seen == near
