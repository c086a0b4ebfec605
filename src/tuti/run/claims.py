"""A row of the ledger docs/claims.md: what a source says, and what became of it here."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

Status = Literal[
    "computed exactly", "reproduced in small", "reported by its authors, not tested here", "source errs"
]


@dataclass(frozen=True)
class Claim:
    """One figure or statement of a source; `status` never says more than `command` shows."""

    claim: str
    """What is said, in our words"""
    source: str
    """Who says it: the channel's post, or a paper with its section"""
    status: Status
    command: str = ""
    """What computes it here: a `tuti …` command, or `pytest FILE::TEST`"""
    ours: str = ""
    """What we found or do; for a source that errs, what is right"""

    def __post_init__(self) -> None:
        assert self.status in get_args(Status), f"{self.claim!r} is said to be {self.status!r}"
        shown = self.status in ("computed exactly", "reproduced in small")
        assert bool(self.command) or not shown, f"{self.claim!r} is said to be {self.status}"


def load_claims(package: str) -> tuple[Claim, ...]:
    """The rows of `claims.toml` in the package that a card names; none where it names nothing."""
    if not package:
        return ()
    table = tomllib.loads((files(package) / "claims.toml").read_text("utf-8"))
    assert table.keys() == {"claim"}, f"{package}: claims.toml holds {sorted(table)}"
    rows: list[dict[str, Any]] = table["claim"]
    needed = {"claim", "source", "status"}
    for row in rows:
        assert needed <= row.keys() <= needed | {"command", "ours"}, f"a row has the keys {sorted(row)}"
        assert all(isinstance(text, str) and text for text in row.values()), f"not all are texts: {row}"
    return tuple(Claim(**row) for row in rows)
