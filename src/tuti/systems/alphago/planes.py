"""What a network sees: planes of a position, one number a point.

`draw` makes the few of this room's own network, `alphago_planes` those of AlphaGo (Silver et al. 2016,
Extended Data Table 2). Each chain's liberties are found once, and what a move's chain will have is told from
those of the chains that it joins, so that the work grows as the board's points do; ladders are read out.
"""
# numba has no types.
# pyright: basic

import numpy as np
from numba import njit

from tuti.systems.alphago import board
from tuti.systems.alphago.board import AROUND, BLACK, CELLS, EMPTY, HEAD, MOVES, NEXT, SIZE, STONES, TO_MOVE
from tuti.systems.alphago.net import LEAD

PLANES = 9
"""Mine, theirs; stones of chains with 1, 2, 3 liberties; where I may play; the last move; komi for me; 1"""
ALPHAGO = 49
"""AlphaGo's 48, and one more for its value network: whether Black is to move"""
ONES, TURNS, LIBERTIES, TAKES, SELF_ATARI, AFTER, LADDER, SENSIBLE, COLOUR = 3, 4, 12, 20, 28, 36, 44, 46, 48
"""Where each feature's planes begin, after mine, theirs and empty; 47 is of zeros"""
READ = 1000
"""Positions at most that are looked at to see what one move does in a ladder"""


