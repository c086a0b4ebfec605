import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run.files import hash_folder
from tuti.systems.spark.gather import LEAST, key_of, paragraphs, places, repeated, without
from tuti.systems.spark.rows import Row, document_row
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.tests.corpus import rows, run_of, told, write_corpus

LONG = ["parrots repeat what they hear, " * 5, "گفت طوطی هر چه شنید، " * 9, "x" * LEAST]
SHORT = ["a refrain", "x" * (LEAST - 1), "def f():", "    return 1"]
TEXTS = st.lists(st.sampled_from(LONG + SHORT + ["", " ", "\t"]), max_size=12).map("\n".join)


@given(TEXTS | st.text(alphabet="ab \n\t\r\x0b\x0c\x1c\x85\u2028", max_size=400))
@settings(max_examples=300, deadline=None)
def test_paragraphs_lose_nothing(text: str) -> None:
    found = list(paragraphs(text))
    assert "".join(found) == text and all(found)


def test_a_paragraph_ends_at_a_blank_line_and_a_long_line_is_one() -> None:
    long = LONG[0].strip()
    text = f"one\ntwo\n \n\nthree\n{long}\nfour\n{long}\n{long}"
    assert list(paragraphs(text)) == [
        "one\ntwo\n \n\n", "three\n", f"{long}\n", "four\n", f"{long}\n", long
    ]  # fmt: skip
    assert key_of("x" * LEAST) and not key_of("x" * (LEAST - 1))
    assert key_of(f"  {long}\n\n") == key_of(long.replace(" ", "  ")) != key_of(long.upper())


def slowly(documents: list[Row]) -> dict[tuple[str, int], str]:
    """The rule, as one reads it: go through the documents by id, remember, leave out."""
    seen: dict[str, tuple[str, int]] = {}
    left: dict[tuple[str, int], str] = {}
    for row in sorted(documents, key=lambda row: row.id):
        place, kept = (row.name, row.n), ""
        for paragraph in paragraphs(row.body):
            key = " ".join(paragraph.split())
            if len(key) < LEAST or seen.setdefault(key, place) == place:
                kept += paragraph
        if kept.strip():
            left[place] = kept.strip("\n").rstrip()
    return left


PLACES = st.tuples(st.sampled_from("xyz"), st.integers(1, 30))


@given(st.dictionaries(PLACES, TEXTS, max_size=12), st.randoms())
@settings(max_examples=300, deadline=None)
def test_each_paragraph_stays_in_one_document(texts, chance) -> None:
    made = (document_row(name, n, text, "en") for (name, n), text in texts.items())
    documents = list({row.id: row for row in made if row}.values())
    chance.shuffle(documents)
    found = [line for row in documents for _, line in places(row)]
    chance.shuffle(found)
    tally = Tally()
    cuts = [line for _, line in repeated(found)]
    left = {(row.name, row.n): row.body for row in without(documents, cuts, tally)}
    assert left == slowly(documents)
    dropped = tally.rules["repeated paragraph"].count if tally.rules else 0
    assert (dropped > 0) == (sum(map(len, left.values())) < sum(len(row.body) for row in documents))


def test_dialogues_are_left_alone() -> None:
    row = Row("0" * 32, "dialogue", "x", 1, "Latin", "en", json.dumps([{"content": LONG[0]}]))
    assert not list(places(row))


def test_headers_are_cut_out_of_a_corpus_and_counted(tmp_path) -> None:
    corpus = write_corpus(tmp_path / "in")
    first, second = (text.strip() for text in LONG[:2])
    for number in range(6):
        verse = f"verse {number}\n\n{second}\n\nand {number}"
        (corpus / f"p{number}.txt").write_text(f"{first}\n\nrefrain\n\n{verse}", encoding="utf-8")
    (corpus / "q.txt").write_text(f"{second}\n\n{first}", encoding="utf-8")
    run = run_of(tmp_path / "a", corpus)
    found = {
        row["source"]: row["text"]
        for name in ("train", "valid")
        for row in rows(run, f"{name}-00.jsonl")
    }
    made = (document_row(p.name, 1, p.read_text(encoding="utf-8"), "") for p in corpus.glob("[pq]*.txt"))
    wanted = slowly([row for row in made if row])
    assert {k: v for k, v in found.items() if k[0] in "pq"} == {f"{k}#1": v for (k, _), v in wanted.items()}
    assert [sum(long in text for text in found.values()) for long in (first, second)] == [1, 1]
    assert told(run, "drops")["rules"]["repeated paragraph"]["count"] == 12
    assert sum(part["documents"] for part in told(run, "stats")["splits"].values()) == len(found)
    again = run_of(tmp_path / "b", corpus, partitions=3)
    assert hash_folder(run.folder / "artifacts") == hash_folder(again.folder / "artifacts")
