"""Many games between two networks, side by side: a match in seconds, for tests."""

from typing import Any

import numpy as np

from tuti.systems.alphago import board
from tuti.systems.alphago.net import Net
from tuti.systems.alphago.selfplay import advance, settle
from tuti.systems.alphago.think import Thinker


def points(first: Net, second: Net, side: int, komi: float, games: int, simulations: int = 16) -> Any:
    """The first's points of each game, 1 or 0 (½ for a draw); pairs begin alike, with colours exchanged."""
    rng = np.random.default_rng(0)
    made = [board.new(side, seed=int(seed)) for seed in np.repeat(rng.integers(2**62, size=games // 2), 2)]
    for game, keys in made:
        for _ in range(2):
            board.play(game, keys, board.random_move(game, keys), game[board.TO_MOVE])
    state, known = np.stack([game for game, _ in made]), np.stack([keys for _, keys in made])
    black = np.arange(games) % 2 == 0  # where the first plays Black
    thinkers = [Thinker(net, side, games // 2, simulations) for net in (first, second)]
    over = np.zeros(games, bool)
    while not over.all():
        for colour in (board.BLACK, board.WHITE):
            for thinker, mine in zip(thinkers, (black, ~black), strict=True):
                rows = np.flatnonzero(~over & (state[:, board.TO_MOVE] == colour) & (mine == (colour == 1)))
                if len(rows):
                    own, keys = state[rows], known[rows]
                    still = np.zeros((len(rows), side * side + 1), np.float32)
                    ended = np.zeros(len(rows), bool)
                    advance(own, keys, thinker.think(own, keys, komi, still).actions, ended)
                    state[rows], known[rows], over[rows] = own, keys, ended
    lead = np.empty(games, np.float32)
    settle(state, komi, np.empty((games, side * side), np.int8), lead)
    return np.where(lead == 0, 0.5, (lead > 0) == black)
