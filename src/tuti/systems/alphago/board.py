"""The rules of Go on arrays, as compiled loops: moves, captures, repetition, area.

A game is two rows of numbers, which many games stack: int16 for the board (`game`) and uint64 for what
tells positions apart (`keys`). Cells lie in rows of 20 with a border around, whatever the board's size, so
that the neighbours of a cell are ±1 and ±20. Stones of a chain are a ring (NEXT) with one HEAD; a chain
counts pseudo-liberties, pairs of a stone and an empty neighbour, which cost nothing to keep: it is captured
when there is none. A chain's part of the position's key is kept with it, so that a move's next position is
known, and a repetition seen, before it is played (Zobrist 1970).
"""
# numba has no types.
# pyright: basic

from typing import Any

import numpy as np
from numba import njit

EMPTY, BLACK, WHITE, BORDER = 0, 1, 2, 3
PASS = 0
"""The cell of a pass: a corner of the border"""
MOST, WIDTH = 19, 20
CELLS = WIDTH * (MOST + 2) + 1
STONES, HEAD, NEXT, LIBERTIES, SIZE, SPACE, PLACE, STAMP, REST = range(0, 9 * CELLS, CELLS)
"""Where in `game` each cell's colour lies; its chain's head; the chain's next stone; at the head, liberties
and stones of the chain; the empty cells in a row; where each stands there; the move that a stone came by"""
SIDE, EMPTIES, TO_MOVE, KO, PASSES, MOVES, RULE, SUICIDE, LAST = range(REST, REST + 9)
"""… and, after them, points a side; empty points; whose turn; where ko forbids; passes in a row; and so on"""
POSITION, DICE, SEEN = CELLS, CELLS + 1, CELLS + 2
"""Where in `keys`, after the chains' own, the position's lies; the source of chance; positions that were"""
POSITIONAL, SITUATIONAL, SIMPLE = 0, 1, 2
"""Superko: no position again, or none with the same colour to move; or only: not back at once (ko)"""
LONGEST = 4
"""A game of more than so many moves a point is over"""

_chance = np.random.default_rng(20160127)
KEYS = _chance.integers(0, 2**63, (CELLS, 3), dtype=np.uint64)
_TURN, _FULL = np.uint64(_chance.integers(0, 2**63)), np.uint64(2**63)
AROUND, CORNERS = (-WIDTH, -1, 1, WIDTH), (-WIDTH - 1, -WIDTH + 1, WIDTH - 1, WIDTH + 1)

loop: Any = njit(cache=True, nogil=True, error_model="numpy")
_inner: Any = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)


def cell(x, y):
    """The cell of a point; x from the left, y from the top, both from 0."""
    return (y + 1) * WIDTH + x + 1


def points(size) -> Any:
    """The cells of a board's points, row by row."""
    return np.array([cell(x, y) for y in range(size) for x in range(size)], np.int16)


def chance(*seeds) -> Any:
    """Where a source of chance begins."""
    return np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] | np.uint64(1)


def new(size, rule=POSITIONAL, suicide=False, seed=0, set_up: Any = (), first=BLACK) -> Any:
    """A board of 2 to 19 points a side: (game, keys). set_up: (colour, cell) of stones that lie there."""
    assert 2 <= size <= MOST, size
    game, inside = np.zeros(LAST + 1, np.int16), points(size)
    game[STONES : STONES + CELLS] = BORDER
    game[STONES + inside] = EMPTY
    game[SPACE : SPACE + len(inside)] = inside
    game[PLACE + inside] = np.arange(len(inside))
    game[[SIDE, EMPTIES, TO_MOVE, RULE, SUICIDE]] = size, len(inside), BLACK, rule, suicide
    slots = 0 if rule == SIMPLE else 1 << (2 * LONGEST * size * size).bit_length()
    keys = np.zeros(SEEN + slots, np.uint64)
    keys[DICE] = chance(seed)
    for colour, p in set_up:
        if game[STONES + p] != EMPTY or _put(game, keys, p, colour):
            raise ValueError("stones that were set lie on one another or have no liberty")
    game[[TO_MOVE, KO]] = first, 0
    _remember(game, keys)
    return game, keys


@_inner
def assume(game, keys, other_game, other_keys):
    """Makes a game what another is; they have one size and rule. (By loops: slices would be copied twice.)"""
    for i in range(len(game)):
        game[i] = other_game[i]
    for i in range(len(keys)):
        keys[i] = other_keys[i]


