"""AlphaGo's planes of positions a second on one core, against the same written in numpy.

    make bench NAME=go_planes

Positions are those of random games on 9 × 9 and 19 × 19, at all lengths. Each side begins at the stones,
their ages and where ko forbids, finds the sensible moves itself (simple ko) and gives all 49 planes; they are
equal. The peer is what one would write without a compiler: what concerns the whole board in numpy; each
chain's stones and liberties found once, as sets; ladders read on copies of the board, whose moves look at the
chains beside them only. Its stones stay in their array. Python looks faster at a list than at an array: the
ratio against the same with the stones in a list is told beside ("lists"). Of the two boards the worse counts.
"""

import statistics
from functools import cache
from typing import Any

import harness
import numpy as np

from tuti.systems.alphago import board
from tuti.systems.alphago.planes import ALPHAGO, READ, alphago_planes, may

POSITIONS, TIMES = 60, 50
"""How many positions of each board; how often ours draws them all while the peer does so once"""
Chain = tuple[set[int], set[int]]
Stones = Any
"""Colours of the points: an array, or a list"""


@cache
def beside(side: int) -> tuple[tuple[int, ...], ...]:
    """The neighbours of each point."""
    found = [[(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)] for y in range(side) for x in range(side)]
    return tuple(
        tuple(y * side + x for y, x in near if 0 <= x < side and 0 <= y < side) for near in found
    )


def chain_at(stones: Stones, start: int, near: Any) -> Chain:
    """A chain's stones and its liberties."""
    colour, chain, free, todo = stones[start], {start}, set[int](), [start]
    while todo:
        for q in near[todo.pop()]:
            kind = stones[q]
            if kind == 0:
                free.add(q)
            elif kind == colour and q not in chain:
                chain.add(q)
                todo.append(q)
    return chain, free


def play(stones: Stones, p: int, colour: int, near: Any) -> tuple[Stones, int] | None:
    """The stones after a move, and where ko forbids (−1: nowhere); None if it is suicide."""
    stones = stones.copy()
    stones[p] = colour
    taken = set[int]()
    for q in near[p]:
        if stones[q] == 3 - colour:
            chain, free = chain_at(stones, q, near)
            if not free:
                taken |= chain
                for r in chain:
                    stones[r] = 0
    if any(stones[q] == 0 for q in near[p]):
        alone = len(taken) == 1 and all(stones[q] != colour for q in near[p])
        alone = alone and sum(stones[q] == 0 for q in near[p]) == 1
        return stones, taken.pop() if alone else -1
    return (stones, -1) if chain_at(stones, p, near)[1] else None


def ways(stones: Stones, chain: Chain, mover: int, colour: int, near: Any) -> list[int]:
    """The chain's liberties, and, for its owner, those of enemies beside it in atari."""
    moves, seen = set(chain[1]), set[int]()
    if mover == colour:
        for q in {q for stone in chain[0] for q in near[stone] if stones[q] == 3 - colour}:
            if q not in seen:
                other, free = chain_at(stones, q, near)
                seen |= other
                moves |= free if len(free) == 1 else set()
    return list(moves)


def falls(stones: Stones, p: int, ko: int, mover: int, near: Any, left: list[int]) -> bool:
    """Whether the chain at p falls in a ladder, `mover` to move."""
    left[0] -= 1
    colour, chain = stones[p], chain_at(stones, p, near)
    hunts = mover != colour
    if left[0] <= 0 or (hunts and len(chain[1]) > 2):
        return False
    for move in ways(stones, chain, mover, colour, near):
        if move != ko and (after := play(stones, move, mover, near)):
            if (hunts and len(chain[1]) == 1) or falls(after[0], p, after[1], 3 - mover, near, left) == hunts:
                return hunts
    return not hunts


def ladders(stones: Stones, me: int, chains: list[Chain], near: Any, sensible: set[int], out: Any) -> None:
    """Puts the two planes of ladders into out."""
    for chain in chains:
        p = next(iter(chain[0]))
        mine = stones[p] == me
        if len(chain[1]) == (1 if mine else 2):
            for move in sensible.intersection(ways(stones, chain, me, stones[p], near)):
                after = play(stones, move, me, near)
                if after and falls(after[0], p, after[1], 3 - me, near, [READ]) != mine:
                    out[int(mine), move] = 1


def after(p: int, me: int, stones: Stones, label: list[int], chains: list[Chain], near: Any) -> Any:
    """Of a move: what it takes, and its chain's stones and liberties."""
    own, free, taken = {p}, {q for q in near[p] if stones[q] == 0}, set[int]()
    for q in near[p]:
        if stones[q] == me:
            own |= chains[label[q]][0]
            free |= chains[label[q]][1]
        elif stones[q] and len(chains[label[q]][1]) == 1:
            taken |= chains[label[q]][0]
    free |= {q for q in taken if not own.isdisjoint(near[q])}
    return len(taken), len(own), len(free - {p})


