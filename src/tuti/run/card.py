"""A room's card: everything the house needs to know of a room, by name only, without importing it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tuti.run.files import read_toml


def load(target: str) -> Any:
    """What stands at `"module:name"`; the module is imported only now."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Entry:
    """One verb: where its function is (`"module:function"`) and what its help line says."""

    target: str
    help: str

    def load(self) -> Callable[..., Any]:
        """The function itself; the room is imported only now."""
        return load(self.target)


@dataclass(frozen=True)
class Card:
    """What a room or a pipeline offers; `tuti --help`, Studio and the docs are made from cards."""

    title: str
    paper: str
    stages: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """Functions `stage(config, run)`: each makes a run."""
    views: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """Functions `view(config)`: read runs, print or show, write nothing."""
    verbs: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """At most two that stand at the top of the command line, stages or views of this card."""
    pages: dict[str, str] = field(default_factory=dict[str, str])
    """Path below `/<room>` → `"module:function"`: `(runs, query)` → parts of a page, as markup."""
    checks: dict[str, str] = field(default_factory=dict[str, str])
    """Name → `"module:function"` that `tuti doctor` calls; it returns a line or raises UserError."""
    presets: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Stage → scale → `"module:function"` that returns the stage's config."""
    claims: str = ""
    """The package whose `claims.toml` holds the room's rows for the ledger in docs/claims.md."""


Status = Literal[
    "computed exactly", "reproduced in small", "reported by its authors, not tested here", "source errs"
]


@dataclass(frozen=True)
class Claim:
    """A row of the ledger docs/claims.md: one figure or statement of a source, and what became of it here.

    `status` never says more than `command` shows.
    """

    claim: str
    """What is said, in our words"""
    source: str
    """Who says it: the channel's post, or a paper with its section"""
    status: Status
    command: str = ""
    """What computes it here: a `tuti …` command, or `pytest FILE::TEST`"""
    ours: str = ""
    """What we found or do; for a source that errs, what is right"""


def load_claims(package: str) -> tuple[Claim, ...]:
    """The rows of `claims.toml` in the package that a card names; none where it names nothing."""
    if not package:
        return ()
    found = read_toml(str(importlib.import_module(package).__file__), "claims.toml")
    return tuple(Claim(**row) for row in found["claim"])
