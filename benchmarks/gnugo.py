"""AlphaGo of 2016, learnt here, against GNU Go's level 10 on 9 × 9: points won of 200 games.

    make bench NAME=gnugo      # GAMES=200, SECONDS=1 a move; FOLDER=… has the runs, or gets them

The bar: more than 65 % with the lower end of Wilson's interval, at most a second a move on two cores, after
two hours of training on them at most: the commands of recipe_2016.py, whose runs are made where FOLDER lacks
them. Two games are played side by side, so that a move has about one core.
Games have openings of four random moves, in pairs with the colours exchanged; the referee is ours. All are
kept beside the figures, compressed.
"""

import json
import os
from pathlib import Path

import harness
import recipe_2016

BAR, MINUTES = 0.65, 120.0


def measured(folder: Path) -> None:
    """The runs that are missing, the match, the result."""
    minutes = recipe_2016.learnt(folder)
    games, limit = os.environ.get("GAMES", "200"), os.environ.get("SECONDS", "1")
    options = f"--games {games} --seconds {limit} --simulations 100000 --seed 11 --threads 2"
    recipe_2016.made(folder, "gnugo", f"match {recipe_2016.PLAYER} gnugo:10 {options}")
    recipe_2016.kept(folder, ["gnugo"], "gnugo")
    told = json.loads((folder / "gnugo" / "artifacts" / "result.json").read_text())
    harness.write(
        "gnugo", ours=told["share"], peer=None, unit="points against gnugo:10", ratio=told["low"] / BAR,
        spread=(told["low"] / BAR, told["high"] / BAR), n=int(games), seconds_a_move=float(limit),
        minutes=minutes, within=sum(minutes.values()) <= MINUTES, match=told,
    )  # fmt: skip


if __name__ == "__main__":
    recipe_2016.in_folder(measured)
