"""Rows of claims.toml: read as they stand, refused where a key, a status or a type is not one of ours."""

import sys
from pathlib import Path

import pytest

from tuti.run.card import Claim, load_claims

ROW = """
[[claim]]
claim = "it is so"
source = "a paper"
status = "source errs"
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own; what it is asked for is its file of claims."""
    (tmp_path / "a_room").mkdir()
    (tmp_path / "a_room" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_room", raising=False)
    return tmp_path / "a_room" / "claims.toml"


def test_rows_come_in_their_order(room: Path) -> None:
    shown = ROW.replace("source errs", "computed exactly") + 'command = "tuti list"\nours = "طوطی"\n'
    room.write_text(ROW + shown, encoding="utf-8")
    assert load_claims("a_room") == (
        Claim("it is so", "a paper", "source errs"),
        Claim("it is so", "a paper", "computed exactly", "tuti list", "طوطی"),
    )
    assert load_claims("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW.replace("errs", "is right"), "said to be 'source is right'"),
        (ROW.replace("source errs", "computed exactly"), "said to be computed exactly"),
        (ROW + 'remark = "x"', "remark"),
        (ROW.replace("source =", "ours ="), "'ours'"),
        (ROW + "ours = 3", "not all are texts"),
        (ROW + 'ours = ""', "not all are texts"),
        (ROW + '[[claims]]\nclaim = "x"', "claims.toml holds"),
    ],
)
def test_what_is_no_row_is_refused(room: Path, text: str, said: str) -> None:
    room.write_text(text)
    with pytest.raises(AssertionError, match=said):
        load_claims("a_room")
