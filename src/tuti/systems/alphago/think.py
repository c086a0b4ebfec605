"""A network's thoughts on many games: their trees grow side by side, their leaves go through it together."""
# numba has no types.
# pyright: basic

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tuti.search import GUMBEL, Trees, descend, first_choice, grow, halving, improved
from tuti.systems.alphago import board
from tuti.systems.alphago.planes import PLANES, cell_of, draw, may

EXPLORATION, NOISE = 1.5, 0.25
"""AlphaZero's c, and the share of chance in the policy of its roots (Silver et al. 2018, Methods)"""


@board.loop
def reach(trees, rule, games, keys, komi, first, leaves, leaf_keys, planes, allowed, result):
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
            depth[b] = descend(tree, first[b], rule, EXPLORATION)
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
    """Of each game: the action chosen and its value, the improved policy, the root's planes and owners."""

    actions: Any
    policy: Any
    values: Any
    planes: Any
    owner: Any


class Thinker:
    """Search in up to so many games side by side, `simulations` a move: Gumbel's, or AlphaZero's (PUCT)."""

    def __init__(self, net, side, games, simulations, considered=16, rule=GUMBEL):
        self.net, self.simulations, self.considered, self.rule = net, simulations, considered, rule
        self.trees, self.side = Trees(games, simulations + 1, side * side + 1), side

    @torch.inference_mode()
    def think(self, games, keys, komi, gumbels, simulations=None, noise=None) -> Thoughts:
        """gumbels [games, actions]: chance beside the roots' logits, or in the end beside the logarithms of
        visits (AlphaZero's temperature of 1); 0: the strongest play. noise: AlphaZero's, at the roots.
        """
        (n, actions), count = gumbels.shape, simulations or self.simulations
        self.trees.clear()
        trees = (*(array[:n] for array in self.trees.arrays()), self.trees.made[:n], self.trees.depth[:n])
        leaves, leaf_keys = np.empty_like(games), np.empty_like(keys)
        planes = np.empty((n, PLANES, self.side**2), np.float32)
        first, result, owner = np.full(n, -1, np.int32), np.empty(n, np.float32), None
        allowed, policy, roots = np.empty((n, actions), np.bool_), np.empty((n, actions), np.float32), planes
        halved = self.rule == GUMBEL
        steps = halving(min(self.considered, count, actions), count) if halved else np.zeros(count)
        for sought in (None, *steps):
            if sought is not None and halved:
                judge(trees, gumbels, sought, first, policy)
            reach(trees, self.rule, games, keys, komi, first, leaves, leaf_keys, planes, allowed, result)
            roots = planes.copy() if sought is None else roots
            seen = torch.from_numpy(planes)
            forecast = self.net(seen.unflatten(-1, (self.side, self.side)))
            owner = forecast.owner if owner is None else owner
            tell(trees, forecast.policy.numpy(), forecast.value.numpy(), allowed, result)
            if sought is None and noise is not None:
                trees[1][:, 0] = stirred(trees[1][:, 0], noise)
        visits, totals = trees[2][:, 0], trees[3][:, 0]
        if halved:
            judge(trees, gumbels, -1.0, first, policy)
        else:
            policy = visits / visits.sum(1, keepdims=True)
            first = (np.log(policy, where=policy > 0, out=np.full_like(policy, -np.inf)) + gumbels).argmax(1)
        chosen = np.arange(n), first
        return Thoughts(first, policy, totals[chosen] / visits[chosen], roots, owner)


def stirred(logits, noise):
    """Logits of policies that chance is mixed into, among the actions that are allowed."""
    allowed = logits > -np.inf
    parts = np.exp(logits - logits.max(1, keepdims=True)), noise * allowed + 1e-9
    policy, chance = (part / part.sum(1, keepdims=True) for part in parts)
    return np.where(allowed, np.log((1 - NOISE) * policy + NOISE * chance), -np.inf)
