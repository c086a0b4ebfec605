"""Configs by scale."""

from pathlib import Path

from tuti.systems.spark.prepare import Prepare


def tiny() -> Prepare:
    """A corpus of some KB, for tests and tours."""
    return Prepare(source=(Path("."),), min_bytes=1000, passage=1000, genre="any")


def small() -> Prepare:
    """A person's own folder."""
    return Prepare(source=(Path("."),))
