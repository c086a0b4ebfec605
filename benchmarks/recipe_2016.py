"""AlphaGo's stages from nothing in an hour on two cores, and then games against GNU Go.

    make bench NAME=recipe_2016      # GAMES=100 for each level, SECONDS=0.35 a move; FOLDER=… keeps all runs

The bars: more than 80 % of the points against GNU Go 1 and more than 40 % against GNU Go 10, 100 games each,
after 60 minutes at most; the two matches are played side by side, a core each. The ratio is the worse of the
two shares ÷ its bar, with Wilson's interval. All games are kept beside the figures, compressed.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness

RECIPE = (
    ("games", "match gnugo:1-8 gnugo:1-8 --games 600 --opening 5 --seed 1"),
    ("sl", "sl games --updates 75"),
    ("rollout", "rollout games"),
    ("rl", "rl sl --iterations 50"),
    ("value", "value sl rl --games 32768 --updates 100"),
    ("alphago", "search sl rollout value"),
)
"""Each run and the words after `tuti alphago` that make it"""
PLAYER = "alphago@rp"
"""Policy and rollouts, λ = 1: on few games the value network is no help yet (docs/log/2026-11-28-go.md)"""
BARS = {"gnugo:1": 0.8, "gnugo:10": 0.4}
MINUTES = 60.0


def made(folder: Path, name: str, words: str) -> None:
    """Makes one run in the folder."""
    command = [sys.executable, "-m", "tuti", "alphago", *words.split(), "--out", name]
    subprocess.run(command, cwd=folder, check=True)


def learnt(folder: Path) -> dict[str, float]:
    """Makes the runs of the recipe that the folder lacks; the minutes that each took, as its events tell."""
    minutes: dict[str, float] = {}
    for name, words in RECIPE:
        if not (folder / name / "lineage.json").exists():
            made(folder, name, words)
        last = (folder / name / "events.jsonl").read_text().splitlines()[-1]
        minutes[name] = json.loads(last)["seconds"] / 60
    return minutes


def kept(folder: Path, names: list[str], result: str) -> None:
    """The games of some matches in one small file beside the results."""
    with tarfile.open(harness.RESULTS / f"{result}-games.tar.xz", "w:xz") as archive:
        for name in names:
            for path in sorted((folder / name / "artifacts" / "games").iterdir()):
                about, data = tarfile.TarInfo(f"{name}/{path.name}"), path.read_bytes()
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))


def measured(folder: Path) -> None:
    """The recipe, the matches, the result."""
    games, seconds = os.environ.get("GAMES", "100"), os.environ.get("SECONDS", "0.35")
    minutes = learnt(folder)
    told: dict[str, dict[str, float]] = {}
    options = f"--games {games} --seconds {seconds} --simulations 100000 --seed 7 --threads 1"
    names = ["against-" + opponent.replace(":", "-") for opponent in BARS]
    with ThreadPoolExecutor(len(BARS)) as pool:  # a process each: in one, two searches share one lock
        words = [f"match {PLAYER} {opponent} {options}" for opponent in BARS]
        list(pool.map(lambda name, line: made(folder, name, line), names, words))
    for opponent, name in zip(BARS, names, strict=True):
        told[opponent] = json.loads((folder / name / "artifacts" / "result.json").read_text())
    kept(folder, names, "recipe-2016")
    worst = min(BARS, key=lambda opponent: told[opponent]["share"] / BARS[opponent])
    harness.write(
        "recipe-2016", ours=told[worst]["share"], peer=None, unit=f"points against {worst}",
        ratio=told[worst]["share"] / BARS[worst], n=int(games),
        spread=(told[worst]["low"] / BARS[worst], told[worst]["high"] / BARS[worst]),
        seconds_a_move=float(seconds), minutes=minutes, within=sum(minutes.values()) <= MINUTES, each=told,
    )  # fmt: skip


def in_folder(measure: Callable[[Path], None]) -> None:
    """Measures in FOLDER, which keeps the runs, or in one that is gone afterwards."""
    if folder := os.environ.get("FOLDER"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        measure(Path(folder))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            measure(Path(scratch))


if __name__ == "__main__":
    in_folder(measured)
