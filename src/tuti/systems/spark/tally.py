"""What happened to a corpus, in numbers that add up the same in any order and any partitioning."""

import heapq
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from tuti.systems.spark.walk import Skip

EXAMPLES = 5
LISTED = 200
Example = list[Any]
"""A file's name, the number of the text in it, and how that begins"""


def excerpt(text: str, width: int = 120) -> str:
    """The first characters of a text, with what cannot be printed written as escapes."""
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else repr(c)[1:-1] for c in text[:width])


@dataclass
class Rule:
    """One reason for dropping: how often, how many bytes, and the first few by name."""

    count: int = 0
    bytes: int = 0
    examples: list[Example] = field(default_factory=list[Example])

    def add(self, other: "Rule") -> None:
        """Joins what another piece of work dropped."""
        self.count += other.count
        self.bytes += other.bytes
        if len(self.examples) < EXAMPLES or other.examples[:1] < self.examples[-1:]:
            self.examples = heapq.nsmallest(EXAMPLES, [*self.examples, *other.examples])


@dataclass
class Tally:
    """Counts of one piece of work; `add` joins two, in any order."""

    files: int = 0
    bytes: int = 0
    rules: dict[str, Rule] = field(default_factory=dict[str, Rule])
    reasons: Counter[str] = field(default_factory=Counter[str])
    skipped: list[Skip] = field(default_factory=list[Skip])
    kept: Counter[str] = field(default_factory=Counter[str])
    """Documents, and dialogues"""
    kept_bytes: Counter[str] = field(default_factory=Counter[str])

    def file(self, size: int) -> None:
        """One file was read."""
        self.files += 1
        self.bytes += size

    def drop(self, rule: str, name: str, n: int, text: str) -> None:
        """One passage was dropped by a rule."""
        size = len(text.encode("utf-8", "replace"))
        self.rules.setdefault(rule, Rule()).add(Rule(1, size, [[name, n, excerpt(text)]]))

    def skip(self, skip: Skip) -> None:
        """A file or a row was not read."""
        self.reasons[skip.reason.partition(" (")[0].partition(": ")[0]] += 1
        self.skipped.append(skip)
        if len(self.skipped) > 4 * LISTED:
            self.skipped = heapq.nsmallest(LISTED, self.skipped)

    def keep(self, kind: str, size: int) -> None:
        """An item of this kind stays, with so many bytes."""
        self.kept[kind] += 1
        self.kept_bytes[kind] += size

    def add(self, other: "Tally") -> None:
        """Joins the counts of another piece of work to these."""
        self.files += other.files
        self.bytes += other.bytes
        for name in ("reasons", "kept", "kept_bytes"):
            getattr(self, name).update(getattr(other, name))
        for name, rule in other.rules.items():
            self.rules.setdefault(name, Rule()).add(rule)
        self.skipped = heapq.nsmallest(LISTED, [*self.skipped, *other.skipped])

    def line(self) -> str:
        """One line for the shuffle."""
        return json.dumps(self, default=vars, ensure_ascii=False)

    def drops(self) -> dict[str, Any]:
        """What drops.json holds."""
        rules: dict[str, Any] = {}
        for name, rule in sorted(self.rules.items()):
            examples = [{"source": f"{a}#{n}", "text": text} for a, n, text in rule.examples]
            rules[name] = asdict(rule) | {"examples": examples}
        listed = [
            {"source": f"{name}#{line}" if line else name, "reason": reason}
            for name, line, reason in heapq.nsmallest(LISTED, self.skipped)
        ]
        reasons = dict(sorted(self.reasons.items()))
        skipped = {"count": sum(reasons.values()), "reasons": reasons, "listed": listed}
        return {"rules": rules, "skipped": skipped}


read_tally = TypeAdapter(Tally).validate_json
"""What `Tally.line` wrote, in whichever process"""
