from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer
from tokenizers import decoders, models, pre_tokenizers, trainers

from tuti.text import Tokenizer
from tuti.text.bpe import Merge, train_bpe
from tuti.text.tests.sample import TEXTS, count_words

WORDS = st.dictionaries(
    st.text("ab", min_size=1, max_size=12) | st.text("abcé\u200cش", min_size=1),
    st.integers(1, 9),
    max_size=25,
)


def slow(counts: Counter[str], vocab_size: int) -> list[Merge]:
    """The definition: count every pair anew before each merge."""
    words = {word: [bytes([byte]) for byte in word.encode()] for word in counts}
    merges: list[Merge] = []
    while len({left + right for left, right in merges}) < vocab_size - 256:
        pairs: Counter[Merge] = Counter()
        for word, tokens in words.items():
            for pair in zip(tokens, tokens[1:], strict=False):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, tokens in words.items():
            joined: list[bytes] = []
            while tokens:
                size = 2 if tuple(tokens[:2]) == best else 1
                joined.append(b"".join(tokens[:size]))
                tokens = tokens[size:]
            words[word] = joined
    return merges


def test_equals_the_slow_reference() -> None:
    counts = count_words(TEXTS)
    assert train_bpe(counts, 480) == slow(counts, 480)


@settings(max_examples=150, deadline=None)
@given(WORDS, st.integers(256, 300))
def test_equals_the_slow_reference_on_any_counts(words: dict[str, int], vocab_size: int) -> None:
    counts = Counter(words)
    merges = train_bpe(counts, vocab_size)
    assert merges == slow(counts, vocab_size)
    assert merges == train_bpe(dict(reversed(counts.items())), vocab_size)


def test_runs_of_one_letter() -> None:
    assert train_bpe({"aaaaa": 3}, 260) == slow(Counter({"aaaaa": 3}), 260)
    assert train_bpe({}, 300) == []


@pytest.mark.parametrize("vocab_size", [300, 400, 600])
def test_compresses_as_the_peer_does(vocab_size: int) -> None:
    """The `tokenizers` trainer breaks ties otherwise; what counts is how many tokens remain."""
    counts = count_words(TEXTS)
    ours = Tokenizer.from_merges(train_bpe(counts, vocab_size))
    peer = Peer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    peer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    peer.train_from_iterator([word for word, n in counts.items() for _ in range(n)], trainer)
    mine = sum(n * len(ours.encode(word)) for word, n in counts.items())
    theirs = sum(n * len(peer.encode(word).ids) for word, n in counts.items())
    assert vocab_size - 2 <= peer.get_vocab_size() <= vocab_size  # it counts a token made twice
    assert abs(mine / theirs - 1) < 0.005
