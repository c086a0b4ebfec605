"""The way of one document, and what is kept apart from evaluation sets."""

import json
from pathlib import Path

import pytest

from tuti.run import UserError
from tuti.run.files import hash_folder
from tuti.systems.spark.clean import Cleaning
from tuti.systems.spark.near import runs_of
from tuti.systems.spark.tests.corpus import rows, run_of, told, write_corpus
from tuti.systems.spark.why import Why, why

LONG = "A parrot who has learnt one hundred words of Bengal can hold a talk with all who come by its old sea."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Random words, and a text for each end that a text can come to."""
    folder = write_corpus(tmp_path_factory.mktemp("why") / "in", files=6)
    words = (folder / "0" / "0.txt").read_text().split()
    (folder / "empty.jsonl").write_text(json.dumps({"text": "—"}) + "\n")
    (folder / "broken.txt").write_bytes(b"abc \xff\xfe\xfa def")
    (folder / "near-a.txt").write_text(" ".join(words[:300]))
    (folder / "near-b.txt").write_text(" ".join([*words[:295], *words[900:905]]))
    (folder / "quote-a.txt").write_text(f"{LONG}\n\n" + " ".join(words[400:500]))
    (folder / "quote-b.txt").write_text(f"{LONG}\n\n" + " ".join(words[600:700]))
    (folder / "quote-c.txt").write_text(f"  {LONG}")
    (folder / "exam.txt").write_text(" ".join(words[700:800]) + " what is the answer " + " ".join(words[:9]))
    return folder


@pytest.fixture(scope="module")
def exam(corpus, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exam") / "questions.jsonl"
    words = (corpus / "exam.txt").read_text().split()
    path.write_text(json.dumps({"text": " ".join(words[90:104]).upper() + "?"}) + "\n")
    return path


@pytest.fixture(scope="module")
def prepared(corpus, exam, tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("run") / "a", corpus, against=(exam,))


@pytest.mark.parametrize(
    ("doc", "said"),
    [
        ("empty.jsonl#1", "letters: DROPPED by the rule “empty”"),
        ("broken.txt#1", "encoding: DROPPED by the rule “broken encoding”"),
        ("again.txt#1", "equal content"),
        ("near-a.txt#1", "of its runs of words are those of near-b.txt#1"),
        ("quote-b.txt#1", "some of its paragraphs stand in another document"),
        ("quote-c.txt#1", "its paragraphs stand in quote-a.txt#1"),
        ("exam.txt#1", "shares thirteen words in a row"),
        ("quote-a.txt#1", "kept: "),
    ],
)
def test_why_tells_the_rule(prepared, capsys, doc: str, said: str) -> None:
    why(Why(prepared.folder, doc))
    out = capsys.readouterr().out
    assert said in out, out
    assert ("DROPPED" in said or "of its runs" in said or "kept" not in out) or "kept: " in out


def test_a_document_that_stayed_is_found_by_its_id(prepared, capsys) -> None:
    row = rows(prepared, "train-00.jsonl")[0]
    why(Why(prepared.folder, row["id"]))
    out = capsys.readouterr().out
    assert out.startswith(row["source"]) and f"kept: train, id {row['id']}" in out


def test_what_is_not_there_is_said(prepared) -> None:
    for doc, said in (("none.txt#1", "no file 'none.txt'"), ("again.txt#99", "no text '99'")):
        with pytest.raises(UserError, match=said):
            why(Why(prepared.folder, doc))


def test_evaluation_sets_are_kept_out_by_any_engine_alike(prepared, corpus, exam, tmp_path) -> None:
    rule = told(prepared, "drops")["rules"]["in an evaluation set"]
    assert rule["count"] == 1 and rule["examples"][0]["source"] == "exam.txt#1"
    wanted = hash_folder(prepared.folder / "artifacts")
    for partitions in (1, 8):
        run = run_of(tmp_path / str(partitions), corpus, partitions=partitions, against=(exam,))
        assert hash_folder(run.folder / "artifacts") == wanted
    sources = {row["source"] for row in rows(run_of(tmp_path / "all", corpus), "train-00.jsonl")}
    assert "exam.txt#1" in sources


def test_an_evaluation_set_without_text_is_refused(tmp_path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match="no text to keep out"):
        runs_of([tmp_path], Cleaning())
