"""Stage `rollout`: the fast rollout policy, a linear softmax over patterns (Silver et al. 2016, Methods).

What it sees, by Extended Data Table 4: whether a move answers the last one, that is, has it in the diamond of
12 points around; the diamond then; which neighbour of the last move it is; whether it saves stones from
capture; its place among stones just taken; and always the 3 × 3 points around. Points show the border, or
whose stone it is for whoever is to move, with the chain's liberties as 1, 2 or more: `near` holds them as
bytes. In a playout they, and each point's odds, are kept from move to move: only what a move changed is
looked at again. Patterns are slots of one table of weights by hashes that turning and mirroring leave alone
(17 ns a 3 × 3 pattern, where the least of eight turned codes took 21; a table of all codes would fill 64 MB).
"""
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
from tyro.conf import Positional

from tuti.measure import binomial_interval
from tuti.nn.files import Tensors, write_safetensors
from tuti.run import Run, UserError, find_artifact
from tuti.search.mcts import softmax
from tuti.systems.alphago import board
from tuti.systems.alphago.board import AROUND, BLACK, BORDER, CELLS, EMPTIES, PASS, SPACE, STONES, WIDTH
from tuti.systems.alphago.planes import action_of, cell_of, may
from tuti.systems.alphago.records import read_records, replay, split

KIND = "RolloutPolicy"
FREE, EDGE = 0, 7
"""In `near`: an empty point; the border. Between them Black's stones with 1, 2, 3 liberties, then White's"""
RING = (-WIDTH, 1 - WIDTH, 1, WIDTH + 1, WIDTH, WIDTH - 1, -1, -WIDTH - 1)
DIAMOND, BLOCK, CROSS = (*RING, -2 * WIDTH, 2, 2 * WIDTH, -2), (0, *RING), (0, *AROUND)
BITS, NAKADES = 17, 6
NONE, RESPONSE, SAVE, NEIGHBOUR = range(4)
NAKADE, ANSWER, PATTERN, TABLE = range(16, 16 + 4 * 2**BITS, 2**BITS)
"""Where the table of weights has what: NONE is always 0; then single ones, and three kinds of hashed ones"""
_chance, _exchanged = np.random.default_rng(20160128), np.array([0, 4, 5, 6, 1, 2, 3, 7])
_seen = _chance.integers(2**64, size=(2, 8, 8), dtype=np.uint64)
SEEN = np.stack((_seen, _seen[:, _exchanged][:, :, _exchanged])).reshape(2, 2, 64)
"""What is added for a point: by who is to move, whether it is at a corner, the point beyond it, and itself"""
APART = _chance.integers(2**64, size=1024, dtype=np.uint64)
"""… and for two stones, by their distance's square"""

_inner: Any = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)


@board.loop
def mark(game, near, stale, p):
    """Writes a stone's liberties, and its chain's if they were others; what is around becomes stale."""
    if not 0 < game[STONES + p] < BORDER:
        return
    head, stone, one, two = game[board.HEAD + p], p, 0, 0
    count = 3 if game[board.LIBERTIES + head] > 8 else 0  # a liberty has at most four of the chain's stones
    while count < 3:
        for d in AROUND:
            q = stone + d
            if game[STONES + q] == board.EMPTY and q != one and q != two:
                one, two, count = q, one, count + 1
        stone = game[board.NEXT + stone]
        if stone == p:
            break
    kind, stone = 3 * (game[STONES + p] - BLACK) + min(count, 3), p
    for _ in range(0 if near[p] == kind else 1 if near[p] == FREE else game[board.SIZE + head]):
        if near[stone] != kind:
            near[stone] = kind
            for d in BLOCK:
                stale[stone + d] = 3
        stone = game[board.NEXT + stone]


@board.loop
def look(game, near, stale):
    """All of a position."""
    near[:], stale[:] = EDGE * (game[STONES : STONES + CELLS] == BORDER), 3
    for p in range(CELLS):
        mark(game, near, stale, p)


@_inner
def follow(game, near, stale, taken):
    """What the last move, no pass, changed; it took so many stones."""
    end = game[EMPTIES]
    for i in range(end - taken, end):
        near[game[SPACE + i]] = FREE
        for d in BLOCK:
            stale[game[SPACE + i] + d] = 3
    for i in range(end - taken, end + 1):
        p = game[SPACE + i] if i < end else game[board.LAST]
        for d in CROSS:
            mark(game, near, stale, p + d)


@_inner
def pattern(near, p, mover, beyond):
    """The hash of the ring of eight points, with the four beyond or without: cubes of sums of three."""
    total = a = b = np.uint64(0)
    for k in range(10):
        d, far = RING[k & 7], FREE
        if beyond and k & 1 == 0:
            far = EDGE if near[p + d] == EDGE else near[p + 2 * d]
        c = SEEN[mover - BLACK, k & 1, 8 * far + near[p + d]]
        if k > 1:
            total += (a + b + c) * (a + b + c) * (a + b + c)
        a, b = b, c
    return int(total >> np.uint64(64 - BITS))


