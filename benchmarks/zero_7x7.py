"""From zero in 30 minutes on two cores, 7 × 7: Elo as it learns, and against a tree of random games.

    make bench NAME=zero_7x7      # MINUTES=30, GAMES=100, RECIPE=gumbel

The network that was trained has 32 simulations a move; the tree, whose leaves are valued by one random game
each, has 320: the bar is more than 80 % of the points, in games from openings of four random moves, in pairs
with the colours exchanged. The curve: copies of the run's checkpoints while it trains, each against the same
tree; Elo is the tree's 0, and its interval is that of the points.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

from tuti.run import Run, RunOptions
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.train import Train
from tuti.train import AdamW, Optimiser, load_checkpoint

BAR, SIZE, SIMULATIONS, POINTS = 0.8, 7, 32, 6


def watched(folder: Path, minutes: float, recipe: str) -> list[tuple[float, Path]]:
    """Trains; (minutes, copy of the newest checkpoint) at POINTS times before the end."""
    words = f"train --recipe {recipe} --size {SIZE} --minutes {minutes} --out run"
    training = subprocess.Popen([sys.executable, "-m", "tuti", "alphago", *words.split()], cwd=folder)
    began, copies = time.monotonic(), list[tuple[float, Path]]()
    while training.poll() is None:
        passed = (time.monotonic() - began) / 60
        found = sorted((folder / "run" / "checkpoints").glob("step-*"))
        if found and passed >= (len(copies) + 1) * minutes / (POINTS + 1):
            copy = folder / f"checkpoint-{len(copies)}"
            try:
                shutil.copytree(found[-1], copy)
                copies.append((passed, copy))
            except OSError:  # it gave way to a newer one meanwhile
                shutil.rmtree(copy, ignore_errors=True)
        time.sleep(0.5)
    assert training.returncode == 0
    return [*copies, ((time.monotonic() - began) / 60, folder / "run")]


def player(path: Path) -> Path:
    """A checkpoint as a player."""
    if path.name == "run":
        return path
    net, run = Net(PLANES, Train().blocks, Train().channels), Run(path / "player", RunOptions())
    Optimiser(net, AdamW()).restore(load_checkpoint(path)[1])
    save_net(net.requires_grad_(False), run, size=SIZE, komi=Train().komi)
    return run.folder


def match(folder: Path, one: Path, games: int) -> dict[str, float]:
    """What came of a match with the tree."""
    options = f"--size {SIZE} --simulations {SIMULATIONS} --seconds 60 --games {games} --out {one.name}-match"
    words = ["match", str(one), f"playouts:{10 * SIMULATIONS}", *options.split()]
    subprocess.run([sys.executable, "-m", "tuti", "alphago", *words], cwd=folder, check=True)
    return json.loads((folder / f"{one.name}-match" / "artifacts" / "result.json").read_text())


def elo(share: float, games: int) -> int:
    """Elo of a share of points, no nearer to 0 and 1 than half a game."""
    share = min(1 - 0.5 / games, max(0.5 / games, share))
    return round(400 * math.log10(share / (1 - share)))


def main() -> None:
    minutes, games = float(os.environ.get("MINUTES", "30")), int(os.environ.get("GAMES", "100"))
    recipe, curve = os.environ.get("RECIPE", "gumbel"), list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as scratch:
        folder, told = Path(scratch), dict[str, float]()
        for number, (passed, path) in enumerate(watched(folder, minutes, recipe)):
            made = player(path).rename(folder / f"player-{number}")
            told = match(folder, made, games if path.name == "run" else 40)
            row = {name: elo(told[name], int(told["games"])) for name in ("low", "share", "high")}
            curve.append({"minutes": passed, **row})
            harness.show(f"{passed:.1f} minutes: Elo {row['share']} [{row['low']}, {row['high']}]")
    harness.write(
        "zero-7x7", ours=told["share"], peer=None, unit=f"points against a tree of {10 * SIMULATIONS}",
        ratio=told["share"] / BAR, spread=(told["low"] / BAR, told["high"] / BAR), n=games, recipe=recipe,
        minutes=curve[-1]["minutes"], within=curve[-1]["minutes"] <= minutes, curve=curve,
    )  # fmt: skip


if __name__ == "__main__":
    main()
