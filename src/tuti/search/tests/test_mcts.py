"""The search against noughts and crosses solved exactly, and against its equations written out."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

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


Leaf = Callable[[tuple[int, ...]], tuple[Any, float, bool]]
"""What is found at the end of a way from the root: logits, value, whether the game is over"""
Slow = dict[str, Any]
"""A node: its logits and value, and by action the visits, the sums of what came of them, the nodes below"""


def slow_score(node: Slow, a: int, rule: int, c: float) -> float:
    """PUCT (Silver et al. 2016, Methods) or Danihelka et al. 2022, equation 14, in fp64."""
    logits, visits, totals = (node[name] for name in ("logits", "visits", "totals"))
    if rule == GUMBEL:
        policy = slow_improved(logits, visits, totals, node["value"])
        return float(policy[a] - visits[a] / (1 + visits.sum()))
    prior = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    q = totals[a] / visits[a] if visits[a] else node["value"]
    return float(q + c * prior[a] * math.sqrt(1 + visits.sum()) / (1 + visits[a]))


def slow_tree(leaf: Leaf, simulations: int, rule: int) -> Slow:
    """The search written out: nodes in dictionaries, one recursion a simulation."""

    def made(way: tuple[int, ...]) -> Slow:
        logits, value, _ = leaf(way)
        visits, totals = np.zeros((2, len(logits)))
        return {
            "logits": logits.astype(float), "value": value, "visits": visits, "totals": totals, "below": {}
        }  # fmt: skip

    def simulate(node: Slow, way: tuple[int, ...]) -> float:
        allowed = np.flatnonzero(node["logits"] > -np.inf)
        a = int(max(allowed, key=lambda a: slow_score(node, int(a), rule, 1.5)))
        way = (*way, a)
        if a in node["below"]:
            found = -simulate(node["below"][a], way)
        else:
            _, value, last = leaf(way)
            found = -value
            if not last:
                node["below"][a] = made(way)
        node["visits"][a] += 1
        node["totals"][a] += found
        return found

    root = made(())
    for _ in range(simulations):
        simulate(root, ())
    return root


def chance(way: tuple[int, ...], seed: int) -> tuple[Any, float, bool]:
    """A game of chance: five actions, some not allowed; after three moves it may be over."""
    source = np.random.default_rng((seed, *way))
    logits = source.normal(size=5).astype(np.float32)
    logits[1:][source.random(4) < 0.3] = -np.inf
    return logits, float(np.float32(source.uniform(-0.2, 0.2))), len(way) > 2 and source.random() < 0.1


def fast_tree(leaf: Leaf, simulations: int, rule: int) -> Any:
    """The same by the arrays."""
    tree = tuple(array[0] for array in Trees(1, simulations + 1, len(leaf(())[0])).arrays())
    made = grow(tree, 0, 0, *leaf(()))
    for _ in range(simulations):
        depth = descend(tree, -1, rule, 1.5)
        made = grow(tree, depth, made, *leaf(tuple(int(a) for _, a in tree[-1][:depth])))
    return tree


@pytest.mark.parametrize("rule", [PUCT, GUMBEL])
@pytest.mark.parametrize("seed", range(6))
def test_a_tree_is_the_one_of_the_equations_written_out(rule: int, seed: int) -> None:
    """Every node, its visits and its sums."""
    children, logits, visits, totals, values, _ = fast_tree(lambda way: chance(way, seed), 200, rule)
    todo, seen = [(0, slow_tree(lambda way: chance(way, seed), 200, rule))], 0
    while todo:
        number, node = todo.pop()
        np.testing.assert_array_equal(visits[number], node["visits"])
        np.testing.assert_allclose(totals[number], node["totals"], atol=1e-4)
        np.testing.assert_array_equal(logits[number], node["logits"].astype(np.float32))
        assert values[number] == np.float32(node["value"])
        assert set(np.flatnonzero(children[number])) == set(node["below"])
        todo += [(int(children[number, a]), below) for a, below in node["below"].items()]
        seen += 1
    assert seen > 20


STORED = {
    PUCT: (
        "-:6,8,5,0,11 0:1,2,0,0,2 1:2,0,0,2,3 2:0,0,0,0,4 4:6,1,0,3,0 01:0,1,0,0,0 04:0,1,0,0,0 "
        "10:0,0,0,0,1 13:1,0,0,0,0 14:0,0,1,0,1 24:0,0,1,0,2 40:3,0,0,2,0 43:2,0,0,0,0 "
        "244:0,0,0,1,0 400:1,0,0,1,0 403:1,0,0,0,0 430:1,0,0,0,0"
    ),
    GUMBEL: (
        "-:8,1,0,0,21 0:0,2,0,0,5 4:15,1,0,4,0 01:0,1,0,0,0 04:0,1,0,0,3 40:6,7,0,1,0 "
        "43:3,0,0,0,0 044:0,2,0,0,0 400:3,0,0,2,0 430:2,0,0,0,0 0441:1,0,0,0,0 4000:0,0,2,0,0 "
        "4003:0,0,0,0,1 4300:1,0,0,0,0 40002:1,0,0,0,0"
    ),
}
"""Thirty simulations of seed 1: each node's way from the root and the visits of its actions"""


@pytest.mark.parametrize("rule", [PUCT, GUMBEL])
def test_a_tree_is_the_one_that_was_stored(rule: int) -> None:
    children, _, visits, *_ = fast_tree(lambda way: chance(way, 1), 30, rule)
    todo, lines = [(0, "")], list[str]()
    while todo:
        number, way = todo.pop(0)
        if visits[number].any():
            lines.append(f"{way or '-'}:{','.join(str(int(n)) for n in visits[number])}")
        todo += [(int(children[number, a]), f"{way}{a}") for a in np.flatnonzero(children[number])]
    assert " ".join(lines) == STORED[rule]


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