@_inner
def dice(keys, sides):
    """A number from 0 to sides - 1 (xorshift, Marsaglia 2003)."""
    x = keys[DICE]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    keys[DICE] = x
    return int(((x >> np.uint64(32)) * np.uint64(sides)) >> np.uint64(32))


@_inner
def _situation(game, key, to_move):
    """What must not come again: never 0, which is an empty place of the table."""
    if game[RULE] == SITUATIONAL and to_move == WHITE:
        key ^= _TURN
    return key | _FULL


@_inner
def _find(keys, key):
    """Where the table has a key, or has room for it."""
    mask = np.uint64(len(keys) - SEEN - 1)
    at = key & mask
    while keys[np.uint64(SEEN) + at] != 0 and keys[np.uint64(SEEN) + at] != key:
        at = (at + np.uint64(1)) & mask
    return np.uint64(SEEN) + at


@_inner
def _remember(game, keys):
    """The position may not come again."""
    if game[RULE] != SIMPLE:
        key = _situation(game, keys[POSITION], game[TO_MOVE])
        keys[_find(keys, key)] = key


@_inner
def _last_breath(game, head, p):
    """Whether the cell is a chain's only liberty."""
    left = game[LIBERTIES + head]
    if left > 4:  # a cell touches four stones at most
        return False
    for d in AROUND:
        if 0 < game[STONES + p + d] < BORDER and game[HEAD + p + d] == head:
            left -= 1
    return left == 0


@_inner
def _first(game, p, i, head):
    """Whether no neighbour before the i-th belongs to the chain, which may touch a cell twice."""
    for j in range(i):
        q = p + AROUND[j]
        if 0 < game[STONES + q] < BORDER and game[HEAD + q] == head:
            return False
    return True


@_inner
def outcome(game, keys, p, colour):
    """Of a move: (does its stone live, how many enemies it takes, the key of the position after it)."""
    key, alive, captured = keys[POSITION] ^ KEYS[p, colour], False, 0
    for i in range(4):
        q = p + AROUND[i]
        kind = game[STONES + q]
        if kind == EMPTY:
            alive = True
        elif kind == colour:
            alive = alive or not _last_breath(game, game[HEAD + q], p)
        elif kind != BORDER:
            head = game[HEAD + q]
            if _last_breath(game, head, p) and _first(game, p, i, head):
                captured += game[SIZE + head]
                key ^= keys[head]
    return alive or captured > 0, captured, key


@_inner
def legal(game, keys, p, colour):
    """Whether the colour may play at a cell now."""
    if p == PASS:
        return True
    if p < 0 or p >= CELLS or game[STONES + p] != EMPTY or too_long(game):
        return False
    alive, _, key = outcome(game, keys, p, colour)
    if not alive:
        if game[SUICIDE] == 0:
            return False
        own, known = game.copy(), keys.copy()
        if _put(own, known, p, colour) == 1:  # a lone stone's changes nothing
            return False
        key = known[POSITION]
    if game[RULE] == SIMPLE:
        return p != game[KO] or colour != game[TO_MOVE]
    key = _situation(game, key, BLACK + WHITE - colour)
    return keys[_find(keys, key)] != key


@_inner
def play(game, keys, p, colour):
    """Plays a legal move; how many stones it took off the board."""
    game[MOVES] += 1
    game[TO_MOVE] = BLACK + WHITE - colour
    game[KO], game[LAST] = 0, p
    if p == PASS:
        game[PASSES] += 1
        _remember(game, keys)
        return 0
    game[PASSES] = 0
    taken = _put(game, keys, p, colour)
    _remember(game, keys)
    return taken


@_inner
def _put(game, keys, p, colour):
    enemy = BLACK + WHITE - colour
    game[EMPTIES] -= 1
    last, place = game[SPACE + game[EMPTIES]], game[PLACE + p]
    game[SPACE + place], game[PLACE + last] = last, place
    game[STONES + p], game[HEAD + p], game[NEXT + p], game[STAMP + p] = colour, p, p, game[MOVES]
    game[SIZE + p], keys[p] = 1, KEYS[p, colour]
    keys[POSITION] ^= KEYS[p, colour]
    liberties, alone = 0, True  # among enemies and borders: what is captured then may be a ko
    for d in AROUND:
        kind = game[STONES + p + d]
        if kind == EMPTY:
            liberties += 1
        elif kind != BORDER:
            game[LIBERTIES + game[HEAD + p + d]] -= 1
        alone = alone and kind != EMPTY and kind != colour
    game[LIBERTIES + p] = liberties
    for d in AROUND:
        if game[STONES + p + d] == colour and game[HEAD + p + d] != game[HEAD + p]:
            _join(game, keys, game[HEAD + p + d], game[HEAD + p])
    taken, ko = 0, 0
    for d in AROUND:
        if game[STONES + p + d] == enemy and game[LIBERTIES + game[HEAD + p + d]] == 0:
            taken += _lift(game, keys, game[HEAD + p + d])
            ko = p + d
    if taken == 1 and alone:
        game[KO] = ko
    if taken == 0 and game[LIBERTIES + game[HEAD + p]] == 0:
        return _lift(game, keys, game[HEAD + p])
    return taken


