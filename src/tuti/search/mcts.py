"""Monte Carlo tree search on arrays, for games in which two players alternate; it knows none of them.

A tree has room for N nodes with A actions each: `children` [N, A] (0: not yet; the root is no child), and of
each action its `logits` (−inf: not allowed), how often it was taken (`visits`) and the sum of what came of it
for whoever took it (`totals`); of each node its own `values`, for whoever is to move. A simulation descends
to an action never taken (`descend`), the caller plays the way and evaluates where it ends, and `grow` puts
the new node there and tells all on the way. Many trees side by side have a leading axis, so that leaves of
many games are evaluated together; a caller's compiled loop calls these functions for each.

Rules of choice: PUCT (Silver et al. 2016, Methods: argmax Q + c P √ΣN / (1 + N)) and Gumbel's (Danihelka et
al. 2022, "Policy improvement by planning with Gumbel"): n simulations spent on the m best of a sample without
replacement, by sequential halving; inside the tree, visits follow the improved policy.
"""
# numba has no types.
# pyright: basic

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

PUCT, GUMBEL = 0, 1
VISIT = 50.0
"""σ(q) = (VISIT + max N) · q, for q from 0 to 1"""

loop: Any = njit(cache=True, nogil=True, error_model="numpy")


@dataclass
class Trees:
    """So many trees, side by side."""

    trees: int
    nodes: int
    actions: int

    def __post_init__(self):
        shape = (self.trees, self.nodes, self.actions)
        self.children = np.zeros(shape, np.int32)
        self.logits, self.visits, self.totals = np.zeros((3, *shape), np.float32)
        self.values = np.zeros(shape[:2], np.float32)
        self.made = np.zeros(self.trees, np.int32)
        """Nodes of each"""
        self.path = np.zeros((self.trees, self.nodes + 1, 2), np.int32)
        """The nodes and actions of the last descent …"""
        self.depth = np.zeros(self.trees, np.int32)
        """… and how many"""

    def arrays(self):
        """What the compiled loops take of all trees; of one, without the leading axis."""
        return self.children, self.logits, self.visits, self.totals, self.values, self.path

    def clear(self):
        """Empty trees."""
        self.made[:], self.depth[:] = 0, 0


@loop
def completed(logits, visits, totals, value, out):
    """σ of each action's value: its mean where taken, else a mixture of the node's own and the others'.

    (Danihelka et al. 2022, equations 8 and 10 and appendix D.)
    """
    best = logits.max()
    weight, seen, count, most = 0.0, 0.0, 0.0, 0.0
    for a in range(len(logits)):
        if visits[a] > 0:
            p = np.exp(logits[a] - best)
            weight += p
            seen += p * totals[a] / visits[a]
            count += visits[a]
            most = max(most, visits[a])
    mixed = value if count == 0 else (value + count * seen / max(weight, 1e-30)) / (1 + count)
    for a in range(len(logits)):
        q = totals[a] / visits[a] if visits[a] > 0 else mixed
        out[a] = (VISIT + most) * (q + 1) / 2


@loop
def improved(logits, visits, totals, value, out):
    """The improved policy: softmax(logits + σ(completed values))."""
    completed(logits, visits, totals, value, out)
    out += logits
    softmax(out, out)


@loop
def softmax(logits, out):
    """exp(logits) to the sum 1."""
    best, total = logits.max(), np.float32(0)
    for a in range(len(logits)):
        out[a] = np.exp(logits[a] - best)
        total += out[a]
    out /= total


@loop
def by_improved(logits, visits, totals, value, scratch):
    """Gumbel's choice inside the tree: the action whose visits lag most behind the improved policy."""
    improved(logits, visits, totals, value, scratch)
    count = 1 + visits.sum()
    chosen, best = 0, -np.inf
    for a in range(len(logits)):
        score = scratch[a] - visits[a] / count
        if logits[a] > -np.inf and score > best:
            chosen, best = a, score
    return chosen


