"""The quality rules against 400 labels, and what they drop by mistake of poems, plays and fortunes.

    make bench NAME=quality          # rewrites the table in the room's README

A rule alone is a detector of bad texts: precision is the share of bad ones among those it drops, recall the
share of all bad ones that it drops. Agreement is that of all rules together (genre auto) with the readers.
"""

import sys
from collections import Counter
from pathlib import Path

import harness
import labelled

from tuti.run.assets import fetch
from tuti.systems.spark.clean import Cleaning, clean, identify
from tuti.systems.spark.rules import RULES, Measures, broken_rules, genre_of

README = Path(__file__).parent.parent / "src" / "tuti" / "systems" / "spark" / "README.md"
BEGIN, END = "<!-- quality: made by benchmarks/quality.py -->", "<!-- /quality -->"


def agreement() -> tuple[float, Counter[str]]:
    """The share of labels that the rules agree with; kind → how many of them do not."""
    labels, wrong = labelled.labels(), Counter[str]()
    for document in labelled.documents():
        kept = not clean(document.text, Cleaning()).rule
        if kept != (labels[document.id]["label"] == "good"):
            wrong[document.kind] += 1
    return 1 - wrong.total() / len(labels), wrong


def by_rule() -> dict[str, tuple[int, int, int]]:
    """Rule → dropped by it alone, bad ones of these, all bad ones."""
    labels, found = labelled.labels(), {rule.name: [0, 0] for rule in RULES}
    bad = sum(row["label"] == "bad" for row in labels.values())
    for document in labelled.documents():
        measures = Measures(document.text)
        language, sure = identify(document.text)
        for name in broken_rules(measures, language if sure >= 0.3 else "und", genre_of(measures)):
            found[name][0] += 1
            found[name][1] += labels[document.id]["label"] == "bad"
    return {name: (dropped, right, bad) for name, (dropped, right) in found.items()}


def false_drops() -> dict[str, dict[str, float]]:
    """Corpus → genre → share of its texts that the rules drop, all of which a reader would keep."""
    pools = {
        "Hafez": [text for _, text in labelled.poems()],
        "Shakespeare": [text for _, text in labelled.plays()],
        "fortunes": [text for _, text in labelled.fortunes()],
    }
    return {
        name: {
            genre: sum(bool(clean(text, Cleaning(genre=genre)).rule) for text in pool) / len(pool)
            for genre in ("auto", "prose", "poetry")
        }
        for name, pool in pools.items()
    }


def section() -> tuple[list[str], float]:
    right, wrong = agreement()
    bad = sum(row["label"] == "bad" for row in labelled.labels().values())
    missed = ", ".join(f"{kind} {count}" for kind, count in wrong.most_common())
    lines = [f"Agreement with the readers: **{right:.3f}** of 400 texts, {bad} of them bad (not: {missed})."]
    lines += ["", "| rule | after | drops | precision | recall |", "|---|---|---|---|---|"]
    sources = {rule.name: rule.source for rule in RULES}
    for name, (dropped, good, all_bad) in by_rule().items():
        precision = f"{good / dropped:.2f}" if dropped else "–"
        lines.append(f"| {name} | {sources[name]} | {dropped} | {precision} | {good / all_bad:.2f} |")
    lines += ["", "Dropped by mistake, share of all texts:", "", "| corpus | auto | as prose | as poetry |"]
    lines.append("|---|---|---|---|")
    for corpus, shares in false_drops().items():
        lines.append(f"| {corpus} | " + " | ".join(f"{share:.3f}" for share in shares.values()) + " |")
    return lines, right


def main() -> None:
    for name in ("handbook", "fortunes", "hafez", "shakespeare"):
        fetch(name)
    lines, right = section()
    text = README.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    fresh = before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2]
    if "--check" in sys.argv and fresh != text:
        sys.exit("the room's table of rules is stale: python benchmarks/quality.py")
    README.write_text(fresh, "utf-8")
    print("\n".join(lines))
    if "--check" not in sys.argv:
        pair = harness.Pair(right, 0.95)
        harness.report("quality", [pair], unit="share of labels agreed with")


if __name__ == "__main__":
    main()