@_inner
def _join(game, keys, a, b):
    """The smaller chain's stones go to the larger one."""
    if game[SIZE + a] < game[SIZE + b]:
        a, b = b, a
    stone = b
    while True:
        game[HEAD + stone] = a
        stone = game[NEXT + stone]
        if stone == b:
            break
    game[NEXT + a], game[NEXT + b] = game[NEXT + b], game[NEXT + a]
    game[SIZE + a] += game[SIZE + b]
    game[LIBERTIES + a] += game[LIBERTIES + b]
    keys[a] ^= keys[b]


@_inner
def _lift(game, keys, head):
    """Takes a chain off the board; the number of its stones."""
    keys[POSITION] ^= keys[head]
    stone = head
    while True:
        game[STONES + stone] = EMPTY
        game[SPACE + game[EMPTIES]], game[PLACE + stone] = stone, game[EMPTIES]
        game[EMPTIES] += 1
        for d in AROUND:
            kind = game[STONES + stone + d]
            if kind == BLACK or kind == WHITE:
                game[LIBERTIES + game[HEAD + stone + d]] += 1
        stone = game[NEXT + stone]
        if stone == head:
            return game[SIZE + head]


@_inner
def too_long(game):
    """Whether so many moves were made that no more are."""
    return game[MOVES] >= LONGEST * game[SIDE] * game[SIDE]


@_inner
def over(game):
    """Whether both have passed in a row, or the game has become too long."""
    return game[PASSES] >= 2 or too_long(game)


@loop
def owners(game, owner):
    """Whose each cell is at the end, with all stones alive: 1 Black's, -1 White's, 0 nobody's; the sum.

    An empty region is of the only colour that it touches (Tromp & Taylor).
    """
    todo = np.empty(CELLS, np.int16)
    total = 0
    owner[:] = 0
    for start in range(WIDTH + 1, CELLS):
        kind = game[STONES + start]
        if kind == BLACK or kind == WHITE:
            owner[start] = 1 if kind == BLACK else -1
        elif kind == EMPTY and owner[start] == 0:
            owner[start], todo[0], count, at, touched = 2, start, 1, 0, 0
            while at < count:
                for d in AROUND:
                    q = todo[at] + d
                    near = game[STONES + q]
                    if near == EMPTY and owner[q] == 0:
                        owner[q], todo[count] = 2, q
                        count += 1
                    elif near == BLACK or near == WHITE:
                        touched |= near
                at += 1
            whose = 1 if touched == BLACK else -1 if touched == WHITE else 3
            for i in range(count):
                owner[todo[i]] = whose
    for p in range(CELLS):
        owner[p] = owner[p] if owner[p] < 2 else 0
        total += owner[p]
    return total


@_inner
def is_eye(game, p, colour):
    """A point that its owner should not fill: own stones beside it, and too few enemies at its corners."""
    for d in AROUND:
        if game[STONES + p + d] != colour and game[STONES + p + d] != BORDER:
            return False
    enemies, edge = 0, 0
    for d in CORNERS:
        kind = game[STONES + p + d]
        if kind == BORDER:
            edge = 1
        elif kind != EMPTY and kind != colour:
            enemies += 1
    return enemies + edge < 2


@loop
def random_move(game, keys):
    """Any legal move that fills no eye of one's own, all equally likely; else a pass."""
    colour = game[TO_MOVE]
    for left in range(game[EMPTIES], 0, -1):
        i = dice(keys, left)
        p = game[SPACE + i]
        if not is_eye(game, p, colour) and legal(game, keys, p, colour):
            return p
        last = game[SPACE + left - 1]  # tried: goes behind those that are left
        game[SPACE + i], game[SPACE + left - 1] = last, p
        game[PLACE + last], game[PLACE + p] = i, left - 1
    return PASS


@loop
def playout(game, keys, owner):
    """Plays at random to the end; Black's points less White's, before komi."""
    while not over(game):
        play(game, keys, random_move(game, keys), game[TO_MOVE])
    return owners(game, owner)
