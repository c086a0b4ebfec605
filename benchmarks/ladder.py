"""Everybody against everybody, and one scale of Elo for all, anchored at the first player.

    RESULT=go-ladder python benchmarks/ladder.py FOLDER GAMES 'random playouts:1000 gnugo:1 RUN RUN@rp' …

Each pair plays by `tuti alphago match`, whose other options follow; two matches are played side by side, a
process and a core each. A match that is done is not played again, one that was ended goes on.
The table and all pairs' points go to FOLDER/ratings.json, and with RESULT to benchmarks/results, where all
games are kept, compressed. Intervals are of the distance to the first, and to the mean of all.
"""

import datetime
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import harness
import numpy as np

POINTS = 400 / np.log(10)
"""Elo's points a unit of log-odds"""


def ratings(points: Any, games: Any) -> tuple[Any, Any, Any]:
    """Elo of each, the first's 0, and its intervals' half widths, 95 %, from points won [of, against].

    The likeliest ratings of Bradley & Terry (1952), by Newton's method, with one draw more of each two that
    met, so that nobody is infinitely good; intervals of the difference to the first, and to the mean of all,
    by Fisher's information.
    """
    met = games > 0
    points, games, rating = points + met / 2, games + met, np.zeros(len(games))
    for _ in range(50):
        expected = 1 / (1 + np.exp(rating[None] - rating[:, None]))
        information = games * expected * (1 - expected)
        covariance = np.linalg.pinv(np.diag(information.sum(1)) - information)
        rating = rating + covariance @ (points - games * expected).sum(1)
    own = covariance.diagonal()
    first, mean = own + own[0] - 2 * covariance[0], own + covariance.mean() - 2 * covariance.mean(0)
    widths = (1.96 * POINTS * np.sqrt(spread.clip(0)) for spread in (first, mean))
    return (rating - rating[0]) * POINTS, *widths


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

    def own(pair: tuple[int, int]) -> str:
        """A match's folder: other games or options are another match."""
        return "_".join((*(players[number] for number in pair), games, *options)).replace("/", "+")

    def play(pair: tuple[int, int]) -> dict[str, float]:
        one, other = (players[number] for number in pair)
        return result(Path(folder) / own(pair), one, other, ["--games", games, *options])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(play, pairs))
    for (i, j), told in zip(pairs, results, strict=True):
        points[i, j], points[j, i] = told["won"], told["games"] - told["won"]
        counts[i, j] = counts[j, i] = told["games"]
    elo, first, mean = ratings(points, counts)
    table = [
        {"player": players[i], "elo": round(elo[i]), "to_first": round(first[i]), "to_mean": round(mean[i]),
         "points": points[i].sum(), "games": int(counts[i].sum())}
        for i in np.argsort(-elo)
    ]  # fmt: skip
    for row in table:
        print("| {player} | {elo} ± {to_first} | ± {to_mean} | {points:g} of {games} |".format(**row))
    each = [
        [players[i], players[j], *(told[name] for name in ("won", "games", "void"))]
        for (i, j), told in zip(pairs, results, strict=True)
    ]
    print(f"{sum(told['void'] for told in results)} games were void")
    today = datetime.date.today().isoformat()
    about = {"date": today, "games_a_pair": int(games), "options": " ".join(options)}
    text = json.dumps(about | {"ratings": table, "won, games, void": each}) + "\n"
    (Path(folder) / "ratings.json").write_text(text)
    if name := os.environ.get("RESULT"):
        (harness.RESULTS / f"{name}.json").write_text(text)
        runs = map(own, pairs)
        found = {run: sorted((Path(folder) / run / "artifacts" / "games").iterdir()) for run in runs}
        harness.keep_files(f"{name}-games", found)


if __name__ == "__main__":
    main()
