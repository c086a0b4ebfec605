"""A network's thoughts on many games: their trees grow side by side, their leaves go through it together."""
# numba has no types.
# pyright: basic

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tuti.search import GUMBEL, Trees, descend, first_choice, grow, halving, improved
from tuti.systems.alphago import board
from tuti.systems.alphago.net import LEAD

PLANES = 9
"""Mine, theirs; stones of chains with 1, 2, 3 liberties; where I may play; the last move; komi for me; 1"""


@board.loop
def cell_of(action, side):
    """The cell of an action: the points row by row, then the pass."""
    return board.PASS if action == side * side else (action // side + 1) * board.WIDTH + action % side + 1


@board.loop
def may(game, keys, allowed):
    """Which actions make sense: legal ones that fill no eye of one's own, and the pass."""
    side, mover = game[board.SIDE], game[board.TO_MOVE]
    for a in range(side * side):
        p = cell_of(a, side)
        allowed[a] = board.legal(game, keys, p, mover) and not board.is_eye(game, p, mover)
    allowed[side * side] = True


@board.loop
def liberties(game, most, out):
    """Each stone's chain's liberties, counted up to `most`."""
    seen = np.zeros(board.CELLS, np.int16)
    for p in range(board.WIDTH + 1, board.CELLS - board.WIDTH):
        if not board.EMPTY < game[board.STONES + p] < 3 or game[board.HEAD + p] != p:
            continue
        count, stone = 0, p
        while True:
            for d in board.AROUND:
                if game[board.STONES + stone + d] == board.EMPTY and seen[stone + d] != p:
                    seen[stone + d] = p
                    count += 1
            stone = game[board.NEXT + stone]
            if stone == p or count >= most:
                break
        stone = p
        while True:
            out[stone] = min(count, most)
            stone = game[board.NEXT + stone]
            if stone == p:
                break


@board.loop
def draw(game, allowed, komi, out):
    """The planes [PLANES, points] of a position."""
    side, me, count = game[board.SIDE], game[board.TO_MOVE], np.zeros(board.CELLS, np.int16)
    liberties(game, 4, count)
    out[:] = 0
    for i in range(side * side):
        p = cell_of(i, side)
        kind = game[board.STONES + p]
        if kind != board.EMPTY:
            out[0 if kind == me else 1, i] = 1
            if count[p] < 4:
                out[1 + count[p], i] = 1
        out[5, i] = allowed[i]
        out[6, i] = p == game[board.LAST]
        out[7, i] = (-komi if me == board.BLACK else komi) / LEAD
        out[8, i] = 1


@board.loop
def reach(trees, games, keys, komi, first, leaves, leaf_keys, planes, allowed, result):
    """A descent in each tree, played; what the network is to see there; `result` where the game is over."""
    children, logits, visits, totals, values, path = trees[:6]
    made, depth = trees[6], trees[7]
    owner = np.empty(board.CELLS, np.int8)
    for b in range(len(games)):
        game, known = leaves[b], leaf_keys[b]
        board.assume(game, known, games[b], keys[b])
        depth[b] = 0
        if made[b]:
            tree = children[b], logits[b], visits[b], totals[b], values[b], path[b]
            depth[b] = descend(tree, first[b], GUMBEL, 0.0)
        for i in range(depth[b]):
            board.play(game, known, cell_of(path[b, i, 1], game[board.SIDE]), game[board.TO_MOVE])
        result[b] = np.nan
        if board.over(game):
            lead = board.owners(game, owner) - komi
            result[b] = np.sign(lead) if game[board.TO_MOVE] == board.BLACK else -np.sign(lead)
        may(game, known, allowed[b])
        draw(game, allowed[b], komi, planes[b])


@board.loop
def tell(trees, policy, value, allowed, result):
    """What was found at the leaves goes into the trees."""
    children, logits, visits, totals, values, path = trees[:6]
    made, depth = trees[6], trees[7]
    for b in range(len(policy)):
        last = not np.isnan(result[b])
        for a in range(policy.shape[1]):
            if not allowed[b, a]:
                policy[b, a] = -np.inf
        found = result[b] if last else value[b]
        tree = children[b], logits[b], visits[b], totals[b], values[b], path[b]
        made[b] = grow(tree, depth[b], made[b], policy[b], found, last and made[b] > 0)


@board.loop
def judge(trees, gumbels, sought, first, policy):
    """Each root's improved policy, and its action: of those with `sought` visits (−1: the most) the best."""
    logits, visits, totals, values = trees[1:5]
    for b in range(len(first)):
        improved(logits[b, 0], visits[b, 0], totals[b, 0], values[b, 0], policy[b])
        wanted = visits[b, 0].max() if sought < 0 else sought
        first[b] = first_choice(logits[b, 0], visits[b, 0], totals[b, 0], values[b, 0], gumbels[b], wanted)


@dataclass(frozen=True)
class Thoughts:
    """Of each game: the action chosen and its value, the improved policy, the root's planes."""

    actions: Any
    policy: Any
    values: Any
    planes: Any


class Thinker:
    """Gumbel's search of up to so many games side by side, with `simulations` a move."""

    def __init__(self, net, side, games, simulations, considered=16):
        self.net, self.simulations, self.considered = net, simulations, considered
        self.trees, self.side = Trees(games, simulations + 1, side * side + 1), side

    @torch.inference_mode()
    def think(self, games, keys, komi, gumbels, simulations=None) -> Thoughts:
        """gumbels [games, actions]: what chance adds to logits at the roots; 0 for the strongest play."""
        (n, actions), count = gumbels.shape, simulations or self.simulations
        self.trees.clear()
        trees = (*(array[:n] for array in self.trees.arrays()), self.trees.made[:n], self.trees.depth[:n])
        leaves, leaf_keys = np.empty_like(games), np.empty_like(keys)
        planes = np.empty((n, PLANES, self.side**2), np.float32)
        first, result = np.empty(n, np.int32), np.empty(n, np.float32)
        allowed, policy, roots = np.empty((n, actions), np.bool_), np.empty((n, actions), np.float32), planes
        for sought in (None, *halving(min(self.considered, count, actions), count)):
            if sought is not None:
                judge(trees, gumbels, sought, first, policy)
            reach(trees, games, keys, komi, first, leaves, leaf_keys, planes, allowed, result)
            roots = planes.copy() if sought is None else roots
            forecast = self.net(torch.from_numpy(planes).unflatten(-1, (self.side, self.side)))
            tell(trees, forecast.policy.numpy(), forecast.value.numpy(), allowed, result)
        judge(trees, gumbels, -1.0, first, policy)
        visits, totals = (array[np.arange(n), 0, first] for array in trees[2:4])
        return Thoughts(first, policy, totals / visits, roots)
