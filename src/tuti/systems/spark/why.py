"""View `tuti spark why`: every stage that a document met, and the rule that dropped it.

Nothing is stored for it: the way of a text is a function of its file, the run's config and the documents
that stayed, so it is walked again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from tuti.run import UserError, config_from_json, find_artifact, hash_text, read_documents
from tuti.run.directory import read_config
from tuti.systems.spark import near
from tuti.systems.spark.card import preparation
from tuti.systems.spark.clean import Text, steps
from tuti.systems.spark.gather import key_of, paragraphs
from tuti.systems.spark.prepare import Prepare
from tuti.systems.spark.readers import Item, read
from tuti.systems.spark.tally import excerpt
from tuti.systems.spark.walk import Skip, walk

Document = dict[str, str]
SPLITS = ("train", "valid")
AT_ONCE = 2000
"""Documents compared at a time"""


@dataclass(frozen=True)
class Why:
    """Tells the way of one document through `prepare`."""

    run: Positional[Path]
    """A run of prepare, or of teach"""
    doc: Annotated[str, arg(metavar="ID")]
    """FILE#N as in drops.json, or the id of a document that stayed"""


def why(config: Why) -> None:
    """Prints a line for each stage."""
    folder = preparation(config.run)
    documents = find_artifact(folder, "Documents")
    asked = config_from_json(Prepare, read_config(folder)["config"])
    both = ((split, row) for split in SPLITS for row in read_documents(documents, split))
    kept = [(split, row) for split, row in both if config.doc in (row["id"], row["source"])]
    name, _, n = (kept[0][1]["source"] if kept else config.doc).rpartition("#")
    print(f"{name}#{n}")
    for line in _way(asked, name, n, documents, [row for _, row in kept]):
        print(f"  {line}")
    for split, row in kept:
        print(f"  kept: {split}, id {row['id']}, {row['language']}, {len(row['text'])} characters")


def _way(asked: Prepare, name: str, n: str, documents: Path, kept: Sequence[Document]) -> Iterator[str]:
    """The stages of one text, in the order of `prepare`."""
    item = _item(asked, name, n)
    if isinstance(item, Skip):
        yield f"read: not, {item.reason}"
        return
    raw = item.content
    if not isinstance(raw, str):
        yield f"read: a dialogue of {len(raw)} messages; dialogues are judged by language alone"
        return
    yield f"read: {len(raw)} characters: {excerpt(raw, 60)}"
    last = Text(raw)
    for text in steps(raw, asked.cleaning()):
        if text.rule:
            yield f"{text.step}: DROPPED by the rule “{text.rule}”"
            return
        if text.step in ("language", "genre"):
            yield f"{text.step}: {getattr(text, text.step) or 'not asked for'}"
        elif text.text != last.text:
            yield f"{text.step}: {len(last.text)} → {len(text.text)} characters"
        last = text
    if not kept:
        yield from _beside_others(asked, last, documents)
    elif kept[0]["text"] != last.text.strip("\n").rstrip():
        yield "repeated paragraph: some of its paragraphs stand in another document and were cut out"


def _beside_others(asked: Prepare, last: Text, documents: Path) -> Iterator[str]:
    """Why a clean text is not among the documents: another is like it, or it is of an evaluation set."""
    text = last.text.strip("\n").rstrip()
    own, keys = hash_text(text)[:32], {key for part in paragraphs(text) if (key := key_of(part))}
    if asked.against:
        known = near.runs_of(asked.against, asked.cleaning())
        if np.isin(near.shingles([text], near.RUN)[0], known).any():
            yield "evaluation sets: DROPPED, it shares thirteen words in a row with one"
            return
    nearest, closest, quoted = 0.0, "", ""
    rows = chain(*(read_documents(documents, split) for split in SPLITS))
    while part := list(islice(rows, AT_ONCE)):
        hashes, starts = near.shingles([text, *(row["text"] for row in part)])
        mine = np.unique(hashes[: starts[1]])
        for number, row in enumerate(part, start=1):
            if row["id"] == own:
                yield f"equal content: DROPPED, {row['source']} has the same text and comes first"
                return
            alike = near.jaccard(mine, np.unique(hashes[starts[number] : starts[number + 1]]))
            nearest, closest = max((nearest, closest), (alike, row["source"]))
            if keys & {key_of(paragraph) for paragraph in paragraphs(row["text"])}:
                quoted = quoted or row["source"]
    if asked.near and nearest >= asked.near:
        yield f"near duplicates: DROPPED, {nearest:.2f} of its runs of words are those of {closest}"
    elif quoted:
        yield f"repeated paragraph: DROPPED, its paragraphs stand in {quoted}"
    else:
        chained = "it is like one that is like another that stayed"
        yield f"near duplicates: DROPPED, {chained} (nearest of those: {closest}, {nearest:.2f})"


def _item(asked: Prepare, name: str, n: str) -> Item | Skip:
    sources, skips = walk(list(asked.source))
    source = next((source for source in sources if source.name == name), None)
    if source is None:
        reason = next((skip.reason for skip in skips if skip.name == name), "")
        raise UserError(
            f"{name!r} was not read: {reason}" if reason else f"no file {name!r} is in the run's sources",
            hint="name it as drops.json and the documents do: FOLDER/FILE#N, or a document's id",
        )
    last = 0
    for item in read(source, asked.passage):
        number = item.line if isinstance(item, Skip) else item.n
        if str(number) == n:
            return item
        last = max(last, number)
    what = f"{name} has no text {n!r}: {last} in {source.size:,} bytes"
    raise UserError(what, hint="FILE#N, N from 1")