@_inner
def local(game, near, p, mover):
    """What does not depend on the last move: a pattern's slot, SAVE or NONE, whether it is sensible at all.

    A stone has room: points beside it, empty or captured, and other liberties of its chains (one that two
    share counts twice). Without any it is suicide; with two it saves chains in atari.
    """
    room, atari, mine = 0, False, 3 * (mover - BLACK)
    for d in AROUND:
        kind = near[p + d]
        if kind == FREE or kind == 4 - mine:
            room += 1
        elif mine < kind <= mine + 3:
            room += kind - mine - 1
            atari = atari or kind == mine + 1
    sensible = (room > 0 or game[board.SUICIDE] > 0) and not board.is_eye(game, p, mover)
    return PATTERN + pattern(near, p, mover, False), SAVE if atari and room > 1 else NONE, sensible


@board.loop
def nakade(game, taken, p):
    """The hash of stones just taken and the place of one, by all their distances."""
    total, stones = np.uint64(0), game[SPACE + game[EMPTIES] - taken : SPACE + game[EMPTIES]]
    for a in stones:
        for b in stones:
            x, y = a % WIDTH - b % WIDTH, a // WIDTH - b // WIDTH
            total += APART[x * x + y * y] * np.uint64(3 if a == p else 1)
    return int(total >> np.uint64(64 - BITS))


