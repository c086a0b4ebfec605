"""Configs of the room at the sizes of the one dial."""

from pathlib import Path

from tuti.systems.finetune.sft import Sft


def tiny() -> Sft:
    """Lowers the held-out dialogue loss of a small model within a minute on two cores."""
    return Sft(model=Path("model"), documents=Path("documents"), tokens=Path("tokens"), steps=60, rows=8)
