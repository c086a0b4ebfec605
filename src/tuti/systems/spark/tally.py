"""What happened to a corpus, in numbers that add up the same in any order and any partitioning."""

import heapq
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tuti.systems.spark.walk import Skip

EXAMPLES = 5
LISTED = 200
Example = tuple[str, int, str]


def excerpt(text: str, width: int = 120) -> str:
    """The first characters of a text, with what cannot be printed written as escapes."""
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else repr(c)[1:-1] for c in text[:width])


@dataclass
class Rule:
    """One reason for dropping: how often, how many bytes, and the first few by name."""

    count: int = 0
    bytes: int = 0
    examples: list[Example] = field(default_factory=list[Example])


@dataclass
class Tally:
    """Counts of one piece of work; `add` joins two, in any order."""

    files: int = 0
    bytes: int = 0
    suffixes: dict[str, int] = field(default_factory=dict[str, int])
    rules: dict[str, Rule] = field(default_factory=dict[str, Rule])
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    skipped: list[Skip] = field(default_factory=list[Skip])
    kept: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Kind → how many, and bytes."""

    def file(self, name: str, size: int) -> None:
        """One file was read."""
        self.files += 1
        self.bytes += size
        parts = name.rpartition("/")[2].lower().split(".")[1:]
        ends = parts[-2:] if parts[-1:] in (["gz"], ["zst"]) else parts[-1:]
        suffix = "".join(f".{end}" for end in ends)[:16] or "(none)"
        self.suffixes[suffix] = self.suffixes.get(suffix, 0) + 1

    def drop(self, rule: str, name: str, n: int, text: str) -> None:
        """One passage was dropped by a rule."""
        size = len(text.encode("utf-8", "replace"))
        self._merge_rule(rule, Rule(1, size, [(name, n, excerpt(text))]))

    def skip(self, skip: Skip) -> None:
        """A file or a row was not read."""
        reason = skip.reason.partition(" (")[0].partition(": ")[0]
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.skipped.append(skip)
        if len(self.skipped) > 4 * LISTED:
            self.skipped = heapq.nsmallest(LISTED, self.skipped)

    def keep(self, kind: str, size: int, count: int = 1) -> None:
        """An item of this kind (or several) stays, with so many bytes."""
        held = self.kept.setdefault(kind, [0, 0])
        held[0] += count
        held[1] += size

    def add(self, other: "Tally") -> None:
        """Joins the counts of another piece of work to these."""
        self.files += other.files
        self.bytes += other.bytes
        for mine, theirs in ((self.suffixes, other.suffixes), (self.reasons, other.reasons)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for name, rule in other.rules.items():
            self._merge_rule(name, rule)
        self.skipped = heapq.nsmallest(LISTED, [*self.skipped, *other.skipped])
        for kind, (count, size) in other.kept.items():
            self.keep(kind, size, count)

    def _merge_rule(self, name: str, rule: Rule) -> None:
        mine = self.rules.setdefault(name, Rule())
        mine.count += rule.count
        mine.bytes += rule.bytes
        if len(mine.examples) < EXAMPLES or rule.examples[:1] < mine.examples[-1:]:
            mine.examples = heapq.nsmallest(EXAMPLES, [*mine.examples, *rule.examples])

    def to_json(self) -> str:
        """One line that `from_json` reads back, on whichever machine."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Tally":
        """The tally that another process wrote."""
        found: dict[str, Any] = json.loads(line)
        found["skipped"] = [Skip(*skip) for skip in found["skipped"]]
        for name, rule in found["rules"].items():
            found["rules"][name] = Rule(**rule | {"examples": [(a, b, c) for a, b, c in rule["examples"]]})
        return cls(**found)

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
