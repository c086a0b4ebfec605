"""Byte-level byte-pair encoding learnt from a table of word counts (Sennrich et al. 2016, section 3.2).

Repeat: find the most frequent pair of neighbouring tokens, make it one token. Done naively each
merge recounts the corpus. Here a merge touches only the words that hold the pair, and the
words are a count table, so that neither time nor memory grows with the corpus but with its distinct words.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping

Merge = tuple[bytes, bytes]
BYTES = 256


def train_bpe(counts: Mapping[str, int], vocab_size: int) -> list[Merge]:
    """The merges, in order, that make a vocabulary of 256 bytes and `vocab_size` − 256 joined tokens.

    The pair with the highest count is next; among equals the one whose two byte strings sort first, so the
    order of `counts` is without effect. Fewer tokens when no pair is left. While training, token i is
    the character chr(i): a word is a string, and a merge is `str.replace`, which runs at C speed
    and, like BPE, replaces from the left without overlap.
    """
    assert vocab_size >= BYTES, f"a byte-level vocabulary has at least {BYTES} tokens, not {vocab_size}"
    table = sorted(
        (word.encode("utf-8", "replace").decode("latin-1"), n) for word, n in counts.items() if n > 0
    )
    words, weights = [word for word, _ in table], [n for _, n in table]
    spelled = [bytes([i]) for i in range(BYTES)]
    numbers = {token: i for i, token in enumerate(spelled)}
    pairs: defaultdict[str, int] = defaultdict(int)
    places: defaultdict[str, set[int]] = defaultdict(set)
    for place, (word, weight) in enumerate(table):
        for i in range(len(word) - 1):
            pairs[word[i : i + 2]] += weight
            places[word[i : i + 2]].add(place)

    def entry(pair: str) -> tuple[int, bytes, bytes, str]:
        return -pairs[pair], spelled[ord(pair[0])], spelled[ord(pair[1])], pair

    heap = list(map(entry, pairs))
    heapq.heapify(heap)
    merges: list[Merge] = []
    while heap and len(spelled) < vocab_size:
        count, left, right, pair = heapq.heappop(heap)
        # Counts only fall between a pair's entries, so an entry that is too high is put back corrected.
        if pairs[pair] != -count:
            if pairs[pair] > 0:
                heapq.heappush(heap, (-pairs[pair], left, right, pair))
            continue
        merges.append((left, right))
        number = numbers.setdefault(left + right, len(spelled))
        if number == len(spelled):  # else a+bc makes the token that ab+c has made already
            spelled.append(left + right)
        for made in _merge(pair, chr(number), words, weights, pairs, places):
            heapq.heappush(heap, entry(made))
    return merges


def _merge(
    pair: str, new: str, words: list[str], weights: list[int], pairs: defaultdict[str, int],
    places: defaultdict[str, set[int]],
) -> set[str]:
    """Replaces `pair` by `new` in every word that holds it, keeps the counts right, names the new pairs."""
    made: set[str] = set()
    for place in places.pop(pair):
        word = words[place]
        merged = word.replace(pair, new)
        if merged == word:  # an earlier merge took this word's last such pair
            continue
        weight = weights[place]
        words[place] = merged
        for i in range(len(word) - 1):
            pairs[word[i : i + 2]] -= weight
        for i in range(len(merged) - 1):
            near = merged[i : i + 2]
            pairs[near] += weight
            if new in near:
                places[near].add(place)
                made.add(near)
    del pairs[pair]
    return made
