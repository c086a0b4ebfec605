"""AlphaGo's planes as Extended Data Table 2 of Silver et al. 2016 says them, point by point, and slow.

Upon slow_board.py, whose boards are copied for every move that is looked at.
"""

from copy import copy
from typing import Any

import numpy as np

from tuti.systems.alphago.tests.slow_board import BLACK, EMPTY, Point, SlowBoard, other
from tuti.systems.alphago.tests.test_board import is_eye


def played(slow: SlowBoard, p: Point) -> SlowBoard:
    """The board after a move, which remembers no more than a simple ko needs."""
    after = copy(slow)
    after.positions, after.situations, after.moves = slow.positions[-2:], [], slow.moves[-1:]
    after.rule, after.suicide = "simple", False
    after.play(slow.to_move, p)
    return after


def chain(slow: SlowBoard, p: Point) -> tuple[set[Point], set[Point]]:
    """Of the chain at a point the stones and the liberties."""
    stones, edge = slow.region(slow.stones, p)
    return stones, {q for q in edge if slow.stones[q] == EMPTY}


def ways(slow: SlowBoard, p: Point) -> set[Point]:
    """Where who is to move may try to save or to catch the chain at p."""
    stones, free = chain(slow, p)
    near = {q for stone in stones for q in slow.beside[stone] if slow.stones[q] == other(slow.stones[p])}
    takes = [liberties for q in near if len(liberties := chain(slow, q)[1]) == 1]
    return free.union(*takes) if slow.to_move == slow.stones[p] else free


def falls(slow: SlowBoard, p: Point) -> bool:
    """Whether the chain at p cannot be saved from a ladder."""
    if slow.stones[p] == EMPTY:
        return True
    hunts = slow.to_move != slow.stones[p]
    if hunts and len(chain(slow, p)[1]) > 2:
        return False
    tried = (q for q in sorted(ways(slow, p)) if legal(slow, q))
    found = (falls(played(slow, q), p) for q in tried)
    return any(found) if hunts else all(found)


def legal(slow: SlowBoard, p: Point) -> bool:
    return slow.verdict(slow.to_move, p) == "legal"


def ladder_moves(slow: SlowBoard, sensible: list[Point]) -> tuple[set[Point], set[Point]]:
    """Sensible moves that catch an enemy chain of two liberties; that save an own one in atari."""
    catch, save = set[Point](), set[Point]()
    for p in slow.every:
        mine = slow.stones[p] == slow.to_move
        if slow.stones[p] != EMPTY and len(chain(slow, p)[1]) == (1 if mine else 2):
            for q in ways(slow, p) & set(sensible):
                if falls(played(slow, q), p) != mine:
                    (save if mine else catch).add(q)
    return catch, save


def slow_planes(slow: SlowBoard) -> Any:
    """[49, side, side]."""
    out, me = np.zeros((49, slow.size, slow.size), np.float32), slow.to_move
    sensible = [p for p in slow.every if legal(slow, p) and not is_eye(slow, me, p)]
    catch, save = ladder_moves(slow, sensible)
    moves = [p for _, p in slow.moves]
    for p in slow.every:
        at, kind = (slice(None), p[1], p[0]), slow.stones[p]
        one = {2 if kind == EMPTY else 0 if kind == me else 1, 3} | ({48} if me == BLACK else set())
        if kind != EMPTY:
            turns = moves[::-1].index(p) + 1 if p in moves else len(moves) + 1
            one |= {4 + min(turns, 8) - 1, 12 + min(len(chain(slow, p)[1]), 8) - 1}
        if p in sensible:
            after = copy(slow)
            after.stones, taken, _ = slow.after(me, p)
            one |= {20 + min(sum(map(len, taken)), 7), 46}
            free = chain(after, p)[1] if after.stones[p] else set()  # its own suicide
            size = len(slow.region(slow.stones | {p: me}, p)[0])
            one |= {28 + min(size, 8) - 1} if len(free) < 2 else set()
            one |= {36 + min(len(free), 8) - 1} if free else set()
            one |= {44} if p in catch else set()
            one |= {45} if p in save else set()
        out[at][list(one)] = 1
    return out