@loop
def by_puct(logits, visits, totals, value, scratch, c):
    """AlphaGo's choice; an action never taken counts as the node's own value."""
    softmax(logits, scratch)
    bonus = c * np.sqrt(visits.sum() + 1)
    chosen, best = 0, np.float32(-np.inf)
    for a in range(len(logits)):
        q = totals[a] / visits[a] if visits[a] > 0 else value
        score = q + bonus * scratch[a] / (1 + visits[a])
        if logits[a] > -np.inf and score > best:
            chosen, best = a, score
    return chosen


@loop
def descend(tree, first, rule, c):
    """Goes down one tree to an action never taken, `first` at the root (−1: by the rule); how many steps."""
    children, logits, visits, totals, values, path = tree
    node, scratch = 0, np.empty(logits.shape[1], np.float32)
    for depth in range(len(path)):
        if depth == 0 and first >= 0:
            a = first
        elif rule == GUMBEL:
            a = by_improved(logits[node], visits[node], totals[node], values[node], scratch)
        else:
            a = by_puct(logits[node], visits[node], totals[node], values[node], scratch, c)
        path[depth, 0], path[depth, 1] = node, a
        if children[node, a] == 0:
            return depth + 1
        node = children[node, a]
    return len(path)


@loop
def grow(tree, depth, made, leaf, value, last):
    """Puts what was found at the end of a way, and tells the way; how many nodes the tree has then.

    leaf: logits of the new node. value: for whoever is to move there. last: the game is over there, so that
    no node is needed. A tree of no node gets its root.
    """
    children, logits, visits, totals, values, path = tree
    if made == 0:
        depth = 0
    if not last and made < len(values):
        children[made, :], visits[made, :], totals[made, :] = 0, 0, 0
        logits[made, :], values[made] = leaf, value
        if depth:
            children[path[depth - 1, 0], path[depth - 1, 1]] = made
        made += 1
    for i in range(depth - 1, -1, -1):
        value = -value
        visits[path[i, 0], path[i, 1]] += 1
        totals[path[i, 0], path[i, 1]] += value
    return made


def halving(considered: int, simulations: int) -> Any:
    """Sequential halving: before each simulation, the visits that those still considered have had.

    m actions get equally many, then the better half, and so on, until the simulations are spent.
    """
    sequence, visits, left = [], np.zeros(considered, int), considered
    rounds = max(1, int(np.ceil(np.log2(max(considered, 1)))))
    while len(sequence) < simulations:
        for _ in range(max(1, simulations // (rounds * left))):
            sequence += visits[:left].tolist()
            visits[:left] += 1
        left = max(2, left // 2) if considered > 1 else 1
    return np.array(sequence[:simulations], np.float32)


@loop
def first_choice(logits, visits, totals, value, gumbels, sought):
    """Gumbel's choice at a root: of the actions with `sought` visits the best by g + logit + σ(value)."""
    scores = np.empty(len(logits), np.float32)
    completed(logits, visits, totals, value, scores)
    scores += gumbels + logits
    chosen, best, held = 0, -np.inf, False
    for a in range(len(logits)):  # where fewer actions are allowed than are considered: the best of all
        fits = visits[a] == sought and logits[a] > -np.inf
        if fits > held or (fits == held and scores[a] > best):
            chosen, best, held = a, scores[a], fits
    return chosen


def likely(children: Any, visits: Any, node: int, most: int) -> list[list[int]]:
    """The actions of a node that were taken most, each with those that followed most often below it."""
    lines: list[list[int]] = []
    for action in np.argsort(-visits[node], kind="stable")[:most]:
        line, below = [int(action)], children[node, action]
        while below > 0 and visits[below].any():
            line.append(int(visits[below].argmax()))
            below = children[below, line[-1]]
        lines += [line] if visits[node, action] else []
    return lines
