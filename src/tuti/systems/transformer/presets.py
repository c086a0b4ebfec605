"""Configs of the room at the sizes of the one dial."""

from pathlib import Path

from tuti.systems.transformer.pretrain import Pretrain, Scratch


def tiny() -> Pretrain:
    """Learns to beat a byte n-gram on a small corpus within a minute on two cores."""
    return Pretrain(
        tokens=Path("tokens"), start=Scratch(width=128, layers=4, heads=4, kv_heads=2), context=128,
        rows=16, steps=300,
    )
