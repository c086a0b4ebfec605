"""Games that a network plays against itself, and what they teach (Silver et al. 2017)."""
# numba has no types.
# pyright: basic

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from tuti.search import GUMBEL, PUCT
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, CELLS, MOVES, TO_MOVE, loop, over, owners, play
from tuti.systems.alphago.net import LEAD, Net
from tuti.systems.alphago.planes import cell_of
from tuti.systems.alphago.think import Thinker

FIELDS = ("planes", "policy", "value", "owner", "lead")
"""Planes; the improved policy; who won, whose each point was, by how much / LEAD: all for who is to move"""
CONSIDERED, EVEN, WHOLE = 8, 10.0, 0.25
"""First moves among which simulations are shared, the sum of Dirichlet's α, the share of whole searches"""


@loop
def advance(games, keys, actions, ended):
    """Plays one action in each game, and says which are over."""
    for b in range(len(games)):
        play(games[b], keys[b], cell_of(actions[b], games[b, board.SIDE]), games[b, TO_MOVE])
        ended[b] = over(games[b])


@loop
def settle(games, komi, owner, lead):
    """Whose each point is, Black's 1, and Black's lead."""
    cells = np.empty(CELLS, np.int8)
    for b in range(len(games)):
        side = games[b, board.SIDE]
        lead[b] = owners(games[b], cells) - komi
        for i in range(side * side):
            owner[b, i] = cells[cell_of(i, side)]


def to_the_end(made: list[Any], choose: Callable[[Any, Any, Any], Any]) -> Any:
    """Plays games side by side by what `choose` gives for (which are not over, their games, their keys)."""
    games, keys = (np.stack(rows) for rows in zip(*made, strict=True))
    alive, done, finals = np.arange(len(games)), np.zeros(len(games), bool), np.empty_like(games)
    while len(alive):
        out = done[: len(alive)]
        advance(games, keys, choose(alive, games, keys), out)
        finals[alive[out]] = games[out]
        alive, games, keys = alive[~out], games[~out], keys[~out]
    return finals


def self_play(net: Net, side: int, komi: float, seeds: Any, simulations: int, recipe: str) -> dict[str, Any]:
    """A game a seed, side by side: their positions, as FIELDS; moves and winners.

    gumbel: Gumbel's search. zero: AlphaZero's, with noise at the roots, moves drawn by their visits for as
    many turns as the board has rows. katago: Gumbel's; after a game's first move three in four are made with
    a quarter of the simulations and teach nothing (Wu 2019, 3.1: more games, as many positions of worth).
    """
    made, actions = [board.new(side, seed=int(seed)) for seed in seeds], side * side + 1
    sources = [np.random.default_rng(int(seed)) for seed in seeds]
    zero, told = recipe == "zero", list[tuple[Any, ...]]()
    thinker = Thinker(net, side, len(made), simulations, CONSIDERED, PUCT if zero else GUMBEL)

    def choose(alive: Any, games: Any, keys: Any) -> Any:
        chance = np.stack([sources[game].gumbel(size=actions) for game in alive]).astype(np.float32)
        whole, noise, chosen = np.ones(len(alive), bool), None, np.empty(len(alive), np.int32)
        if zero:
            noise = np.stack([sources[game].dirichlet(np.full(actions, EVEN / actions)) for game in alive])
            chance *= games[0, MOVES] < side
        elif recipe == "katago":
            whole = np.array([sources[game].random() < WHOLE for game in alive]) | (games[0, MOVES] == 0)
        for some, count in ((whole, simulations), (~whole, max(2, simulations // 4))):
            if some.any():
                own = noise if noise is None else noise[some]
                thoughts = thinker.think(games[some], keys[some], komi, chance[some], count, own)
                chosen[some] = thoughts.actions
                if some is whole:
                    planes = thoughts.planes.astype(np.float16)
                    told.append((alive[some], games[some, TO_MOVE], planes, thoughts.policy))
        return chosen

    finals = to_the_end(made, choose)
    owner = np.empty((len(finals), side * side), np.int8)
    lead = np.empty(len(finals), np.float32)
    settle(finals, komi, owner, lead)
    which, mover, planes, policy = (np.concatenate(column) for column in zip(*told, strict=True))
    mine = np.where(mover == BLACK, 1, -1).astype(np.float32)
    return {
        "planes": planes, "policy": policy.astype(np.float16), "value": np.sign(lead)[which] * mine,
        "owner": (owner[which] * mine[:, None]).astype(np.int8), "lead": lead[which] * mine / LEAD,
        "moves": finals[:, MOVES].astype(np.int32), "won": np.sign(lead),
    }


def together(net: Net, side: int, komi: float, seeds: Any, *search: Any) -> dict[str, Any]:
    """`self_play` on all threads, a part of the games on each."""
    workers = max(1, min(torch.get_num_threads(), len(seeds) // 8))
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        own = np.array_split(seeds, workers)
        parts = list(pool.map(lambda seeds: self_play(net, side, komi, seeds, *search), own))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
