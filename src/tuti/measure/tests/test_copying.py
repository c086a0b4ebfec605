"""The parrot score against every window tried in every document."""

import random
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.measure import parrot_scores
from tuti.measure.copying import CopyReport

TEXT = st.text(alphabet="abآ😀", max_size=30)


def parrot_score(outputs: Sequence[str], training: Iterable[str], at_least: int = 20) -> CopyReport:
    return parrot_scores([outputs], training, at_least)[0]


def slow(outputs: list[str], training: list[str], at_least: int) -> tuple[float, int]:
    covered = total = longest = 0
    for output in outputs:
        inside = [False] * len(output)
        total += len(output)
        for start in range(len(output)):
            for end in range(start + 1, len(output) + 1):
                if any(output[start:end] in document for document in training):
                    longest = max(longest, end - start)
                    if end - start >= at_least:
                        inside[start:end] = [True] * (end - start)
        covered += sum(inside)
    return (covered / total if total else 0.0), longest


@given(
    outputs=st.lists(TEXT, max_size=3),
    training=st.lists(TEXT, max_size=4),
    at_least=st.integers(1, 8),
)
@settings(max_examples=300, deadline=None)
def test_report_equals_the_slow_one(outputs: list[str], training: list[str], at_least: int) -> None:
    report = parrot_score(outputs, iter(training), at_least)
    share, longest = slow(outputs, training, at_least)
    assert report.share == pytest.approx(share, abs=1e-12)
    assert report.longest == longest == len(report.example)
    assert not longest or any(report.example in output for output in outputs)
    assert not longest or any(report.example in document for document in training)


def test_anagrams_are_no_copies() -> None:
    report = parrot_score(["abcd"], ["dcba", "badc", "bacd"], 3)
    assert (report.share, report.longest) == (0.0, 2)
    assert report.example == "cd"


def test_a_run_in_the_middle_of_new_text() -> None:
    verse = "که عشق آسان نمود اول ولی افتاد مشکل ها"
    report = parrot_score(["new words " + verse + " then more"], ["first", "one " + verse + "!"])
    assert report.longest == len(verse) + 1 and report.example == " " + verse
    assert report.share == pytest.approx((len(verse) + 1) / (len(verse) + 20))


def test_nothing_to_compare() -> None:
    assert parrot_score([], ["training"]) == parrot_score(["", ""], ["training"])
    assert parrot_score(["output"], []).longest == 0
    assert parrot_score(["\ud800 lone"], ["a \ud800 lone"]).longest == 6


def test_memory_does_not_grow_with_the_training_text() -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 8))) for _ in range(2000)]
    base = " ".join(rng.choices(words, k=20_000))

    def training() -> Iterator[str]:
        for turn in range(60):
            yield base[turn * 50 :] + base

    outputs = [base[i * 900 : i * 900 + 150] + "Q" * 100 for i in range(40)]
    tracemalloc.start()
    report = parrot_score(outputs, training())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.share == pytest.approx(0.6) and report.longest == 150
    assert peak < 200e6


def test_every_place_of_a_document_is_found() -> None:
    document = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))
    for start in range(90):
        report = parrot_score([document[start : start + 10]], [document], 5)
        assert (report.share, report.longest) == (1.0, 10)


def test_groups_are_scored_as_if_each_were_alone() -> None:
    training = ["one two three four five six", "alpha beta gamma delta", "one two three"]
    groups = [["xx two three four yy", "beta gamma"], [], ["nothing else"], ["alpha beta gamma delta"]]
    together = parrot_scores(groups, iter(training), 5)
    assert together == [parrot_score(outputs, training, 5) for outputs in groups]
    assert [report.longest > 5 for report in together] == [True, False, False, True]