@_inner
def answers(game, near, taken, rows):
    """What depends on the last move, which took so many stones: rows of a cell and three slots; how many."""
    last, mover, end, count = game[board.LAST], game[board.TO_MOVE], game[EMPTIES], 0
    for k in range(12 if last != PASS else 0):
        p = last + DIAMOND[k]
        if near[last + DIAMOND[k] // (1 + k // 8)] == EDGE or near[p] != FREE:
            continue
        rows[count, 0], rows[count, 1], rows[count, 2] = p, RESPONSE, NEIGHBOUR + k if k < 8 else NONE
        rows[count, 3] = ANSWER + pattern(near, p, mover, True)
        count += 1
    for i in range(end - taken if taken <= NAKADES else end, end):
        rows[count, 0], rows[count, 1] = game[SPACE + i], NAKADE + nakade(game, taken, game[SPACE + i])
        rows[count, 2], rows[count, 3] = NONE, NONE
        count += 1
    return count


@board.loop
def weigh(game, keys, taken, weights, logits):
    """Logits of actions, −inf where not sensible, a pass only where nothing else is; their (action, slot).

    taken: how many stones the last move took.
    """
    side, mover, count = game[board.SIDE], game[board.TO_MOVE], 0
    near, stale, rows = np.empty(CELLS, np.uint8), np.empty(CELLS, np.uint8), np.empty((18, 4), np.int32)
    allowed, pairs = np.empty(side * side + 1, np.bool_), np.empty((2 * side * side + 54, 2), np.int32)
    look(game, near, stale)
    may(game, keys, allowed)
    for a in range(side * side):
        logits[a] = 0 if allowed[a] else -np.inf
        if allowed[a]:
            pairs[count : count + 2, 0] = a
            pairs[count, 1], pairs[count + 1, 1], _ = local(game, near, cell_of(a, side), mover)
            count += 2
    logits[side * side] = 0 if count == 0 else -np.inf
    for i in range(answers(game, near, taken, rows)):
        a = action_of(rows[i, 0], side)
        if allowed[a]:
            pairs[count : count + 3, 0], pairs[count : count + 3, 1] = a, rows[i, 1:]
            count += 3
    for i in range(count):
        logits[pairs[i, 0]] += weights[pairs[i, 1]]
    return pairs[:count]


@_inner
def drawn(game, keys, odds, total):
    """A legal cell as likely as the odds of the row of empty cells say, which sum to `total`; or a pass."""
    while True:
        left, chosen = total * board.dice(keys, 1 << 31) / (1 << 31), -1
        for i in range(game[EMPTIES]):
            if odds[i] > 0:
                chosen, left = i, left - odds[i]
                if left < 0:
                    break
        if chosen < 0 or board.legal(game, keys, game[SPACE + chosen], game[board.TO_MOVE]):
            return PASS if chosen < 0 else game[SPACE + chosen]
        total -= odds[chosen]
        odds[chosen] = 0


@board.loop
def policy_playout(game, keys, owner, weights):
    """Plays by the policy to the end; Black's points less White's, before komi. (No nakade at first.)"""
    near, stale, taken = np.empty(CELLS, np.uint8), np.empty(CELLS, np.uint8), 0
    kept, odds = np.empty((3, CELLS), np.float32), np.empty(CELLS, np.float32)
    rows = np.empty((18, 4), np.int32)
    look(game, near, stale)
    while not board.over(game):
        mover, total = game[board.TO_MOVE], 0.0
        for i in range(game[EMPTIES]):
            p = game[SPACE + i]
            if stale[p] & mover:
                stale[p] -= mover
                slot, save, sensible = local(game, near, p, mover)
                kept[mover, p] = np.exp(weights[slot] + weights[save]) if sensible else 0
            odds[i] = kept[mover, p]
            total += odds[i]
        for i in range(answers(game, near, taken, rows)):
            at, more = game[board.PLACE + rows[i, 0]], weights[rows[i, 1]] + weights[rows[i, 2]]
            before = odds[at]
            odds[at] *= np.exp(more + weights[rows[i, 3]])
            total += odds[at] - before
        p = drawn(game, keys, odds, total)
        taken = board.play(game, keys, p, mover)
        if p != PASS:
            follow(game, near, stale, taken)
    return board.owners(game, owner)


@board.loop
def learn(game, keys, moves, positions, weights, rate):
    """Ascends the log-likelihood, move (game, ply) by move: sums of nats, hits, those of chance; how many."""
    own, known, nats, hits, chance, count = game.copy(), keys.copy(), 0.0, 0, 0.0, 0
    side = game[board.SIDE]
    logits, policy = np.empty((2, side * side + 1), np.float32)
    for n in range(len(positions)):
        board.assume(own, known, game, keys)
        row = moves[positions[n, 0]]
        pairs = weigh(own, known, replay(own, known, row, positions[n, 1]), weights, logits)
        played = action_of(row[positions[n, 1]], side)
        if logits[played] == -np.inf:
            continue
        softmax(logits, policy)
        nats -= np.log(policy[played])
        hits += logits.argmax() == played
        chance += 1 / (logits > -np.inf).sum()
        count += 1
        policy[played] -= 1
        for i in range(len(pairs)):
            weights[pairs[i, 1]] -= rate * policy[pairs[i, 0]]
        weights[NONE] = 0
    return nats, hits, chance, count


@dataclass(frozen=True)
class Rollout:
    """Learns which moves people or programs play, by patterns around them."""

    records: Positional[Path]
    """A folder of SGF files, at any depth: a run of `tuti alphago match`, or people's games"""
    size: Annotated[int, Ge(2), Le(19)] = 9
    """Points a side; games on other boards are left out"""
    epochs: Annotated[int, Ge(1)] = 10
    """Passes over all moves"""
    rate: Annotated[float, Gt(0)] = 0.1
    """Learning rate at first; it falls to nothing in a straight line"""
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the games, the last by name, that only measure"""


def rollout(config: Rollout, run: Run) -> None:
    """Saves the weights, a RolloutPolicy. A run that was killed starts over: the same seed, the same bits."""
    c, source = config, np.random.default_rng(run.options.seed)
    records = read_records(c.records, c.size)
    moves, (known, unknown) = records.moves, split(records, c.held_out)
    blank, weights = board.new(c.size), np.zeros(TABLE, np.float32)
    for epoch in range(c.epochs):
        order, rate = source.permutation(known), np.float32(c.rate * (1 - epoch / c.epochs))
        nats, hits, _, count = learn(*blank, moves, order, weights, rate)
        if not np.isfinite(nats):
            raise UserError(f"a move costs {nats} nats in epoch {epoch + 1}", hint="lower --rate")
        run.log("epoch", step=epoch + 1, steps=c.epochs, nats=nats / count, accuracy=hits / count)
        run.show(f"epoch {epoch + 1}/{c.epochs}  {nats / count:.3f} nats a move", passing=True)
    nats, hits, chance, count = learn(*blank, moves, unknown, weights, np.float32(0))
    found, began, played, owner = binomial_interval(hits, count), 0.0, 0, np.empty(CELLS, np.int8)
    for number in range(201):
        began = began if number > 1 else time.thread_time()  # the first may compile
        game, keys = (array.copy() for array in blank)
        keys[board.DICE] = board.chance(number)
        policy_playout(game, keys, owner, weights)
        played += int(game[board.MOVES]) if number else 0
    micros = (time.thread_time() - began) / played * 1e6
    told = {"accuracy": found.value, "low": found.low, "high": found.high, "chance": chance / count}
    run.log("held out", **told, nats=nats / count, moves=count, games=len(set(unknown[:, 0])), micros=micros)
    run.show(
        "held out: {accuracy:.1%} [{low:.1%}, {high:.1%}] of moves, {chance:.1%} by chance; ".format(**told)
        + f"{nats / count:.3f} nats a move; a playout takes {micros:.2f} µs a move"
    )
    with run.save("model", KIND, size=c.size) as folder:
        write_safetensors(folder / "model.safetensors", {"weights": torch.from_numpy(weights)})


def load_rollout(path: Path | str) -> Any:
    """The table of weights, from a run or its artifact."""
    tensors = Tensors(find_artifact(Path(path), KIND) / "model.safetensors")
    tensors.check("weights", (TABLE,))
    return tensors.read("weights").float().numpy()
