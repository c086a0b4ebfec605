"""AlphaGo's search, and stage `search`: policy, value network and rollouts in one tree (Silver et al. 2016).

Several threads go down one tree of arrays. An edge keeps apart what rollouts and what the value network said
of it; a simulation on its way counts as VIRTUAL rollouts that were lost, so that the next thread goes another
way. An edge that was passed THRESHOLD times gets a node, and its position goes to the networks, which answer
all threads that are waiting together.
"""
# numba has no types.
# pyright: basic

import copy
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
import torch
import tyro

from tuti.run import Run, UserError, find_artifact, read_json
from tuti.search import likely
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, DICE, SIDE, TO_MOVE, loop
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.net import KIND as NET
from tuti.systems.alphago.net import load_net
from tuti.systems.alphago.planes import ALPHAGO, action_of, alphago_planes, cell_of, may
from tuti.systems.alphago.rollout import KIND as ROLLOUT
from tuti.systems.alphago.rollout import load_rollout, policy_playout
from tuti.systems.alphago.sampled import forecast

KIND = "AlphaGo"
EXPLORATION, VIRTUAL, SHARPNESS, THRESHOLD = 5.0, 3.0, 0.67, 0.25
"""c of PUCT, virtual loss, exponent of the policy (Extended Data Table 5); after how many visits an edge gets
a node: the simulations so far to this power, 8 of 4,096; the paper's 40 vary with its networks' load"""
WORKERS, NODES, LEAST = 8, 20_000, 64
LETTERS = {"rvp": 0.5, "vp": 0.0, "rp": 1.0, "rv": 0.5, "v": 0.0, "r": 1.0, "p": 0.0}
"""The paper's names of variants (Extended Data Table 7), by what they use: rollouts, value, policy; and λ"""


@loop
def select(tree, node, path, mix):
    """From a node down to an edge without one, by Q + u, leaving virtual losses; how many steps."""
    children, prior, rollouts, won, values, worth = tree
    for depth in range(len(path)):
        bonus, chosen, best = EXPLORATION * np.sqrt(max(1, rollouts[node].sum())), 0, -np.inf
        for a in range(prior.shape[1]):
            q = (1 - mix) * worth[node, a] / max(1, values[node, a])
            q += mix * won[node, a] / max(1, rollouts[node, a])
            score = q + bonus * prior[node, a] / (1 + rollouts[node, a])
            if prior[node, a] > 0 and score > best:
                chosen, best = a, score
        rollouts[node, chosen] += VIRTUAL
        won[node, chosen] -= VIRTUAL
        path[depth, 0], path[depth, 1] = node, chosen
        if children[node, chosen] <= 0:
            return depth + 1
        node = children[node, chosen]
    return len(path)


@loop
def tell(tree, path, depth, result, value):
    """A way's edges get a rollout's result, and the value (none: NaN), both for whoever moves at its end."""
    children, prior, rollouts, won, values, worth = tree
    for i in range(depth - 1, -1, -1):
        node, a = path[i, 0], path[i, 1]
        result, value = -result, -value
        rollouts[node, a] += 1 - VIRTUAL
        won[node, a] += VIRTUAL + result
        if not np.isnan(value):
            values[node, a] += 1
            worth[node, a] += value


@loop
def follow(game, keys, own, known, path, depth, komi, owner):
    """Plays a way; the result for whoever is to move if the game is over then, else NaN."""
    source = known[DICE]
    board.assume(own, known, game, keys)
    known[DICE] = source
    for i in range(depth):
        board.play(own, known, cell_of(path[i, 1], own[SIDE]), own[TO_MOVE])
    if not board.over(own):
        return np.nan
    return np.sign(board.owners(own, owner) - komi) * (1 if own[TO_MOVE] == BLACK else -1)


class Networks:
    """Policy and value of positions. Whoever's turn it is answers all that wait together."""

    def __init__(self, policy, value):
        self.policy, self.value, self.turn, self.waiting = policy, value, Lock(), SimpleQueue()

    def ask(self, game, keys):
        """(priors of the actions, value for whoever is to move, or NaN) of a position."""
        planes, answer = np.empty((ALPHAGO, game[SIDE] ** 2), np.float32), Future()
        allowed = np.empty(planes.shape[1] + 1, np.bool_)
        may(game, keys, allowed)
        alphago_planes(game, keys, allowed, planes)
        self.waiting.put((planes, answer))
        with self.turn:
            if not answer.done():
                waiting = [self.waiting.get() for _ in range(self.waiting.qsize())]
                self._answer(*zip(*waiting, strict=True))
        logits, value = answer.result()
        weights = np.exp(SHARPNESS * (logits - logits[allowed].max())) * allowed
        return weights / weights.sum(), value

    def _answer(self, planes, answers):
        seen = np.stack(planes)
        logits = np.zeros((len(seen), seen.shape[2] + 1), np.float32)
        logits = forecast(self.policy, seen)[0] if self.policy else logits
        values = forecast(self.value, seen)[1] if self.value else np.full(len(seen), np.nan)
        for answer, told in zip(answers, zip(logits, values, strict=True), strict=True):
            answer.set_result(told)


