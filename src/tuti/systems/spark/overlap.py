"""Texts that share a long run of words with an evaluation set: who learnt them was shown the answers.

As GPT-3's appendix C has it (Brown et al. 2020): runs of 13 words, in lower case, without punctuation. An
evaluation text that is shorter is one run, so that it is found only as a whole text.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tuti.run import UserError
from tuti.systems.spark.clean import Cleaning, clean
from tuti.systems.spark.near import Hashes, shingles
from tuti.systems.spark.readers import Dialogue, Passage, read
from tuti.systems.spark.rows import Row
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.walk import walk

RUN = 13
"""Words of a run"""


def runs_of(roots: Sequence[Path], how: Cleaning) -> Hashes:
    """The hashes of all runs of evaluation sets, sorted. Memory: their texts."""
    sources, _ = walk(roots)
    plain = replace(how, genre="any", languages=frozenset())  # edited as the corpus is, else words differ
    texts: list[str] = []
    for source in sources:
        for item in read(source, 1_000_000):
            if isinstance(item, Passage):
                texts.append(clean(item.text, plain).text)
            elif isinstance(item, Dialogue):
                texts += [clean(message["content"], plain).text for message in item.messages]
    if not len(runs := np.unique(shingles(texts, RUN)[0])):
        raise UserError(
            f"no text to keep out was found in {', '.join(map(str, roots))}",
            hint="--against takes files or folders of evaluation texts, in any format that is read",
        )
    return runs


def apart(rows: Iterable[Row], runs: Hashes, tally: Tally) -> Iterator[Row]:
    """The rows that share no run with the evaluation sets."""
    rows = list(rows)
    hashes, starts = shingles([row.body for row in rows], RUN)
    found = np.concatenate([[0], np.cumsum(np.isin(hashes, runs))])
    shared = np.diff(found[starts])
    for row, count in zip(rows, shared, strict=True):
        if row.kind == "document" and count:
            tally.drop("in an evaluation set", row.name, row.n, row.body)
        else:
            yield row
