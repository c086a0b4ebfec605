"""Exercises: what is asked stands in the corpus, from any text whatever."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.systems.finetune.exercises import (
    CHOICES,
    KINDS,
    LONGEST,
    make_exercises,
    pieces_of,
    turns_of,
)
from tuti.systems.finetune.tests.small import rows

CODE = """def f(x):
    y = x + 1
    return y


class A:
    size: int = 3

    def g(self):
        return self.size
"""
AWKWARD = {
    "code": CODE * 5,
    "prose without a newline": "She walked home in the rain. It was late; nobody saw her. " * 60,
    "one long word": "x" * 5000,
    "one long line": "word " * 2000,
    "han": "天地玄黄宇宙洪荒" * 200,
    "one line": "A single line, no more.",
    "braces": "{text} and {choices} and {0} are not fields at all\n" * 9,
    "colons": "note: a: b\nkey: value\n" * 20,
    "blank": " \n \n",
    "empty": "",
}


@given(st.text(alphabet=st.sampled_from("ab .!؟\n\u200cی天"), max_size=900))
def test_pieces_joined_are_the_text_again(text: str) -> None:
    pieces = pieces_of(text)
    assert "".join(pieces) == text
    assert all(len(piece.strip()) <= LONGEST for piece in pieces)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=300), max_size=6), st.integers(0, 2**30))
def test_any_texts_give_exercises_or_none(texts: list[str], seed: int) -> None:
    documents = [{"id": str(n), "script": "Latin", "text": text} for n, text in enumerate(texts)]
    for exercise in make_exercises(documents, 12, seed):
        asked, answer = (message["content"] for message in exercise.messages)
        assert asked.strip() and answer.strip()
        assert not exercise.options or exercise.options[exercise.right] == answer
        assert len(set(exercise.options)) == len(exercise.options)


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_corpora(name: str) -> None:
    documents = [{"id": str(n), "script": "Latin", "text": AWKWARD[name]} for n in range(3)]
    made = make_exercises(documents, 40, 0)
    assert bool(made) == (name not in ("one line", "blank", "empty"))
    assert not any(exercise.kind == "speaker" for exercise in made)


def test_every_kind_from_the_document_that_is_asked_about() -> None:
    documents = rows(60, 5)
    made = make_exercises(documents, 400, 1)
    assert {exercise.kind for exercise in made} == set(KINDS)
    texts = [row["text"] for row in documents]
    for exercise in made:
        asked, answer = (message["content"] for message in exercise.messages)
        said = answer.partition(") ")[2] if exercise.kind == "follows" else answer
        assert any(said in text for text in texts)
        if exercise.kind == "follows":
            assert len(exercise.options) == CHOICES and all(o in asked for o in exercise.options)
        if exercise.kind == "continue":
            assert not exercise.options


def test_the_question_is_in_the_language_of_the_document() -> None:
    asked_in = {True: 0, False: 0}
    for exercise in make_exercises(rows(40, 5), 200, 1):
        if exercise.kind in ("follows", "speaker"):
            asked, answer = (message["content"] for message in exercise.messages)
            assert asked.split("\n")[0].isascii() == answer.isascii()
            asked_in[answer.isascii()] += 1
    assert min(asked_in.values()) > 5


def test_equal_inputs_give_equal_exercises_and_seeds_differ() -> None:
    documents = rows(30, 5)
    assert make_exercises(documents, 90, 4) == make_exercises(list(documents), 90, 4)
    assert make_exercises(documents, 90, 4) != make_exercises(documents, 90, 5)


def test_speakers_only_where_people_speak() -> None:
    assert [turn[0] for turn in turns_of("**A**\nhi\n\n**B**\nho\n\n**A**\nhey")] == ["A", "B", "A"]
    assert [turn[0] for turn in turns_of("ROMEO: hi\nJULIET: ho\nROMEO: hey")] == [
        "ROMEO",
        "JULIET",
        "ROMEO",
    ]
    assert not turns_of("Note: one\nelse: two\nNote: three")
    assert not turns_of("**Bold** begins a line\nbut nobody answers")
