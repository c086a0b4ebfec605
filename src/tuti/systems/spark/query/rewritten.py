"""What an optimiser changed in a plan, as the lines that differ.

Plans are trees as lines, what is read below what reads it, as `plan.drawn` and as Spark print them.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

LINES, WIDTH, LONG = 40, 160, 1_000_000
"""Of lines that differ, at most so many, so wide; and pairs of lines beyond which plans are not compared"""
NAMES = ("SubqueryAlias", "View", "OverwriteBy", "AppendData", "InsertInto")
"""Lines of Spark's plans that compute no rows"""


def steps(lines: Sequence[str]) -> list[str]:
    """The steps of a drawn plan; numbers that Spark gives to columns are taken off."""
    texts = (re.sub(r"#\d+L?", "", line.lstrip(" :+-")).strip() for line in lines)
    return [text for text in texts if text and not text.startswith(NAMES)]


def rewritten(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Lines that went (-) and came (+); nothing for a plan that was left as it is."""
    old, new = steps(before), steps(after)
    if len(old) * len(new) > LONG:
        return []
    lines: list[str] = []
    for what, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what != "equal":
            lines += [f"- {text}" for text in old[a:b]] + [f"+ {text}" for text in new[c:d]]
    more = [f"… {len(lines) - LINES} more lines"] if len(lines) > LINES else []
    return [line[:WIDTH] for line in (*lines[:LINES], *more)]
