"""The table of moves against Python's decoder, asked about every way to go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuti.text.tests.sample import begins_text
from tuti.text.utf8 import BROKEN, WHOLE, Utf8

PLACES = (b"", b"\xc2", b"\xe1", b"\xf1", b"\xe0", b"\xed", b"\xf0", b"\xf4")
"""Bytes that lead to each place, in the places' order"""


def assert_agreement(tokens: list[bytes], place: int) -> None:
    found = Utf8(tokens, frozenset())
    for i, token in enumerate(tokens):
        data = PLACES[place] + token
        assert found.allowed[place, i] == begins_text(data), data
        if found.allowed[place, i]:
            assert (found.after[place, i] == WHOLE) == begins_text(data + b"a"), data


@pytest.mark.parametrize("place", range(BROKEN))
def test_every_byte_from_every_place(place: int) -> None:
    assert_agreement([bytes([a]) for a in range(256)], place)


def test_every_pair_of_bytes() -> None:
    assert_agreement([bytes([a, b]) for a in range(256) for b in range(256)], WHOLE)


@given(st.lists(st.binary(max_size=6) | st.text(max_size=3).map(lambda t: t.encode()), max_size=12))
def test_a_walk_over_tokens_is_a_walk_over_their_bytes(tokens: list[bytes]) -> None:
    """Token by token, whatever is cut where, against all bytes so far at once."""
    pieces = [*tokens, *(bytes([i]) for i in range(256))]
    found, place, text = Utf8(pieces, frozenset()), WHOLE, b""
    for i, token in enumerate(tokens):
        assert found.allowed[place, i] == begins_text(text + token)
        if found.allowed[place, i]:
            place, text = int(found.after[place, i]), text + token
            assert (place == WHOLE) == begins_text(text + b"a")


def test_special_tokens_stand_between_characters() -> None:
    tokens = [*(bytes([i]) for i in range(256)), b"<|end|>"]
    found = Utf8(tokens, {256})
    assert found.allowed[WHOLE, 256] and found.after[WHOLE, 256] == WHOLE
    assert not found.allowed[1:, 256].any()


def test_a_vocabulary_that_cannot_finish_a_character_still_goes_on() -> None:
    found = Utf8([b"a", b"\xd8"], frozenset())
    assert found.after[WHOLE, 1] != WHOLE
    assert found.allowed[found.after[WHOLE, 1]].all()
