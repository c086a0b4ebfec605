"""Stage `tokenizer`: byte-level BPE on the word-count table, and what it costs each script."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from tuti.run import Run, damaged
from tuti.text import ChatTemplate, Tokenizer, script_of


@dataclass(frozen=True)
class TokenizerConfig:
    """Trains a vocabulary: merges the most frequent pair of neighbours until it is full."""

    words: tyro.conf.Positional[Path]
    """The run (or folder) that holds WordCounts"""
    vocab: Annotated[int, Ge(300)] = 4096
    """Entries of the vocabulary, the 256 bytes and the special tokens included"""
    template: Literal["default", "mixtral"] = "default"
    """How conversations are written for the models of this tokenizer: our own way, or Mixtral's Instruct"""


def read_counts(folder: Path) -> dict[str, int]:
    """The word-count table that `spark prepare` wrote."""
    path = folder / "counts.jsonl"
    with damaged(f"{path} is", "tuti spark prepare FOLDER"), open(path, encoding="utf-8") as lines:
        return {str(word): int(count) for word, count in map(json.loads, lines)}


def tokenizer(config: TokenizerConfig, run: Run) -> None:
    """Trains, saves and reports; memory grows with distinct words, not with the corpus."""
    counts = read_counts(run.load(config.words, "WordCounts"))
    run.show(f"BPE over {len(counts):,} distinct words, {sum(counts.values()):,} in all")
    trained = Tokenizer.train(counts, config.vocab)
    table = fertility_by_script(trained, counts)
    with run.save("tokenizer", "Tokenizer", vocab=trained.vocab_size) as folder:
        trained.save(folder)
        ChatTemplate.default(trained, config.template).save(folder)
    run.log("tokenizer", vocab=trained.vocab_size, fertility=table)
    for row in table[:6]:
        run.show(
            f"  {row['script']:<12} {row['tokens_per_word']:.2f} tokens a word, "
            f"{row['bytes_per_token']:.2f} bytes a token"
        )


def fertility_by_script(trained: Tokenizer, counts: dict[str, int]) -> list[dict[str, float | str]]:
    """Tokens a word and bytes a token, by the script of the words, most words first."""
    words = [word for word in counts if any(c.isalpha() for c in word)]
    totals: dict[str, list[int]] = {}
    for word, ids in zip(words, trained.encode_batch(words), strict=True):
        total = totals.setdefault(script_of(word), [0, 0, 0])
        for place, size in enumerate((1, len(ids), len(word.encode()))):
            total[place] += counts[word] * size
    return [
        {"script": script, "words": n, "tokens_per_word": tokens / n, "bytes_per_token": size / tokens}
        for script, (n, tokens, size) in sorted(totals.items(), key=lambda item: -item[1][0])
    ]
