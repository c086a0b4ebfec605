"""The stages up to packed tokens on a small corpus, as tests of this room begin."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuti.run import Run, RunOptions, execute
from tuti.systems.spark.pack import Pack, pack
from tuti.systems.spark.prepare import Prepare, prepare
from tuti.systems.transformer.tokenizer import TokenizerConfig, tokenizer


def go(folder: Path, stage: Callable[[Any, Run], None], config: Any, threads: int = 1) -> Run:
    """One stage in a run of its own."""
    run = Run(folder, RunOptions(out=folder, device="cpu", threads=threads))
    folder.mkdir(parents=True, exist_ok=True)
    execute(stage, config, run)
    return run


def packed(folder: Path, corpus: Path, vocab: int = 512, min_bytes: int = 1000) -> Path:
    """folder/prepare, folder/words, and folder/pack, which is returned."""
    config = Prepare(source=(corpus,), min_bytes=min_bytes, genre="any")
    clean = go(folder / "prepare", prepare, config).folder
    words = go(folder / "words", tokenizer, TokenizerConfig(words=clean, vocab=vocab)).folder
    return go(folder / "pack", pack, Pack(documents=clean, tokenizer=words)).folder
