"""Near duplicates: the arrays against loops over sets, and planted pairs in a corpus."""

import random
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import hash_text
from tuti.run.files import hash_folder
from tuti.systems.spark import near
from tuti.systems.spark.tests.corpus import rows, run_of, told, write_every_kind

WORD = st.sampled_from(["a", "B,", "گل", "«گل»", "می\u200cرود", "--", "x1"])
TEXT = st.lists(WORD, max_size=14).map(" ".join)


def bare(text: str) -> list[str]:
    return [word for raw in text.lower().split() if (word := raw.strip(near.PUNCTUATION))]


def runs(text: str) -> set[tuple[str, ...]]:
    """The slow, obvious shingles."""
    words = bare(text)
    if not words:
        return set()
    return {tuple(words[i : i + near.WORDS]) for i in range(max(1, len(words) - near.WORDS + 1))}


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_shingles_are_the_runs_of_words(texts: list[str]) -> None:
    """As many as there are, equal where the runs are equal, in whichever text they stand."""
    hashes, starts = near.shingles(texts)
    sets = [set(hashes[a:b].tolist()) for a, b in zip(starts, starts[1:], strict=False)]
    assert [len(found) for found in sets] == [len(runs(text)) for text in texts]
    for (one, a), (other, b) in combinations(zip(texts, sets, strict=True), 2):
        assert len(a & b) == len(runs(one) & runs(other))


def test_minima_are_those_of_a_loop_wherever_chunks_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(0)
    texts = [" ".join(chance.choices("abcdefgh", k=chance.randrange(0, 40))) for _ in range(30)]
    hashes, starts = near.shingles(texts)
    whole = near.signatures(hashes, starts)
    for a, b, found in zip(starts, starts[1:], whole, strict=False):
        for number in (0, 55, 111):
            values = [(int(near.A[number]) * int(h) + int(near.B[number])) % 2**64 for h in hashes[a:b]]
            assert int(found[number]) == min(values, default=2**64 - 1)
    for size in (1, 7, 64):
        monkeypatch.setattr(near, "AT_ONCE", size)
        assert (near.signatures(hashes, starts) == whole).all()


def pair(chance: random.Random, words: int, share: float) -> tuple[str, str]:
    """A text and a copy in which some words are others."""
    text = [f"w{chance.randrange(50_000)}" for _ in range(words)]
    other = [f"v{chance.randrange(50_000)}" if chance.random() < share else word for word in text]
    return " ".join(text), " ".join(other)


