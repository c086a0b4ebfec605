"""AlphaGo's stages from nothing in an hour on two cores, and then games against GNU Go.

    make bench NAME=recipe_2016      # GAMES=100 for each level, SECONDS=0.8 a move; FOLDER=… keeps all runs

The bars: more than 80 % of the points against GNU Go 1 and more than 40 % against GNU Go 10, 100 games each,
after 60 minutes at most; the two matches are played side by side, a core each. The ratio is the worse of the
two shares ÷ its bar, with Wilson's interval. All games are kept beside the figures, compressed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import harness

from tuti.run import read_events
from tuti.systems.alphago.match import tally

RECIPE = (
    ("games", "match gnugo:1-8 gnugo:1-8 --games 900 --opening 0 1 2 3 4 5 --seed 1"),
    ("sl", "sl games --updates 100"),
    ("rollout", "rollout games"),
    ("rl", "rl sl --iterations 50"),
    ("value", "value sl rl --games 32768 --updates 100"),
    ("alphago", "search sl rollout value"),
)
"""Each run and the words after `tuti alphago` that make it"""
PLAYER = "alphago@rp"
"""Policy and rollouts, λ = 1: on few games the value network is no help yet (docs/log/2026-11-28-go.md)"""
BARS = {"level1": 0.8, "level10": 0.4}
MINUTES = 60.0


def made(folder: Path, name: str, words: str) -> None:
    """Makes one run in the folder, if it is not there; one that was ended goes on."""
    if (folder / name / "lineage.json").exists():
        return
    again = ["--resume"] if (folder / name).exists() else []
    command = [sys.executable, "-m", "tuti", "alphago", *words.split(), "--out", name, *again]
    subprocess.run(command, cwd=folder, check=True)


def learnt(folder: Path) -> dict[str, float]:
    """Makes the runs of the recipe that the folder lacks; the minutes that each took, as its events tell."""
    minutes: dict[str, float] = {}
    for name, words in RECIPE:
        made(folder, name, words)
        last = (folder / name / "events.jsonl").read_text().splitlines()[-1]
        minutes[name] = json.loads(last)["seconds"] / 60
    return minutes


def played(folder: Path, result: str, games: int, seconds: str, **matches: str) -> dict[str, list[Path]]:
    """Matches of the player, name=opponent and seed, side by side, a process and a core each: two searches in
    one process share its interpreter. Their files, which are kept beside the results, compressed."""
    options = f"--games {games} --seconds {seconds} --simulations 100000 --threads 1"
    lines = [f"match {PLAYER} {opponent} {options}" for opponent in matches.values()]
    with ThreadPoolExecutor(len(matches)) as pool:
        list(pool.map(partial(made, folder), matches, lines))
    found = {name: sorted((folder / name / "artifacts" / "games").iterdir()) for name in matches}
    harness.keep_files(f"{result}-games", found)
    return found


def longest(folder: Path, matches: Iterable[str]) -> float:
    """Seconds of the player's longest move; not in the first game of a match, where loops are compiled."""
    events = [event for name in matches for event in read_events(folder / name, "game")]
    return max(event["longest"] for event in events if event["number"] > 1)


def measured(folder: Path) -> None:
    """The recipe, the matches, the result."""
    games, seconds = int(os.environ.get("GAMES", "100")), os.environ.get("SECONDS", "0.8")
    minutes = learnt(folder)
    matches = {"level1": "gnugo:1 --seed 7", "level10": "gnugo:10 --seed 7"}
    found = played(folder, "recipe-2016", games, seconds, **matches)
    told = {name: tally(paths) for name, paths in found.items()}
    worst = min(BARS, key=lambda name: told[name]["share"] / BARS[name])
    low, share, high = (told[worst][name] / BARS[worst] for name in ("low", "share", "high"))
    harness.write(
        "recipe-2016", ours=told[worst]["share"], peer=None, unit=f"points against GNU Go, {worst}",
        ratio=share, n=games, spread=(low, high), seconds_a_move=float(seconds),
        longest_move=longest(folder, matches), minutes=minutes,
        within=sum(minutes.values()) <= MINUTES, each=told,
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
