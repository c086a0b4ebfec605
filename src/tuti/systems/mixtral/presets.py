"""Configs of the room at the sizes of the one dial."""

from pathlib import Path

from tuti.systems.mixtral.train import Train


def tiny() -> Train:
    """Eight experts learn to beat a byte n-gram on a small corpus within a minute on two cores."""
    return Train(
        tokens=Path("tokens"), width=96, layers=3, heads=3, hidden=256, context=128, rows=16, steps=250
    )
