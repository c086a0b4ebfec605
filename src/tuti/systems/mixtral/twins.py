"""View `twins`: experts against their dense twin, at equal updates and at equal seconds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from tuti.run import UserError, read_events


@dataclass(frozen=True)
class Twins:
    """Held-out bits per byte of two runs of `tuti mixtral train`, side by side."""

    sparse: tyro.conf.Positional[Path]
    """The run with experts"""
    dense: tyro.conf.Positional[Path]
    """The run with model:twin"""


@dataclass(frozen=True)
class Curve:
    """What a run had reached after each measurement."""

    steps: NDArray[np.float64]
    seconds: NDArray[np.float64]
    bits: NDArray[np.float64]


def twins(config: Twins) -> None:
    """Prints both curves, and where each one leads."""
    sparse, dense = curve(config.sparse), curve(config.dense)
    shared, ours, theirs = np.intersect1d(sparse.steps, dense.steps, return_indices=True)
    if not len(shared):
        raise UserError("the runs were never measured at the same update", hint="train both with one --every")
    print("held-out bits per byte, and seconds of updates until then")
    print(f"{'update':>8} {'experts':>9} {'dense':>9} {'':>3}{'s':>7} {'s':>7}")
    for step, a, b in zip(shared, ours, theirs, strict=True):
        print(
            f"{step:>8.0f} {sparse.bits[a]:>9.3f} {dense.bits[b]:>9.3f} {'':>3}"
            f"{sparse.seconds[a]:>7.0f} {dense.seconds[b]:>7.0f}"
        )
    grid, gains = by_clock(sparse, dense)
    print(f"\n{'seconds':>8} {'dense - experts':>16}")
    for second, gain in zip(grid, gains, strict=True):
        print(f"{second:>8.0f} {gain:>+16.3f}")
    print(f"\n{verdict(grid, gains)}")


def curve(path: Path) -> Curve:
    """The glances at held-out text that a run logged; the last measurement is of other documents."""
    if not path.exists():
        raise UserError(f"{path} does not exist", hint="tuti mixtral train TOKENS makes a run")
    clock, rows = 0.0, list[tuple[float, float, float]]()
    for event in read_events(path):
        if event["event"] == "step":
            clock += float(event["seconds"])
        elif event["event"] == "held_out" and not event["last"]:
            rows.append((float(event["step"]), clock, float(event["bits_per_byte"]["all"])))
    if not rows:
        raise UserError(f"{path} was never measured on the way", hint="--every below --steps")
    steps, seconds, bits = np.array(rows).T
    return Curve(steps, seconds, bits)


def by_clock(sparse: Curve, dense: Curve, points: int = 9) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds at which both had been measured, and the bits that the dense one is then behind.

    Between two measurements bits are taken to fall along a straight line.
    """
    first = float(max(sparse.seconds[0], dense.seconds[0]))
    last = max(first, float(min(sparse.seconds[-1], dense.seconds[-1])))
    grid = np.linspace(first, last, points)
    behind = np.interp(grid, dense.seconds, dense.bits) - np.interp(grid, sparse.seconds, sparse.bits)
    return grid, behind


def verdict(grid: NDArray[np.float64], gains: NDArray[np.float64]) -> str:
    """Who leads by the clock at the end, and since when."""
    leads = "experts lead" if gains[-1] > 0 else "the dense twin leads"
    other = np.flatnonzero(np.sign(gains) != np.sign(gains[-1]))
    since = "all along" if not len(other) else f"since second {grid[other[-1] + 1]:.0f}"
    return f"at equal seconds {leads} by {abs(gains[-1]):.3f} bits per byte at the end, {since}"
