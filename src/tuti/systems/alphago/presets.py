"""Configs of the room at the sizes of the one dial."""

from tuti.systems.alphago.train import Train


def tiny() -> Train:
    """From nothing on a board of 5 × 5, within a minute on two cores: it beats its own start."""
    return Train(
        size=5, komi=0.5, blocks=2, channels=24, games=64, iterations=12, updates=30, batch=128, window=6
    )


def small() -> Train:
    """A board of 7 × 7, in half an hour on two cores."""
    return Train(size=7, blocks=4, channels=32, games=128, iterations=100, updates=60, batch=256, window=12)
