"""A row of the ledger docs/claims.md: what a source says, and what became of it here."""

from dataclasses import dataclass
from typing import Literal, cast

from tuti.run.card import load

Status = Literal[
    "computed exactly",
    "reproduced in small",
    "reported by its authors, not tested here",
    "source errs",
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
        shown = self.status in ("computed exactly", "reproduced in small")
        assert bool(self.command) or not shown, f"{self.claim!r} is said to be {self.status}"


def load_claims(target: str) -> tuple[Claim, ...]:
    """The rows that a card names as `"module:NAME"`; none where it names nothing."""
    return cast(tuple[Claim, ...], load(target)) if target else ()