def theirs(stones: Any, age: Any, me: int, ko: int, side: int, lists: bool) -> Any:
    """All planes of a position. stones, age: of each point. lists: whether chains are sought in a list."""
    near, out = beside(side), np.zeros((ALPHAGO, side * side), np.float32)
    kinds = stones.tolist() if lists else stones
    chains, label = list[Chain](), [-1] * len(kinds)
    for p, kind in enumerate(kinds):
        if kind and label[p] < 0:
            chains.append(chain_at(kinds, p, near))
            for q in chains[-1][0]:
                label[q] = len(chains) - 1
    out[0], out[1], out[2], out[3] = stones == me, stones == 3 - me, stones == 0, 1
    out[48] = me == board.BLACK
    there = np.flatnonzero(stones)
    out[3 + np.minimum(age[there], 8), there] = 1
    counts = np.array([len(free) for _, free in chains], int)
    out[11 + np.minimum(counts[np.array(label)[there]], 8), there] = 1
    walled = np.pad((stones == me).reshape(side, side), 1, constant_values=True)
    enemy = np.pad((stones == 3 - me).reshape(side, side), 1).astype(int)
    edge = np.ones((side, side), int)
    edge[1:-1, 1:-1] = 0
    sides = walled[1:-1, :-2] & walled[1:-1, 2:] & walled[:-2, 1:-1] & walled[2:, 1:-1]
    corners = enemy[:-2, :-2] + enemy[:-2, 2:] + enemy[2:, :-2] + enemy[2:, 2:] + edge
    eyes = (sides & (corners < 2)).ravel()
    told = list[tuple[int, int, int, int]]()
    for p in np.flatnonzero((stones == 0) & ~eyes).tolist():
        taken, size, free = after(p, me, kinds, label, chains, near)
        if p != ko and free:
            told.append((p, taken, size, free))
    if told:
        moves, taken, size, free = np.array(told).T
        out[20 + np.minimum(taken, 7), moves] = out[35 + np.minimum(free, 8), moves] = out[46, moves] = 1
        out[27 + np.minimum(size, 8)[free == 1], moves[free == 1]] = 1
        ladders(kinds, me, chains, near, {int(p) for p in moves}, out[44:])
    return out


def positions(side: int, count: int) -> list[tuple[Any, Any]]:
    """Random games that stop anywhere."""
    found, chance = [], np.random.default_rng(side)
    for length in chance.integers(0, int(1.1 * side * side), count):
        game, keys = board.new(side, board.SIMPLE, seed=int(chance.integers(2**62)))
        for _ in range(length):
            if not board.over(game):
                board.play(game, keys, board.random_move(game, keys), game[board.TO_MOVE])
        found.append((game, keys))
    return found


@board.loop
def ours(games: Any, keys: Any, times: int) -> Any:
    """All planes of all positions, drawn so many times; at once, as a search or training wants them."""
    points = games[0, board.SIDE] ** 2
    out, allowed = np.empty((len(games), ALPHAGO, points), np.float32), np.empty(points + 1, np.bool_)
    for _ in range(times):
        for b in range(len(games)):
            may(games[b], keys[b], allowed)
            alphago_planes(games[b], keys[b], allowed, out[b])
    return out


def plain(game: Any, side: int) -> tuple[Any, Any, int, int, int]:
    """The same position as the peer takes it."""
    cells = board.points(side)
    age, ko = game[board.MOVES] - game[board.STAMP + cells] + 1, int(game[board.KO])
    ko = (ko // board.WIDTH - 1) * side + ko % board.WIDTH - 1 if ko else -1
    return game[board.STONES + cells], age, int(game[board.TO_MOVE]), ko, side


def measure(side: int, lists: bool) -> list[harness.Pair]:
    """Pairs on one board, after a look whether both say the same."""
    harness.show(f"{side} × {side}" + lists * ", lists")
    made = positions(side, POSITIONS)
    games, keys = np.stack([game for game, _ in made]), np.stack([known for _, known in made])
    others = [(*plain(game, side), lists) for game in games]
    np.testing.assert_array_equal(ours(games, keys, 1), [theirs(*other) for other in others])

    def mine() -> float:
        return len(ours(games, keys, TIMES)) * TIMES

    return harness.compare(mine, lambda: len([theirs(*other) for other in others]), pairs=5)


def main() -> None:
    found = {side: measure(side, lists=False) for side in (9, 19)}
    ratios = {side: statistics.median(pair.ratio for pair in pairs) for side, pairs in found.items()}
    lists = {f"{side}": statistics.median(pair.ratio for pair in measure(side, lists=True)) for side in found}
    worse = min(ratios, key=lambda side: ratios[side])
    boards = {f"{side}": ratio for side, ratio in ratios.items()}
    harness.report("go-planes", found[worse], unit="positions/s", side=worse, boards=boards, lists=lists)


if __name__ == "__main__":
    main()
