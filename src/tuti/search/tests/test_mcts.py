"""The search against noughts and crosses solved exactly, and against its equations written out."""

import math
from functools import cache

import numpy as np
import pytest

from tuti.search import GUMBEL, PUCT, Trees, descend, first_choice, grow, halving, improved, likely

LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
Board = tuple[int, ...]


def result(board: Board) -> int | None:
    """−1 if whoever is to move has lost, 0 for a draw, None if the game goes on. 1: mine, −1: the other's."""
    if any(board[a] == board[b] == board[c] == -1 for a, b, c in LINES):
        return -1
    return None if 0 in board else 0


def after(board: Board, a: int) -> Board:
    return tuple(-stone for stone in (*board[:a], 1, *board[a + 1 :]))


@cache
def solved(board: Board) -> int:
    """The exact value for whoever is to move."""
    found = result(board)
    if found is not None:
        return found
    return max(-solved(after(board, a)) for a in range(9) if board[a] == 0)


def seen(board: Board) -> tuple[np.ndarray, float, bool]:
    """What a network that knows nothing says: even logits of what is free, and 0 (or the result)."""
    logits = np.where(np.array(board) == 0, 0.0, -np.inf).astype(np.float32)
    found = result(board)
    return logits, float(found or 0), found is not None


def searched(board: Board, simulations: int, rule: int, seed: int = 0) -> tuple[Trees, int]:
    """A tree of the position, and the action that it chooses."""
    trees = Trees(1, simulations + 1, 9)
    tree = tuple(array[0] for array in trees.arrays())
    _, logits, visits, totals, values, path = tree
    made = grow(tree, 0, 0, *seen(board))
    gumbels = np.random.default_rng(seed).gumbel(size=9).astype(np.float32) * (rule == GUMBEL)
    for sought in halving(9, simulations):
        first = -1
        if rule == GUMBEL:
            first = first_choice(logits[0], visits[0], totals[0], values[0], gumbels, sought)
        depth = descend(tree, first, rule, 1.5)
        here = board
        for _, a in path[:depth]:
            assert here[a] == 0 and result(here) is None
            here = after(here, int(a))
        made = grow(tree, depth, made, *seen(here))
    trees.made[0] = made
    most = visits[0].max()
    return trees, int(first_choice(logits[0], visits[0], totals[0], values[0], gumbels, most))


def positions(count: int, seed: int) -> list[Board]:
    rng, found = np.random.default_rng(seed), list[Board]()
    while len(found) < count:
        board: Board = (0,) * 9
        for _ in range(rng.integers(0, 7)):
            free = [a for a in range(9) if board[a] == 0]
            if result(board) is None:
                board = after(board, int(rng.choice(free)))
        if result(board) is None:
            found.append(board)
    return found


@pytest.mark.parametrize("rule", [PUCT, GUMBEL])
def test_finds_the_exact_value_of_noughts_and_crosses(rule: int) -> None:
    for number, board in enumerate(positions(24, 1)):
        _, a = searched(board, 4000 if rule == GUMBEL else 800, rule, number)
        assert -solved(after(board, a)) == solved(board), (board, a)


def test_sums_on_the_way_are_what_the_leaves_said() -> None:
    trees, _ = searched((0,) * 9, 400, PUCT)
    children, visits, totals = trees.children[0], trees.visits[0], trees.totals[0]
    assert visits[0].sum() == 400
    for node in range(trees.made[0]):
        for a in np.flatnonzero(children[node]):
            child = children[node, a]
            below = visits[child].sum()
            # A node's visits are its own evaluation and its children's; values change sign on the way up.
            assert visits[node, a] == below + 1
            assert totals[node, a] == pytest.approx(-(trees.values[0, child] + totals[child].sum()), abs=1e-4)


def slow_improved(logits: np.ndarray, visits: np.ndarray, totals: np.ndarray, value: float) -> np.ndarray:
    """Danihelka et al. 2022, equations 8, 10 and 33, as sums in fp64."""
    prior = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    q = {a: totals[a] / visits[a] for a in range(len(logits)) if visits[a] > 0}
    mixed = value
    if q:
        count = visits.sum()
        mean = sum(prior[a] * q[a] for a in q) / sum(prior[a] for a in q)
        mixed = (value + count * mean) / (1 + count)
    full = np.array([q.get(a, mixed) for a in range(len(logits))])
    scores = logits + (50 + visits.max()) * (full + 1) / 2
    return np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()


def test_the_improved_policy_equals_the_paper_written_out() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        n = int(rng.integers(2, 12))
        logits, visits = rng.normal(size=n).astype(np.float32), rng.integers(0, 4, n).astype(np.float32)
        totals = (rng.uniform(-1, 1, n) * visits).astype(np.float32)
        logits[rng.random(n) < 0.2] = -np.inf
        if np.isinf(logits).all():
            continue
        visits[np.isinf(logits)], totals[np.isinf(logits)] = 0, 0
        value, out = float(rng.uniform(-1, 1)), np.empty(n, np.float32)
        improved(logits, visits, totals, value, out)
        np.testing.assert_allclose(out, slow_improved(logits, visits, totals, value), atol=1e-4)


def test_halving_spends_all_and_halves() -> None:
    assert halving(4, 16).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    for m in range(1, 20):
        for n in range(m, 60):
            sequence = halving(m, n)
            assert len(sequence) == n and sequence[: min(m, n)].max() == 0
            rounds = [(sequence == visits).sum() for visits in range(int(sequence.max()) + 1)]
            assert rounds == sorted(rounds, reverse=True) and math.isfinite(sequence.sum())


def test_an_action_that_is_not_allowed_is_never_taken() -> None:
    board = after(after(after((0,) * 9, 0), 4), 8)
    for rule in (PUCT, GUMBEL):
        trees, _ = searched(board, 300, rule)
        for node in range(trees.made[0]):
            assert (trees.visits[0, node][np.isinf(trees.logits[0, node])] == 0).all()


def test_a_full_tree_goes_on_without_growing() -> None:
    trees = Trees(1, 5, 9)
    arrays = tuple(array[0] for array in trees.arrays())
    made = grow(arrays, 0, 0, *seen((0,) * 9))
    for _ in range(50):
        depth = descend(arrays, -1, PUCT, 1.5)
        here: Board = (0,) * 9
        for _, a in arrays[-1][:depth]:
            here = after(here, int(a))
        made = grow(arrays, depth, made, *seen(here))
    assert made == 5 and arrays[2][0].sum() == 50


def test_the_likely_lines_follow_the_most_visits() -> None:
    children, visits = np.zeros((2, 4, 3), np.int32)
    children[0, 1], children[1, 2], children[2, 0] = 1, 2, -1  # the last is on its way
    visits[0], visits[1], visits[2] = (2, 7, 0), (1, 2, 4), (3, 0, 0)
    assert likely(children, visits, 0, 5) == [[1, 2, 0], [0]]
    assert likely(children, visits, 0, 1) == [[1, 2, 0]]
    assert likely(children, visits, 3, 5) == []