def test_minima_agree_as_often_as_sets_do() -> None:
    """The mean difference between the share of equal minima and J, over 300 pairs: standard error .003."""
    chance = random.Random(1)
    texts = [text for _ in range(300) for text in pair(chance, 200, chance.random() / 10)]
    hashes, starts = near.shingles(texts)
    minima = near.signatures(hashes, starts)
    sets = [np.unique(hashes[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
    off = [
        (minima[n] == minima[n + 1]).mean() - near.jaccard(sets[n], sets[n + 1]) for n in range(0, 600, 2)
    ]
    assert abs(np.mean(off)) < 0.01 and np.std(off) < 0.06


def test_bands_find_what_they_should() -> None:
    """The share of pairs with an equal band against 1 - (1 - J^8)^14, in five bands of J."""
    chance = random.Random(2)
    texts = [text for _ in range(2000) for text in pair(chance, 150, chance.random() ** 2 / 8)]
    hashes, starts = near.shingles(texts)
    keys = near.bands(near.signatures(hashes, starts))
    sets = [np.unique(hashes[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
    alike = np.array([near.jaccard(sets[n], sets[n + 1]) for n in range(0, 4000, 2)])
    found = (keys[0::2] == keys[1::2]).any(1)
    for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)):
        own = (low <= alike) & (alike < high)
        wanted = 1 - (1 - alike[own] ** near.ROWS) ** near.BANDS
        assert own.sum() > 50
        error = (wanted * (1 - wanted)).sum() ** 0.5 / own.sum()
        assert abs(found[own].mean() - wanted.mean()) < 4 * error + 0.01


NUMBERS = st.integers(0, 12)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20))
def test_components_are_what_can_be_reached(pairs: list[tuple[int, int]]) -> None:
    sets = [{one} for one in {one for both in pairs for one in both}]
    for one, other in pairs:
        joined = [found for found in sets if one in found or other in found]
        sets = [found for found in sets if found not in joined] + [set().union(*joined)]
    documents, first = near.components(np.array(pairs, np.int64).reshape(-1, 2))
    wanted = sorted((one, min(found)) for found in sets for one in found)
    assert list(zip(documents.tolist(), first.tolist(), strict=True)) == wanted


ROWS = st.lists(st.tuples(st.integers(-3, 3), NUMBERS), max_size=40, unique=True)


@given(ROWS, st.sampled_from([2, 4, 32]))
def test_candidates_share_a_key(rows: list[tuple[int, int]], crowd: int) -> None:
    """All pairs of a group that is no crowd; of a crowd, the first with each and each with the next."""
    groups: dict[int, list[int]] = {}
    for key, document in sorted(rows):
        groups.setdefault(key, []).append(document)
    wanted: set[tuple[int, int]] = set()
    for group in groups.values():
        if len(group) > crowd:
            wanted |= set(zip(group, group[1:], strict=False)) | {(group[0], one) for one in group[1:]}
        else:
            wanted |= set(combinations(group, 2))
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "CROWD", crowd)
        found = [tuple(pair) for pairs in near.candidates(*columns) for pair in pairs.tolist()]
    assert set(found) == wanted


def test_a_crowd_costs_no_square() -> None:
    found = np.concatenate(list(near.candidates(np.zeros(2000, np.int64), np.arange(2000))))
    assert len(found) < 4000 and not near.components(found)[1].any()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Forty texts, each with a copy in another file in which one word in a hundred (or in six) is another."""
    folder, chance = tmp_path_factory.mktemp("near") / "in", random.Random(3)
    folder.mkdir()
    for number in range(40):
        words, every = pair(chance, 300, 0)[0].split(), 100 if number < 20 else 6
        (folder / f"a{number:02d}.txt").write_text(" ".join(words))
        words[50::every] = ["new"] * len(words[50::every])
        (folder / f"b{number:02d}.txt").write_text(" ".join(words))
    return folder


def test_one_of_near_duplicates_stays(corpus: Path, tmp_path: Path) -> None:
    """One word in a hundred leaves J = .9: one of each pair stays. One in six leaves .1: both stay."""
    run = run_of(tmp_path / "a", corpus, min_bytes=1000)
    names = {row["source"] for split in ("train", "valid") for row in rows(run, f"{split}-00.jsonl")}
    files = sorted(corpus.iterdir(), key=lambda path: hash_text(path.read_text()))
    first = {path.stem[1:]: path.name for path in reversed(files)}
    wanted = {first[f"{n:02d}"] for n in range(20)} | {p.name for p in files if int(p.stem[1:]) >= 20}
    assert names == {f"{name}#1" for name in wanted} and len(names) == 60
    rule = told(run, "drops")["rules"]["near duplicate"]
    assert rule["count"] == 20 and rule["examples"][0]["source"][1:] == "00.txt#1"
    for partitions, executors in ((1, 1), (8, 3)):
        ways = {"partitions": partitions, "threads": executors, "memory": "1g"}
        again = run_of(tmp_path / f"run-{partitions}", corpus, min_bytes=1000, **ways)
        assert hash_folder(run.folder / "artifacts") == hash_folder(again.folder / "artifacts")
    kept = run_of(tmp_path / "off", corpus, min_bytes=1000, near=0)
    assert "near duplicate" not in told(kept, "drops")["rules"]


def test_names_decide_no_survivor(corpus: Path, tmp_path: Path) -> None:
    """The same files under other names, in another order, in one folder: the same texts, in their order."""
    one, other = write_every_kind(tmp_path / "one"), tmp_path / "other"
    shutil.copytree(corpus, one, dirs_exist_ok=True)
    other.mkdir()
    files = sorted((path for path in one.rglob("*") if path.is_file()), reverse=True)
    for number, path in enumerate(files):
        shutil.copy(path, other / f"{number:03d}{''.join(path.suffixes)}")
    runs = [run_of(tmp_path / f"run-{source.name}", source) for source in (one, other)]
    for name in ("train-00", "valid-00", "dialogues-train", "dialogues-valid"):
        texts = [[row | {"source": ""} for row in rows(run, f"{name}.jsonl")] for run in runs]
        assert texts[0] and texts[0] == texts[1]
    dropped = [{name: rule["count"] for name, rule in told(run, "drops")["rules"].items()} for run in runs]
    assert dropped[0] == dropped[1]
    assert {"duplicate", "near duplicate", "repeated paragraph"} <= dropped[0].keys()