@board.loop
def cell_of(action, side):
    """The cell of an action: the points row by row, then the pass."""
    return board.PASS if action == side * side else (action // side + 1) * board.WIDTH + action % side + 1


@board.loop
def action_of(p, side):
    """The action of a cell."""
    return side * side if p == board.PASS else (p // board.WIDTH - 1) * side + p % board.WIDTH - 1


@board.loop
def may(game, keys, allowed):
    """Which actions make sense: legal ones that fill no eye of one's own, and the pass."""
    side, mover = game[board.SIDE], game[TO_MOVE]
    for a in range(side * side):
        p = cell_of(a, side)
        allowed[a] = board.legal(game, keys, p, mover) and not board.is_eye(game, p, mover)
    allowed[side * side] = True


@board.loop
def unseen(cell, cells, count):
    """Whether a cell is not among the first so many."""
    for i in range(count):
        if cells[i] == cell:
            return False
    return True


@board.loop
def liberties_of(game, p, most, out):
    """Of the chain at p the liberties, at most so many: how many, and `out` which."""
    count, stone = 0, p
    while True:
        for d in AROUND:
            if game[STONES + stone + d] == EMPTY and unseen(stone + d, out, count):
                out[count] = stone + d
                count += 1
                if count == most:
                    return count
        stone = game[NEXT + stone]
        if stone == p:
            return count


@board.loop
def liberties(game, most, count, which):
    """The same of all chains, at their heads."""
    for p in range(board.WIDTH + 1, CELLS - board.WIDTH):
        if EMPTY < game[STONES + p] < board.BORDER and game[HEAD + p] == p:
            count[p] = liberties_of(game, p, most, which[p])


@board.loop
def draw(game, allowed, komi, out):
    """The planes [PLANES, points] of a position."""
    side, me = game[board.SIDE], game[TO_MOVE]
    count, which = np.empty(CELLS, np.int16), np.empty((CELLS, 4), np.int16)
    liberties(game, 4, count, which)
    out[:] = 0
    for i in range(side * side):
        p = cell_of(i, side)
        kind = game[STONES + p]
        if kind != EMPTY:
            out[0 if kind == me else 1, i] = 1
            if count[game[HEAD + p]] < 4:
                out[1 + count[game[HEAD + p]], i] = 1
        out[5, i] = allowed[i]
        out[6, i] = p == game[board.LAST]
        out[7, i] = (-komi if me == BLACK else komi) / LEAD
        out[8, i] = 1


@board.loop
def alphago_planes(game, keys, allowed, out):
    """AlphaGo's planes [ALPHAGO, points] of a position; `allowed` as `may` tells it.

    Of a feature's eight planes one is 1: for 1, 2, … 8 or more; of TAKES for 0, 1, … 7 or more. TURNS: the
    last move's stone is one turn old, a pass is a turn, stones were set before the first. What a move would
    do, from TAKES to SENSIBLE, is told of sensible moves only. SELF_ATARI: the stones of the move's chain, if
    that is left one liberty, or none (a suicide that the rules allow); one's other chains lose none.
    """
    side, me, mark = game[board.SIDE], game[TO_MOVE], np.zeros(CELLS, np.int16)
    count, which = np.empty(CELLS, np.int16), np.empty((CELLS, 9), np.int16)  # a move takes one: 8 are left
    liberties(game, 9, count, which)
    out[:], out[ONES], out[COLOUR] = 0, 1, me == BLACK
    for i in range(side * side):
        p = cell_of(i, side)
        kind = game[STONES + p]
        if kind != EMPTY:
            out[0 if kind == me else 1, i] = 1
            out[TURNS + min(game[MOVES] - game[board.STAMP + p], 7), i] = 1
            out[LIBERTIES - 1 + min(count[game[HEAD + p]], 8), i] = 1
            continue
        out[2, i], out[SENSIBLE, i] = 1, allowed[i]
        if allowed[i]:
            taken, size, free = after(game, p, count, which, mark)
            out[TAKES + min(taken, 7), i] = 1
            if free < 2:
                out[SELF_ATARI - 1 + min(size, 8), i] = 1
            if free > 0:
                out[AFTER - 1 + min(free, 8), i] = 1
    ladders(game, keys, allowed, count, out[LADDER:])


@board.loop
def after(game, p, count, which, mark):
    """Of a move: the stones that it takes; of the chain that it makes, stones and liberties (8: or more).

    mark: has p where something was counted.
    """
    me, enemy, taken, size, free = game[TO_MOVE], BLACK + board.WHITE - game[TO_MOVE], 0, 1, 0
    mark[p] = p
    for d in AROUND:
        head = game[HEAD + p + d]
        if game[STONES + p + d] == EMPTY and mark[p + d] != p:
            mark[p + d] = p
            free += 1
        elif game[STONES + p + d] == me and mark[head] != p:
            mark[head] = p
            size += game[SIZE + head]
            for i in range(count[head]):
                free += mark[which[head, i]] != p
                mark[which[head, i]] = p
    for d in AROUND:
        head = game[HEAD + p + d]
        if game[STONES + p + d] == enemy and count[head] == 1 and mark[head] != p:
            mark[head] = p
            taken += game[SIZE + head]
            free += freed(game, p, head, mark)
    return taken, size, free


@board.loop
def freed(game, p, head, mark):
    """How many stones of a chain that a move takes lay beside the chain that it makes."""
    count, stone = 0, head
    while True:
        for d in AROUND:
            q = stone + d
            if q == p or (game[STONES + q] == game[TO_MOVE] and mark[game[HEAD + q]] == p):
                count += 1
                break
        stone = game[NEXT + stone]
        if stone == head:
            return count


@board.loop
def ladders(game, keys, allowed, count, out):
    """Moves that catch a chain of two liberties in a ladder, and those that save one in atari from it.

    Neither superko nor suicide is read; a chain of which READ positions do not tell is free.
    """
    own, known, side = game.copy(), keys[: board.SEEN].copy(), game[board.SIDE]
    own[board.RULE], own[board.SUICIDE], own[MOVES] = board.SIMPLE, 0, 0
    moves = np.empty(CELLS, np.int16)
    for p in range(board.WIDTH + 1, CELLS - board.WIDTH):
        mine = game[STONES + p] == game[TO_MOVE]
        if EMPTY < game[STONES + p] < board.BORDER and game[HEAD + p] == p and count[p] == (1 if mine else 2):
            for move in moves[: ways(own, p, moves)]:
                i = action_of(move, side)
                if allowed[i] and falls(own.copy(), known, p, int(move), np.array([READ])) != mine:
                    out[int(mine), i] = 1


@board.loop
def ways(game, p, out):
    """What may be tried for or against the chain at p: its liberties; for it, also to take one beside it."""
    count, stone, enemy = liberties_of(game, p, 3, out), p, BLACK + board.WHITE - game[TO_MOVE]
    if game[STONES + p] == enemy:
        return count
    mark = np.zeros(CELLS, np.bool_)
    while True:
        for d in AROUND:
            head = game[HEAD + stone + d]
            if game[STONES + stone + d] == enemy and not mark[head]:
                mark[head] = True
                if liberties_of(game, head, 2, out[count:]) == 1 and unseen(out[count], out, count):
                    count += 1
        stone = game[NEXT + stone]
        if stone == p:
            return count


@njit(nogil=True, error_model="numpy")  # not kept: what calls itself crashes when numba loads it from disk
def falls(game, keys, p, move, left):
    """Plays a move; whether the chain at p falls then: its owner to move, in atari, when no way saves it; its
    enemy to move, when that takes it, or has a way, of two, after which it falls. With three it is free.
    """
    left[0] -= 1
    board.play(game, keys, move, game[TO_MOVE])
    if game[STONES + p] == EMPTY:  # by suicide, if the rules allow that
        return True
    moves, mover = np.empty(CELLS, np.int16), game[TO_MOVE]
    count, hunts = ways(game, p, moves), mover != game[STONES + p]
    if left[0] <= 0 or (hunts and count != 2):
        return hunts and count == 1 and board.legal(game, keys, moves[0], mover)
    for i in range(count):  # int: numba crashes where a function calls itself with other types
        if board.legal(game, keys, moves[i], mover):
            own = game.copy() if i + 1 < count else game  # the last way needs no other board
            if falls(own, keys, p, int(moves[i]), left) == hunts:
                return hunts
    return not hunts
