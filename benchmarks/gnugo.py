"""AlphaGo of 2016, learnt here, against GNU Go's level 10 on 9 × 9: points won of 200 games.

    make bench NAME=gnugo      # GAMES=200, SECONDS=0.8 a move; FOLDER=… has the runs, or gets them

The bar: more than 65 % with the lower end of Wilson's interval, at most a second a move on two cores, after
two hours of training on them at most: the commands of recipe_2016.py, whose runs are made where FOLDER lacks
them. Two matches are played side by side, so that a move has one core. Games have openings of four random
moves, in pairs with the colours exchanged; the referee is ours. All are kept beside the figures, compressed.
"""

import os
from pathlib import Path

import harness
import recipe_2016

from tuti.measure import binomial_interval
from tuti.systems.alphago.match import tally

BAR, MINUTES = 0.65, 120.0


def measured(folder: Path) -> None:
    """The runs that are missing, the match, the result."""
    minutes = recipe_2016.learnt(folder)
    games, limit = int(os.environ.get("GAMES", "200")), os.environ.get("SECONDS", "0.8")
    seeds = {f"seed{seed}": f"gnugo:10 --seed {seed}" for seed in (11, 12)}
    found = recipe_2016.played(folder, "gnugo", games // 2, limit, **seeds)
    halves = [tally(paths) for paths in found.values()]
    share = binomial_interval(sum(half["won"] for half in halves), sum(int(half["games"]) for half in halves))
    harness.write(
        "gnugo", ours=share.value, peer=None, unit="points against gnugo:10", ratio=share.low / BAR,
        spread=(share.low / BAR, share.high / BAR), n=share.n, seconds_a_move=float(limit),
        longest_move=recipe_2016.longest(folder, seeds),
        minutes=minutes, within=sum(minutes.values()) <= MINUTES, halves=halves,
    )  # fmt: skip


if __name__ == "__main__":
    recipe_2016.in_folder(measured)
