"""Stage `rollout`: the fast rollout policy, a linear softmax over patterns (Silver et al. 2016, Methods)."""
# numba has no types.
# pyright: basic

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from numba import njit

from tuti.measure import binomial_interval
from tuti.nn.files import open_safetensors, write_safetensors
from tuti.run import Run, UserError, find_artifact
from tuti.systems.alphago import board
from tuti.systems.alphago.board import AROUND, BLACK, BORDER, CELLS, EMPTIES, LAST, NEXT, PASS, PLACE
from tuti.systems.alphago.board import SIDE, SPACE, STONES, TO_MOVE, WIDTH, dice, is_eye, legal
from tuti.systems.alphago.records import read_records, replay
from tuti.systems.alphago.planes import cell_of, may

KIND = "RolloutPolicy"
FREE, EDGE = 0, 7
RING = (-WIDTH, -WIDTH + 1, 1, WIDTH + 1, WIDTH, WIDTH - 1, -1, -WIDTH - 1)
DIAMOND = (*RING, -2 * WIDTH, 2, 2 * WIDTH, -2)
NONE, RESPONSE, SAVE, NEIGHBOUR, SLOTS = 0, 1, 2, 3, 1 << 17
NAKADE, ANSWER, PATTERN, TABLE = range(16, 16 + 4 * SLOTS, SLOTS)
_chance = np.random.default_rng(2016)
_base = _chance.integers(2**64, size=(2, 8, 8), dtype=np.uint64)
_swap = np.array([0, 4, 5, 6, 1, 2, 3, 7])
HASH = np.stack((_base, _base[:, _swap][:, :, _swap])).reshape(2, 2, 64)
APART = _chance.integers(2**64, size=1024, dtype=np.uint64)
SHIFT = np.uint64(64 - 17)

_inner: Any = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)


@board.loop
def mark(game, near, stale, p):
    if not 0 < game[STONES + p] < BORDER:
        return
    one, two, stone, count = 0, 0, p, 0
    while True:
        for d in AROUND:
            q = stone + d
            if game[STONES + q] == board.EMPTY and q != one and q != two:
                one, two, count = q, one, count + 1
        stone = game[NEXT + stone]
        if stone == p or count >= 3:
            break
    kind = 3 * (game[STONES + p] - BLACK) + min(count, 3)
    if near[p] == kind:
        return
    stone = p
    while True:
        if near[stone] != kind:
            near[stone] = kind
            for d in RING:
                stale[stone + d] = 3
        stone = game[NEXT + stone]
        if stone == p:
            break


@board.loop
def look(game, near, stale):
    for p in range(CELLS):
        near[p], stale[p] = (EDGE if game[STONES + p] == BORDER else FREE), 3
    for p in range(CELLS):
        mark(game, near, stale, p)


@board.loop
def update(game, near, stale, taken):
    last = game[LAST]
    if last == PASS:
        return
    for i in range(game[EMPTIES] - taken, game[EMPTIES]):
        p = game[SPACE + i]
        near[p], stale[p] = FREE, 3
        for d in RING:
            stale[p + d] = 3
    mark(game, near, stale, last)
    for d in AROUND:
        mark(game, near, stale, last + d)
    for i in range(game[EMPTIES] - taken, game[EMPTIES]):
        for d in AROUND:
            mark(game, near, stale, game[SPACE + i] + d)


@_inner
def _hash(near, p, mover, tips):
    total = a = b = np.uint64(0)
    for k in range(10):
        kind, tip = near[p + RING[k & 7]], 0
        if tips and k & 1 == 0:
            tip = EDGE if kind == EDGE else near[p + 2 * RING[k & 7]]
        c = HASH[mover - 1, k & 1, 8 * tip + kind]
        if k > 1:
            x = a + b + c
            total += x * x * x
        a, b = b, c
    return int(total >> SHIFT)


@_inner
def _local(game, near, p, mover):
    room, atari, mine = 0, False, 3 * (mover - BLACK)
    for d in AROUND:
        kind = near[p + d]
        if kind == FREE or kind == 4 - mine:
            room += 1
        elif mine < kind <= mine + 3:
            room += kind - mine - 1
            atari = atari or kind == mine + 1
    return room > 0, SAVE if atari and room > 1 else NONE


@board.loop
def _nakade(game, taken, p):
    total = np.uint64(0)
    for i in range(game[EMPTIES] - taken, game[EMPTIES]):
        for j in range(game[EMPTIES] - taken, game[EMPTIES]):
            a, b = game[SPACE + i], game[SPACE + j]
            x, y = a % WIDTH - b % WIDTH, a // WIDTH - b // WIDTH
            total += APART[x * x + y * y] * np.uint64(3 if a == p else 1)
    return NAKADE + int(total >> SHIFT)


@board.loop
def answers(game, near, taken, rows):
    last, mover, count = game[LAST], game[TO_MOVE], 0
    for k in range(12 if last != PASS else 0):
        p = last + DIAMOND[k]
        if k >= 8 and near[last + DIAMOND[k] // 2] == EDGE or near[p] != FREE:
            continue
        rows[count, 0], rows[count, 1], rows[count, 2] = p, RESPONSE, NEIGHBOUR + k if k < 8 else NONE
        rows[count, 3] = ANSWER + _hash(near, p, mover, True)
        count += 1
    for i in range(game[EMPTIES] - taken if 0 < taken <= 6 else game[EMPTIES], game[EMPTIES]):
        rows[count, 0], rows[count, 1] = game[SPACE + i], _nakade(game, taken, game[SPACE + i])
        rows[count, 2], rows[count, 3] = NONE, NONE
        count += 1
    return count


@board.loop
def drawn(game, keys, odds):
    while True:
        total, chosen = 0.0, -1
        for i in range(game[EMPTIES]):
            total += odds[i]
        left = total * dice(keys, 1 << 31) / (1 << 31)
        for i in range(game[EMPTIES]):
            if odds[i] > 0:
                chosen = i
                left -= odds[i]
                if left < 0:
                    break
        if chosen < 0:
            return PASS
        p = game[SPACE + chosen]
        if legal(game, keys, p, game[TO_MOVE]):
            return p
        odds[chosen] = 0


@board.loop
def policy_playout(game, keys, owner, weights):
    near, stale = np.empty(CELLS, np.uint8), np.empty(CELLS, np.uint8)
    cache, odds, rows = np.empty((3, CELLS), np.float32), np.empty(CELLS, np.float32), np.empty((18, 4), np.int32)
    look(game, near, stale)
    taken = 0
    while not board.over(game):
        mover = game[TO_MOVE]
        for i in range(game[EMPTIES]):
            p = game[SPACE + i]
            if stale[p] & mover:
                stale[p] -= mover
                alive, save = _local(game, near, p, mover)
                cache[mover, p] = 0
                if (alive or game[board.SUICIDE]) and not is_eye(game, p, mover):
                    cache[mover, p] = np.exp(weights[PATTERN + _hash(near, p, mover, False)] + weights[save])
            odds[i] = cache[mover, p]
        for i in range(answers(game, near, taken, rows)):
            odds[game[PLACE + rows[i, 0]]] *= np.exp(weights[rows[i, 1]] + weights[rows[i, 2]] + weights[rows[i, 3]])
        taken = board.play(game, keys, drawn(game, keys, odds), mover)
        update(game, near, stale, taken)
    return board.owners(game, owner)