class Search:
    """A player: the most visited move after so many simulations or seconds."""

    def __init__(self, parts, size, simulations, letters="rvp", workers=WORKERS, seed=0):
        if letters not in LETTERS:
            raise UserError(f"no variant {letters!r} of AlphaGo", hint=f"there are {', '.join(LETTERS)}")
        policy, value, self.weights = parts
        self.networks = Networks("p" in letters and policy, "v" in letters and value)
        self.letters, self.most, self.workers, self.seed = letters, simulations, workers, seed
        shape = (min(simulations, NODES) + 1 + workers, size * size + 1)
        self.children, self.figures = np.zeros(shape, np.int32), np.zeros((5, *shape), np.float32)
        self.tree, self.lock, self.made, self.begun = (self.children, *self.figures), Lock(), 0, 0
        self.root, self.before, self.value = -1, None, 0.0
        """The last search's root and game; what it thought of its move, −1 to 1"""

    def __call__(self, game: Game, seconds: float) -> int:
        until, self.begun, self.root = time.monotonic() + seconds, 0, self._kept(game)
        if self.root < 0:
            prior, self.made = self.networks.ask(*game.arrays)[0], 0
            if self.letters == "p":
                return int(cell_of(int(prior.argmax()), game.size))
            self.root = self._grow(prior)
        with ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(lambda number: self._work(game, until, number), range(self.workers)))
        _, visits, worth, _ = self.thoughts(1)
        self.value = float(worth[visits.argmax()])
        return int(cell_of(int(visits.argmax()), game.size))

    def thoughts(self, most):
        """Of the last search, by action: policy, visits, worth, −1 to 1; and the likeliest lines."""
        policy, rollouts, won, values, worth = self.figures[:, self.root]
        mix = LETTERS[self.letters]
        found = mix * won / np.maximum(1, rollouts) + (1 - mix) * worth / np.maximum(1, values)
        return policy, rollouts, found, likely(self.children, self.figures[1], self.root, most)

    def _kept(self, game: Game):
        """The node of a position that came of the one searched before; −1: none, or half the room is full."""
        node, before, self.before = self.root, self.before, copy.deepcopy(game)
        if before is None or node < 0 or 2 * self.made > len(self.children) or before.komi != game.komi:
            return -1
        for _, cell in game.moves[len(before.moves) :]:
            node = self.children[node, action_of(cell, game.size)]
            if node <= 0:
                return -1
            board.play(*before.arrays, cell, before.to_move)
        return node if all(map(np.array_equal, before.arrays, game.arrays)) else -1

    def _grow(self, prior):
        """A node, the next in the tree; its number."""
        number = self.made
        self.children[number], self.figures[:, number] = 0, 0
        self.figures[0, number], self.made = prior, number + 1
        return number

    def _work(self, game: Game, until: float, number: int):
        """One thread's simulations."""
        own, known = (array.copy() for array in game.arrays)
        known[DICE] = board.chance(self.seed, len(game.moves), number)
        path, owner = np.empty((4 * game.size**2, 2), np.int32), np.empty(board.CELLS, np.int8)
        mix, rolls = LETTERS[self.letters], "r" in self.letters
        while self.begun < LEAST or time.monotonic() < until:
            with self.lock:
                if self.begun == self.most:
                    break
                self.begun += 1
                depth = select(self.tree, self.root, path, mix)
                visits = max(2, self.begun**THRESHOLD) if rolls else 1
                threshold = visits - 1 + VIRTUAL  # one's own virtual loss is among them
            result = value = follow(*game.arrays, own, known, path, depth, game.komi, owner)
            node, action = path[depth - 1]
            prior = None
            if np.isnan(result):
                with self.lock:
                    ripe = self.figures[1, node, action] >= threshold and self.children[node, action] == 0
                    if ripe and self.made < len(self.children) - self.workers:  # room for all that are asked
                        prior, self.children[node, action] = (), -1
                if prior is not None:
                    prior, value = self.networks.ask(own, known)
                mover = 1 if own[TO_MOVE] == BLACK else -1
                lead = policy_playout(own, known, owner, self.weights) - game.komi if rolls else 0.0
                result = mover * np.sign(lead)
            with self.lock:
                tell(self.tree, path, depth, result, value)
                if prior is not None:
                    self.children[node, action] = self._grow(prior)


@dataclass(frozen=True)
class Parts:
    """A policy, a rollout policy and a value network make a player; `RUN@rp` plays without the last."""

    policy: tyro.conf.Positional[Path]
    """A run of `tuti alphago sl` (the paper's choice) or `rl`"""
    rollout: tyro.conf.Positional[Path]
    """A run of `tuti alphago rollout`"""
    value: tyro.conf.Positional[Path]
    """A run of `tuti alphago value`"""


def search(config: Parts, run: Run) -> None:
    """Saves copies of the parts as one artifact AlphaGo, if they were learnt for the same board."""
    policy, value = run.load(config.policy, NET), run.load(config.value, NET)
    rollout = run.load(config.rollout, ROLLOUT)
    (_, facts), (_, other) = load_net(policy, ALPHAGO - 1), load_net(value, ALPHAGO)
    sizes = [facts["size"], read_json(rollout / "tuti.json")["size"], other["size"]]
    if len(set(sizes)) > 1:
        raise UserError(f"the parts know boards of {sizes}", hint="learn all of them with one --size")
    with run.save("player", KIND, size=facts["size"], komi=facts["komi"]) as folder:
        for source, name in ((policy, "policy"), (rollout, "rollout"), (value, "value")):
            shutil.copytree(source, folder / name)


def load_alphago(path: Path) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    """(policy, value network, rollout policy's weights) of a run or its artifact, and its facts."""
    folder = find_artifact(path, KIND)
    parts = load_net(folder / "policy")[0], load_net(folder / "value")[0], load_rollout(folder / "rollout")
    return parts, read_json(folder / "tuti.json")
