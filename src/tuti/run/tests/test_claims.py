"""Rows of claims.toml are read as they stand; whether they are right, tests/test_docs.py asks of each."""

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
