"""Are both lines of sampled couplets as long as the corpus's? The bar: of 60 % of 50, after Hafez's openings.

    python benchmarks/couplets.py runs/demo [SCRIPT]

As long as the corpus's: between the 5th and the 95th percentile of the lines of the script's (Arabic, unless
said otherwise) training documents, in code points. Lines 1 and 2 of a sample are a couplet, 3 and 4, and so
on; its last line, which may be cut, is left out.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tuti.data import read_tokens
from tuti.infer import load_model
from tuti.measure import Interval, binomial_interval
from tuti.pipelines.scores import Texts, write_samples
from tuti.run import read_documents

BAR, COUPLETS = 0.6, 50


def lines_of(text: str) -> list[str]:
    """The lines that hold something, without the space around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def limits(texts: Iterable[str]) -> tuple[int, int]:
    """The 5th and the 95th percentile of the line lengths of a corpus, which are lengths in it."""
    lengths = [len(line) for text in texts for line in lines_of(text)]
    low, high = np.percentile(lengths, [5, 95], method="inverted_cdf")
    return int(low), int(high)


def couplets(text: str) -> list[tuple[str, str]]:
    """A last odd line is left out."""
    lines = lines_of(text)
    return list(zip(lines[::2], lines[1::2], strict=False))


def share_inside(pairs: list[tuple[str, str]], low: int, high: int) -> Interval:
    """The share of couplets of which both lines lie in the range, ends included, with its interval."""
    inside = sum(all(low <= len(line) <= high for line in pair) for pair in pairs)
    return binomial_interval(inside, len(pairs))


def main() -> None:
    run, script = Path(sys.argv[1]), (*sys.argv[2:], "Arabic")[0]
    documents = run / "stages" / "prepare" / "artifacts" / "documents"
    tokens = read_tokens(run / "stages" / "pack" / "artifacts" / "tokens", "valid")
    low, high = limits(row["text"] for row in read_documents(documents, "train") if row["script"] == script)
    loaded, texts = load_model(run), Texts(documents, tokens, len(tokens))
    samples = write_samples(loaded.model, loaded.tokenizer, texts, 2 * COUPLETS, 160)
    whole = [row["text"].rpartition("\n")[0] for row in samples if row["script"] == script]
    found = share_inside([pair for text in whole for pair in couplets(text)][:COUPLETS], low, high)
    met = "yes" if found.value >= BAR else "no"
    share = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    print(f"lines of {low} to {high}: {share} of {found.n} couplets have both so; ≥ {BAR}: {met}")


if __name__ == "__main__":
    main()
