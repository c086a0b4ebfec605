"""Stage `ladder`: everybody against everybody, and one scale of Elo for all, anchored at the first player."""

import json
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import tyro
from annotated_types import Ge, Le

from tuti.run import Run, UserError, atomic_write
from tuti.systems.alphago.match import Match, played

POINTS = 400 / np.log(10)
"""Elo's points a unit of log-odds"""


@dataclass(frozen=True)
class Ladder:
    """Matches of each two players, and their ratings with intervals; the first is 0."""

    players: tyro.conf.Positional[tuple[str, ...]]
    """Such as `random playouts:1000 gnugo:1 gnugo:10 RUN`"""
    games: Annotated[int, Ge(2)] = 20
    """Games of each two"""
    size: Annotated[int, Ge(2), Le(19)] = 9
    """Points a side"""
    komi: float = 7.0
    """Points that White gets"""
    simulations: Annotated[int, Ge(2)] = 200
    """Simulations that a network has for a move, at most"""
    seconds: Annotated[float, Ge(0)] = 1.0
    """Seconds that it has"""
    opening: Annotated[int, Ge(0)] = 4
    """Random moves before a pair's two games"""


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


def ladder(config: Ladder, run: Run) -> None:
    """Each pair's games as SGF, and a table of ratings."""
    names = config.players
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"the players {' '.join(names)}", hint="name two or more, each once")
    points, games = np.zeros((2, len(names), len(names)))
    settings = {name: value for name, value in vars(config).items() if name != "players"}
    for i, j in combinations(range(len(names)), 2):
        folder = run.folder / "artifacts" / f"{i + 1}-{j + 1}"
        told = played(Match(names[i], names[j], **settings), run, folder)
        points[i, j], points[j, i] = told["won"], told["games"] - told["won"]
        games[i, j] = games[j, i] = told["games"]
    elo, half = ratings(points, games)
    table = [
        {"player": names[i], "elo": round(elo[i]), "plus_minus": round(half[i]), "games": int(games[i].sum())}
        for i in np.argsort(-elo)
    ]
    atomic_write(run.folder / "artifacts" / "ratings.json", json.dumps(table, indent=1) + "\n")
    for row in table:
        run.show("{elo:+6d} ± {plus_minus:<4d} {player} ({games} games)".format(**row))
