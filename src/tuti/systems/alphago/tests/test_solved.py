"""The searches against Go on 3 × 3, solved exactly, superko and all."""

import random

import numpy as np
import pytest
from numba import njit

from tuti.search import GUMBEL, PUCT
from tuti.systems.alphago import board
from tuti.systems.alphago.board import PASS
from tuti.systems.alphago.game import Game, name_of
from tuti.systems.alphago.net import Net
from tuti.systems.alphago.planes import PLANES, action_of, cell_of, may
from tuti.systems.alphago.players import by_playouts
from tuti.systems.alphago.think import Thinker

KOMI, MOST = 0.5, 2000


@njit(nogil=True)
def wins(game, keys, left):
    """1 if whoever is to move wins, −1 if not: every move tried, the pass first, with the whole history.

    Moves are those that a search knows, which fill no own eye. 0: that takes more positions than `left`.
    """
    left[0] -= 1
    if board.over(game):
        black = board.owners(game, np.empty(board.CELLS, np.int8)) > KOMI
        return 1 if black == (game[board.TO_MOVE] == board.BLACK) else -1
    allowed = np.empty(10, np.bool_)
    may(game, keys, allowed)
    for action in range(9, -1, -1):
        if left[0] > 0 and allowed[action]:
            p, own, known = cell_of(action, 3), game.copy(), keys.copy()
            board.play(own, known, p, own[board.TO_MOVE])
            found = wins(own, known, left)
            if found <= 0:
                return -found
    return -1 if left[0] > 0 else 0


def winning(game: Game) -> set[int]:
    """The moves that win; none where that would take too long."""
    found = set[int]()
    for cell in sensible(game):
        own, keys = (array.copy() for array in game.arrays)
        board.play(own, keys, cell, own[board.TO_MOVE])
        result = int(wins(own, keys, np.array([MOST])))
        if result == 0:
            return set()
        found |= {cell} if result < 0 else set()
    return found


def sensible(game: Game) -> list[int]:
    allowed = np.empty(10, np.bool_)
    may(*game.arrays, allowed)
    return [int(cell_of(int(action), 3)) for action in np.flatnonzero(allowed)]


def positions(count: int) -> list[tuple[Game, set[int]]]:
    """Random positions in which some moves win and some lose, and the moves that win."""
    source, found = random.Random(0), dict[tuple[bytes, int], tuple[Game, set[int]]]()
    while len(found) < count:
        game = Game(3, KOMI)
        for _ in range(source.randrange(3, 12)):
            game.play(game.to_move, source.choice(sensible(game)[:-1] or [PASS]))
        won = set[int]() if game.over else winning(game)
        if 0 < len(won) < len(sensible(game)):
            found[game.stones.tobytes(), game.to_move] = game, won
    return list(found.values())


@pytest.fixture(scope="module")
def solved() -> list[tuple[Game, set[int]]]:
    return positions(30)


def test_a_tree_of_random_games_finds_what_wins(solved: list[tuple[Game, set[int]]]) -> None:
    for number, (game, won) in enumerate(solved):
        cell = by_playouts(3, 4000, number)(game, 0.0)
        assert cell in won, (game.stones, name_of(int(cell or 0), 3), {name_of(one, 3) for one in won})


@pytest.mark.parametrize("rule", [PUCT, GUMBEL])
def test_a_network_that_knows_nothing_finds_what_wins(
    solved: list[tuple[Game, set[int]]], rule: int
) -> None:
    """Its tree sees the ends of games alone."""
    blank = Net(PLANES, 1, 4).eval()
    for parameter in blank.parameters():
        parameter.requires_grad_(False).zero_()
    games, keys = (np.stack(arrays) for arrays in zip(*(game.arrays for game, _ in solved), strict=True))
    thinker, still = Thinker(blank, 3, len(solved), 800, rule=rule), np.zeros((len(solved), 10), np.float32)
    for action, (game, won) in zip(thinker.think(games, keys, KOMI, still).actions, solved, strict=True):
        assert int(action) in {action_of(cell, 3) for cell in won}, game.stones
