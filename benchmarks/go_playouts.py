"""Random games of Go a second on one core, against open_spiel driven from Python.

    make bench NAME=go_playouts

Both play uniformly random legal moves to the end; ours, as every rollout does, fills no eye of its own, so
that its games end by themselves, after 111 moves on 9 × 9 (open_spiel's: 122). That both have the same rules
is tested elsewhere (tests/test_board.py of the room). 19 × 19 is measured in the same run and told beside.
"""

import random
import statistics

import harness
import numpy as np
import pyspiel

from tuti.systems.alphago import board

GAMES = {9: (5000, 150), 19: (1000, 12)}


@board.loop
def playouts(game, keys, count, owner):  # pyright: ignore
    """Random games from a position, one after another, each by other chance."""
    own, known = game.copy(), keys.copy()
    for _ in range(count):
        source = known[board.DICE]
        board.assume(own, known, game, keys)
        known[board.DICE] = source
        board.playout(own, known, owner)


def ours(size: int, count: int) -> float:
    playouts(*board.new(size, seed=random.randrange(2**31)), count, np.empty(board.CELLS, np.int8))
    return count


def theirs(size: int, count: int) -> float:
    game = pyspiel.load_game("go", {"board_size": size, "komi": 7.5})
    for _ in range(count):
        state = game.new_initial_state()
        while not state.is_terminal():
            state.apply_action(random.choice(state.legal_actions()))
    return count


def main() -> None:
    random.seed(0)
    found: dict[int, list[harness.Pair]] = {}
    for size, (mine, peers) in GAMES.items():
        harness.show(f"{size} × {size}")
        found[size] = harness.compare(lambda: ours(size, mine), lambda: theirs(size, peers))  # noqa: B023
    ratios = [pair.ratio for pair in found[19]]
    beside = {
        "ours": statistics.median(pair.ours for pair in found[19]),
        "ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)],
    }  # fmt: skip
    harness.report("go-playouts", found[9], unit="games/s", nineteen=beside)


if __name__ == "__main__":
    main()
