"""Everybody against everybody, and one scale of Elo for all, anchored at the first player.

    python benchmarks/ladder.py FOLDER GAMES 'random playouts:1000 gnugo:1 gnugo:10 RUN RUN@rp' --size 9 …

Each pair plays by `tuti alphago match`, whose other options follow; two matches are played side by side, a
process and a core each. A match that is done is not played again, one that was ended goes on.
The table goes to FOLDER/ratings.json, too.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

POINTS = 400 / np.log(10)
"""Elo's points a unit of log-odds"""


def ratings(points: Any, games: Any) -> tuple[Any, Any]:
    """Elo of each, the first's 0, and half the width of its interval of 95 %, from points won [of, against].

    The likeliest ratings of Bradley & Terry (1952), by Newton's method, with one draw more of each two that
    met, so that nobody is infinitely good; intervals of the difference to the first by Fisher's information.
    """
    met = games > 0
    points, games, rating = points + met / 2, games + met, np.zeros(len(games))
    for _ in range(50):
        expected = 1 / (1 + np.exp(rating[None] - rating[:, None]))
        information = games * expected * (1 - expected)
        covariance = np.linalg.pinv(np.diag(information.sum(1)) - information)
        rating = rating + covariance @ (points - games * expected).sum(1)
    spread = covariance.diagonal() + covariance[0, 0] - 2 * covariance[0]
    return (rating - rating[0]) * POINTS, 1.96 * POINTS * np.sqrt(spread.clip(0))


def result(folder: Path, first: str, second: str, options: list[str]) -> dict[str, float]:
    """What came of a match."""
    told = folder / "artifacts" / "result.json"
    if not told.exists():
        words = ["match", first, second, "--threads", "1", *options]
        again = ["--resume"] if (folder / "config.json").exists() else []
        command = [sys.executable, "-m", "tuti", "alphago", *words, "--out", str(folder), *again]
        subprocess.run(command, check=True)
    return json.loads(told.read_text())


def main() -> None:
    folder, games, names, *options = sys.argv[1:]
    players = names.split()
    points, counts = np.zeros((2, len(players), len(players)))
    pairs = list(combinations(range(len(players)), 2))

    def play(pair: tuple[int, int]) -> dict[str, float]:
        one, other = (players[number] for number in pair)
        own = "_".join((one, other, games, *options)).replace("/", "+")  # others: other matches
        return result(Path(folder) / own, one, other, ["--games", games, *options])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(play, pairs))
    for (i, j), told in zip(pairs, results, strict=True):
        points[i, j], points[j, i] = told["won"], told["games"] - told["won"]
        counts[i, j] = counts[j, i] = told["games"]
    elo, half = ratings(points, counts)
    table = [
        {"player": players[i], "elo": round(elo[i]), "plus_minus": round(half[i]), "games": int(sum(row))}
        for i, row in ((i, counts[i]) for i in np.argsort(-elo))
    ]
    (Path(folder) / "ratings.json").write_text(json.dumps(table, indent=1) + "\n")
    for row in table:
        print("{elo:+6d} ± {plus_minus:<4d} {player} ({games} games)".format(**row))


if __name__ == "__main__":
    main()
