import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import hash_text, read_documents
from tuti.run.files import hash_folder
from tuti.systems.spark import gather
from tuti.systems.spark import prepare as stage
from tuti.systems.spark.card import DataCard, card
from tuti.systems.spark.prepare import Prepare, cut_id, pieces
from tuti.systems.spark.rows import Row, document_row, unique
from tuti.systems.spark.tally import Tally, read_tally
from tuti.systems.spark.tests.corpus import rows, run_of, told, write_corpus
from tuti.systems.spark.walk import Skip, Source
from tuti.text import normalise
from tuti.text.tests.sample import count_words

# -- what comes out


def test_documents_are_clean_unique_sorted_and_all_there(tmp_path):
    corpus = write_corpus(tmp_path / "in")
    (corpus / "arabic.txt").write_text(
        "كتاب علي را می‌خوانم ٣ بار و به خانه می‌روم\x00\x07", encoding="utf-8"
    )
    run = run_of(tmp_path / "run", corpus, passage=1000)
    train, valid = rows(run, "train-00.jsonl"), rows(run, "valid-00.jsonl")
    found = sorted(train + valid, key=lambda row: row["id"])
    assert [row["id"] for row in valid + train] == [row["id"] for row in found]
    assert len({row["text"] for row in found}) == len(found)
    assert all(row["id"] == hash_text(row["text"])[:32] for row in found)
    assert all(row["text"] == normalise(row["text"]) for row in found)
    assert {row["script"] for row in found} == {"Arabic", "Latin"}
    by_source = {row["source"]: row["text"] for row in found}
    assert by_source["arabic.txt#1"] == "کتاب علی را می‌خوانم ۳ بار و به خانه می‌روم"
    assert not any(name.startswith("again.txt") for name in by_source if "again.txt" > "0/0.txt")
    # The slow reference: every line of every file, once.
    lines = {
        line for path in corpus.rglob("*.txt") for line in normalise(path.read_text()).split("\n")
    }
    assert {line for row in found for line in row["text"].split("\n")} == lines
    stats, drops = told(run, "stats"), told(run, "drops")
    assert stats["splits"]["train"]["documents"] == len(train)
    assert stats["splits"]["train"]["bytes"] == sum(len(row["text"].encode()) for row in train)
    assert stats["splits"]["valid"]["characters"] == dict(
        Counter(
            {
                s: sum(len(r["text"]) for r in valid if r["script"] == s)
                for s in {r["script"] for r in valid}
            }
        )
    )
    again = len((corpus / "again.txt").read_text()) // 1000
    assert drops["rules"]["duplicate"]["count"] >= again
    assert drops["rules"]["duplicate"]["examples"][0]["source"].startswith("again.txt#1")


def test_words_are_those_of_the_train_split(tmp_path):
    run = run_of(tmp_path / "run", write_corpus(tmp_path / "in"))
    text = (run.folder / "artifacts" / "words" / "counts.jsonl").read_text(encoding="utf-8")
    counts = [tuple(json.loads(line)) for line in text.split("\n") if line]
    wanted = count_words(row["text"] for row in rows(run, "train-00.jsonl"))
    assert counts == sorted(wanted.items(), key=lambda one: (-one[1], one[0]))


def test_the_same_bytes_from_any_partitions_memory_and_place(tmp_path):
    first = run_of(tmp_path / "a", write_corpus(tmp_path / "in"))
    for partitions, executors, memory in ((1, 1, "400m"), (2, 2, ""), (8, 3, "1g")):
        source = write_corpus(tmp_path / f"in-{partitions}")
        ways = {"partitions": partitions, "threads": executors, "memory": memory}
        second = run_of(tmp_path / f"run-{partitions}", source, **ways)
        assert hash_folder(first.folder / "artifacts") == hash_folder(second.folder / "artifacts")
        assert not (second.folder / "scratch").exists()


def test_shards_are_read_back_in_order(tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "in")
    whole = run_of(tmp_path / "a", corpus)
    monkeypatch.setattr(stage, "SHARD_BYTES", 10_000)
    cut = run_of(tmp_path / "b", corpus)
    folder = cut.folder / "artifacts" / "documents"
    assert len(list(folder.glob("train-*.jsonl"))) > 3
    assert list(read_documents(folder, "train")) == rows(whole, "train-00.jsonl")


def test_dialogues_have_files_of_their_own(tmp_path):
    corpus = write_corpus(tmp_path / "in")
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"q {n}"},
                {"role": "assistant", "content": f"a {n % 30}"},
            ]
        }
        for n in range(60)
    ]
    silent = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "…"}]}
    lines = [json.dumps(chat) for chat in [*chats, chats[0], silent]]
    (corpus / "x.chat.jsonl").write_text("\n".join(lines))
    run = run_of(tmp_path / "run", corpus)
    train, valid = rows(run, "dialogues-train.jsonl"), rows(run, "dialogues-valid.jsonl")
    assert len(train) + len(valid) == 60 and 1 <= len(valid) <= 15
    found = [row["messages"] for row in train + valid]
    assert all(chat["messages"] in found for chat in chats)
    assert told(run, "drops")["rules"]["empty"]["count"] == 1


