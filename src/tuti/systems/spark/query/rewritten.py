"""What an optimiser changed in a plan: in words where it is plain, and as the lines that differ.

Plans are trees as lines, what is read below what reads it, as `plan.drawn` and as Spark print them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

LINES, WIDTH, LONG = 40, 160, 1_000_000
"""Of lines that differ, at most so many, so wide; and pairs of lines beyond which plans are not compared"""
IDLE = ("sort", "Sort", "distinct", "union", "Repartition")
"""Steps that are left out where they change nothing"""
NAMES = ("SubqueryAlias", "View", "OverwriteBy", "AppendData", "InsertInto")
"""Lines of Spark's plans that compute no rows"""


class Step(NamedTuple):
    """A line of a plan, and the kinds of the steps above it."""

    text: str
    above: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Its first word: filter, sort …"""
        found = self.text.partition(" ")[0].lower()
        return "aggregate" if found == "deduplicate" else found  # Spark's optimiser writes it so

    @property
    def parts(self) -> list[str]:
        """Of a filter: the conditions that must all hold."""
        plain = re.sub(r"cast\((\w+) as \w+\)", r"\1", self.text.partition(" ")[2])
        found = re.split(r" AND |and\(|, (?=[a-z_]+\()", plain)
        bare = [part.strip("() ") for part in found]
        return [part + ")" * (part.count("(") - part.count(")")) for part in bare if part]


def steps(lines: Sequence[str]) -> Iterator[Step]:
    """The steps of a drawn plan; numbers that Spark gives to columns are taken off."""
    path: list[tuple[int, str]] = []
    for line in lines:
        text = re.sub(r"#\d+L?", "", line.lstrip(" :+-")).strip()
        if text and not text.startswith(NAMES):
            depth = len(line) - len(line.lstrip(" :+-"))
            path = [one for one in path if one[0] < depth]
            step = Step(text, tuple(kind for _, kind in path))
            path.append((depth, step.kind))
            yield step


def rewritten(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Sentences, then lines that went (-) and came (+); nothing for a plan that was left as it is."""
    old, new = list(steps(before)), list(steps(after))
    if len(old) * len(new) > LONG:
        return []
    texts = [[step.text for step in plan] for plan in (old, new)]
    lines: list[str] = []
    for what, *(a, b, c, d) in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        if what != "equal":
            lines += [f"- {text}" for text in texts[0][a:b]] + [f"+ {text}" for text in texts[1][c:d]]
    more = [f"… {len(lines) - LINES} more lines"] if len(lines) > LINES else []
    return [line[:WIDTH] for line in (*_told(old, new), *lines[:LINES], *more)]


def _told(old: list[Step], new: list[Step]) -> Iterator[str]:
    yield from dict.fromkeys(_moved(old, new))
    gone = Counter(s.text for s in old) - Counter(s.text for s in new)
    for text, count in gone.items():
        if text.startswith(IDLE):
            yield f"left out: {text}" + f" ({count} times)" * (count > 1)
    named = [{name for step in plan for name in re.findall(r" AS (\w+)", step.text)} for plan in (old, new)]
    if named[0] > named[1]:
        yield f"columns pruned: {', '.join(sorted(named[0] - named[1]))} not computed"
    known = {step.text for step in old}
    for step in new:
        if step.text not in known and step.above:
            if step.kind in ("select", "project") and " as " not in step.text.lower():
                names = step.text.partition(" ")[2] or "no column"
                yield f"columns pruned: only {names} go up to {step.above[-1]}"
            elif step.kind == "scan":
                yield f"columns pruned: {step.text} alone"


def _moved(old: list[Step], new: list[Step]) -> Iterator[str]:
    """Conditions that stand below more kinds of steps than before."""
    passing = ("select", "project", "filter")
    for step in old:
        for part in step.parts if step.kind == "filter" else ():
            for other in new:
                passed = [k for k in (Counter(other.above) - Counter(step.above)) if k not in passing]
                if other.kind == "filter" and part in other.parts and passed:
                    yield f"filter pushed down: {part} goes below {' and '.join(passed)}"
