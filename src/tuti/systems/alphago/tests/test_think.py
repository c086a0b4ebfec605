"""What the network is shown, and that one game's search does not depend on the games beside it."""

from typing import Any

import numpy as np
import pytest
import torch

from tuti.search import GUMBEL, PUCT
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, STONES
from tuti.systems.alphago.net import LEAD, Net
from tuti.systems.alphago.planes import PLANES, cell_of, draw, may
from tuti.systems.alphago.think import Thinker, Thoughts, stirred


def random_game(size: int, moves: int, seed: int) -> tuple[Any, Any]:
    game, keys = board.new(size, seed=seed)
    for _ in range(moves):
        if not board.over(game):
            board.play(game, keys, board.random_move(game, keys), game[board.TO_MOVE])
    return game, keys


def chain(stones: Any, x: int, y: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """A chain's stones and its liberties, by walking."""
    found, todo, free = set[tuple[int, int]](), [(x, y)], set[tuple[int, int]]()
    while todo:
        a, b = todo.pop()
        if (a, b) in found:
            continue
        found.add((a, b))
        for c, d in ((a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)):
            if 0 <= c < len(stones) and 0 <= d < len(stones):
                if stones[d, c] == stones[y, x]:
                    todo.append((c, d))
                elif stones[d, c] == 0:
                    free.add((c, d))
    return found, free


@pytest.mark.parametrize("size", [2, 5, 9, 19])
def test_planes_equal_those_drawn_point_by_point(size: int) -> None:
    for seed in range(12):
        game, keys = random_game(size, seed * size, seed)
        allowed = np.zeros(size * size + 1, bool)
        may(game, keys, allowed)
        out = np.full((PLANES, size * size), 7.0, np.float32)
        draw(game, allowed, 6.5, out)
        stones = game[STONES + board.points(size)].reshape(size, size)
        me = game[board.TO_MOVE]
        for i in range(size * size):
            y, x = divmod(i, size)
            p = cell_of(i, size)
            free = stones[y, x] == 0
            liberties = 0 if free else len(chain(stones, x, y)[1])
            sensible = free and bool(board.legal(game, keys, p, me)) and not board.is_eye(game, p, me)
            want = [stones[y, x] == me, not free and stones[y, x] != me]
            want += [liberties == n for n in (1, 2, 3)]
            want += [sensible, p == game[board.LAST], (-6.5 if me == BLACK else 6.5) / LEAD, 1]
            np.testing.assert_allclose(out[:, i], np.array(want, np.float32), rtol=1e-6)
        assert allowed[-1]


def net() -> Net:
    torch.manual_seed(0)
    made = Net(PLANES, 2, 16).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.normal_(0, 0.2)
    return made


def stacked(games: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    return np.stack([game for game, _ in games]), np.stack([keys for _, keys in games])


def test_a_search_does_not_depend_on_its_company() -> None:
    games = [random_game(5, 3 * seed, seed) for seed in range(6)]
    gumbels = np.random.default_rng(1).gumbel(size=(6, 26)).astype(np.float32)
    together = Thinker(net(), 5, 6, 16).think(*stacked(games), 2.5, gumbels)
    for number, game in enumerate(games):
        alone = Thinker(net(), 5, 1, 16).think(*stacked([game]), 2.5, gumbels[number : number + 1])
        assert alone.actions[0] == together.actions[number]
        np.testing.assert_allclose(alone.policy[0], together.policy[number], atol=1e-4)


def test_searched_moves_are_legal_and_the_policy_is_one() -> None:
    games = [random_game(5, 2 * seed, seed) for seed in range(12)]
    still = np.zeros((len(games), 26), np.float32)
    thoughts = Thinker(net(), 5, len(games), 12).think(*stacked(games), 0.5, still)
    assert np.allclose(thoughts.policy.sum(1), 1, atol=1e-4)
    assert (np.abs(thoughts.values) <= 1 + 1e-6).all()
    for number, ((game, keys), action) in enumerate(zip(games, thoughts.actions, strict=True)):
        assert board.legal(game, keys, cell_of(int(action), 5), game[board.TO_MOVE])
        stones = game[STONES + board.points(5)]
        mine = stones == game[board.TO_MOVE]
        assert (thoughts.planes[number, 0] == mine).all()  # the root's, not a leaf's


def after_a_pass(rule: int) -> tuple[Thinker, Thoughts]:
    """On 3 × 3 the net says nothing (weights of 0); the search must see what ends the game well.

    Black to move after White's pass leads by its stones on the board: to pass wins at once.
    """
    blank = net()
    for parameter in blank.parameters():
        parameter.zero_()
    game, keys = board.new(3)
    for x, y, colour in ((1, 1, BLACK), (0, 0, 2), (1, 0, BLACK)):
        board.play(game, keys, board.cell(x, y), colour)
    board.play(game, keys, board.PASS, 2)
    thinker, still = Thinker(blank, 3, 1, 200, rule=rule), np.zeros((1, 10), np.float32)
    return thinker, thinker.think(*stacked([(game, keys)]), 0.5, still)


def test_a_winning_pass_is_found() -> None:
    _, thoughts = after_a_pass(GUMBEL)
    assert thoughts.actions[0] == 9 and thoughts.values[0] == 1 and thoughts.policy[0, 9] > 0.9


def test_alphazeros_search_finds_it_too() -> None:
    """By PUCT: as many visits as simulations, most of them for the pass."""
    thinker, thoughts = after_a_pass(PUCT)
    visits = thinker.trees.visits[0, 0]
    assert visits.sum() == 200 and np.allclose(thoughts.policy[0] * 200, visits)
    assert thoughts.actions[0] == 9 and thoughts.values[0] == 1 and thoughts.policy[0].argmax() == 9


def test_chance_is_a_quarter_of_the_roots_policy() -> None:
    logits = np.array([[0.0, 1.0, -np.inf, 2.0]], np.float32)
    noise = np.array([[0.1, 0.2, 0.3, 0.4]])
    mixed = np.exp(stirred(logits, noise))[0]
    policy = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    assert np.allclose(mixed[[0, 1, 3]], 0.75 * policy + 0.25 * np.array([0.1, 0.2, 0.4]) / 0.7, atol=1e-6)
    assert mixed[2] == 0 and np.isclose(mixed.sum(), 1)