def test_the_card_tells_what_is_there_and_what_is_not(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "in")
    (corpus / "image.bin").write_bytes(bytes(range(256)))
    run = run_of(tmp_path / "run", corpus)
    capsys.readouterr()
    card(DataCard(run.folder))
    text = capsys.readouterr().out
    assert "Read: 14 files, " in text
    part = told(run, "stats")["splits"]["train"]
    assert f"| train | {part['documents']:,} | {part['bytes'] / 1e6:.2f} | " in text
    assert set(part["languages"]) and f"| Arabic {part['characters']['Arabic']:,}, Latin " in text
    assert "- **duplicate**: " in text and "- not read, **binary**: 1" in text


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=60, unique=True), st.floats(0.001, 0.5)
)
@settings(max_examples=200, deadline=None)
def test_the_cut_holds_out_enough_and_leaves_something(hashes, share):
    ids = sorted(f"{h << 32:016x}" for h in hashes)
    found = [Row(i, "document", "a", 1, "Latin", "en", "x" * (1 + int(i[4:6], 16))) for i in ids]
    total = sum(len(row.body) for row in found)
    cut = cut_id(found, "document", total, len(found), share)
    valid = [row for row in found if row.id < cut]
    assert len(valid) < len(found)
    held = sum(len(row.body) for row in valid)
    below = [row for row in found if int(row.id, 16) < share * 2**64][: len(found) - 1]
    if sum(len(row.body) for row in below) >= 0.01 * total:
        assert valid == below
    elif len(found) > 1 and len(valid) < len(found) - 1:
        assert held >= 0.02 * total > held - len(valid[-1].body)


@pytest.mark.parametrize("cut", ["", "0"])
def test_words_that_outgrow_memory_are_counted_exactly(tmp_path, monkeypatch, cut):
    """Of Documents and of a bucket alike: what is handed on in parts sums to the whole."""
    chance = random.Random(1)
    letters = "abcdefghij"
    texts = [" ".join("".join(chance.choices(letters, k=3)) for _ in range(200)) for _ in range(60)]
    found = [document_row("a.txt", n, text, "en") for n, text in enumerate(texts)]
    (tmp_path / "file").write_text("".join(row.line() + "\n" if cut else row.final() for row in found))
    monkeypatch.setattr(gather, "HELD", 250)
    listed = pa.table({"line": [json.dumps(Source("file", str(tmp_path / "file"), 1, 0))]}).to_batches()
    parts = [dict(zip(*batch.to_pydict().values(), strict=True)) for batch in gather._count(listed, cut)]
    assert len(parts) > 3 and max(map(len, parts)) < 500
    assert sum(map(Counter, parts), Counter()) == count_words(texts)


# -- laws of the parts


ROWS = st.builds(
    lambda body, name, n: Row(hash_text(body)[:32], "document", name, n, "Latin", "en", body),
    st.sampled_from("abcde"),
    st.sampled_from(["x", "y", "z"]),
    st.integers(1, 50),
)


@given(st.lists(ROWS, max_size=40, unique_by=lambda row: (row.name, row.n)), st.randoms())
@settings(max_examples=200, deadline=None)
def test_survivors_and_drops_do_not_depend_on_the_order(found, chance):
    first, second = Tally(), Tally()
    kept = unique([row.line() for row in found], first)
    chance.shuffle(found)
    assert unique([row.line() for row in found], second) == kept
    assert first == second
    assert {row.body: (row.name, row.n) for row in kept} == {
        body: min((r.name, r.n) for r in found if r.body == body)
        for body in {r.body for r in found}
    }


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 99)), max_size=50
    ),
    st.integers(0, 50),
)
@settings(max_examples=100, deadline=None)
def test_tallies_add_up_in_any_partition(events, at):
    def tally(part):
        found = Tally()
        for rule, name, n in part:
            found.drop(rule, name, n, name * n)
            found.skip(Skip(name, n, f"{rule}: detail"))
            found.keep(rule, n)
            found.file(n)
        return found

    whole, left = tally(events), tally(events[:at])
    left.add(read_tally(tally(events[at:]).line()))
    assert left.drops() == whole.drops()
    assert (left.kept, left.files, left.bytes) == (whole.kept, whole.files, whole.bytes)


def test_a_large_corpus_is_cut_into_more_pieces(monkeypatch):
    monkeypatch.setattr("tuti.systems.spark.prepare.cores", lambda: 2)
    texts = Prepare(source=(Path("in"),))

    def pieces_of(name: str, size: int, config: Prepare = texts) -> int:
        return pieces(config, [Source(name, name, size, 0)])

    assert pieces_of("a.txt", 2_000_000_000) == 80
    assert pieces_of("a.txt", 200_000_000) == 0  # eight: the engine's own
    assert pieces_of("a.jsonl.gz", 100_000_000) == 16
    assert pieces_of("a.txt", 10**13) == 4000
    assert pieces_of("a.txt", 10**13, replace(texts, partitions=3)) == 3
