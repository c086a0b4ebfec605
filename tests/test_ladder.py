"""The ratings of benchmarks/ladder.py."""

import runpy
import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # as for the script itself, which imports its neighbours
ratings = runpy.run_path(str(BENCHMARKS / "ladder.py"))["ratings"]


def test_two_players_ratings_are_those_of_their_odds() -> None:
    points = np.array([[0, 30.0], [10.0, 0]])
    elo, half, mean = ratings(points, points + points.T)
    assert elo[0] == 0 and abs(elo[1] - 400 * np.log10(10.5 / 30.5)) < 1e-6
    p = 30.5 / 41
    assert abs(half[1] - 1.96 * 400 / np.log(10) / (41 * p * (1 - p)) ** 0.5) < 1e-6 and half[0] == 0
    np.testing.assert_allclose(mean, half[1] / 2, atol=1e-6)  # each is half as far from the middle


def test_ratings_are_found_again_and_their_intervals_hold() -> None:
    truth, rng, inside = np.array([0.0, 150.0, 320.0, 500.0]), np.random.default_rng(5), 0
    around = 0
    chances = 1 / (1 + 10 ** ((truth[None] - truth[:, None]) / 400))
    games = 200 * (1 - np.eye(4))
    for _ in range(100):
        won = np.triu(rng.binomial(200, chances), 1).astype(float)
        points = won + np.tril((200 - won.T), -1)
        elo, half, mean = ratings(points, games)
        inside += int((np.abs(elo - truth)[1:] <= half[1:]).sum())
        around += int((np.abs((elo - elo.mean()) - (truth - truth.mean())) <= mean).sum())
    assert 0.90 <= inside / 300 <= 0.995 and 0.90 <= around / 400 <= 0.995


def test_who_always_wins_is_not_infinitely_good() -> None:
    elo, half, _ = ratings(np.array([[0, 0.0], [20.0, 0]]), np.array([[0, 20.0], [20.0, 0]]))
    assert 500 < elo[1] < 900 and half[1] > 200
