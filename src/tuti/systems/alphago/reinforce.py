"""Stage `rl`: the policy plays its past selves; what won becomes likelier (Silver et al. 2016, Methods)."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from annotated_types import Ge, Gt
from torch import Tensor

from tuti.nn.files import write_safetensors
from tuti.run import Run
from tuti.systems.alphago.learner import Learner
from tuti.systems.alphago.net import KIND, Net, load_net, read_net, save_net
from tuti.systems.alphago.planes import ALPHAGO, SENSIBLE
from tuti.systems.alphago.sampled import Sampled, positions, sample


@dataclass(frozen=True)
class Reinforce:
    """REINFORCE (Williams 1992) against a pool of past selves."""

    policy: tyro.conf.Positional[Path]
    """The policy that it begins as: a run of `tuti alphago sl`"""
    iterations: Annotated[int, Ge(1)] = 100
    """Rounds of games"""
    games: Annotated[int, Ge(2)] = 128
    """Games a round, with either colour in half of them"""
    updates: Annotated[int, Ge(1)] = 1
    """Updates a round; the paper's method has one"""
    batch: Annotated[int, Ge(1)] = 1024
    """Positions an update, drawn from those of the round"""
    rate: Annotated[float, Gt(0)] = 2e-4
    """Peak learning rate"""
    joins: Annotated[int, Ge(1)] = 10
    """Rounds after which the pool gets a new member; the opponent of a round is any member"""


def whose(games: int) -> Any:
    """who(game, move's number): 0 the learner, 1 its opponent; the learner is Black in the first half."""

    def who(game: Any, ply: Any) -> Any:
        return (ply + (game >= games // 2)) % 2

    return who


def outcomes(played: Sampled, config: Reinforce, size: int, source: np.random.Generator) -> dict[str, Tensor]:
    """Positions in which the learner moved; its moves, each times what came of it: ∇ Σ z log p(move)."""
    known = np.argwhere(played.moves >= 0)
    known = known[whose(config.games)(*known.T) == 0]
    game, ply = known[source.integers(len(known), size=config.batch)].T
    planes, actions = positions(played.moves[game], ply, size)
    result = played.won[game] * np.where(game < config.games // 2, 1, -1)
    target = np.eye(size**2 + 1)[actions] * result[:, None]
    allowed = np.pad(planes[:, SENSIBLE], ((0, 0), (0, 1)), constant_values=1)  # and the pass
    batch = {"planes": planes[:, :-1], "policy": target, "allowed": allowed}
    return {name: torch.from_numpy(column).float() for name, column in batch.items()}


def rl(config: Reinforce, run: Run) -> None:
    """Saves the policy, a PolicyValue whose value was not learnt; each round's share of wins is told."""
    c, seed, pool = config, run.options.seed, run.folder / "pool"
    net, facts = load_net(run.load(c.policy, KIND), ALPHAGO - 1)
    size, komi, other = int(facts["size"]), float(facts["komi"]), Net(*net.shape).eval()
    pool.mkdir(exist_ok=True)
    learner = Learner(net.requires_grad_(), run, c.rate, c.iterations, c.updates)
    for iteration in range(learner.start, c.iterations):
        source = np.random.default_rng((seed, iteration))
        if iteration % c.joins == 0:
            write_safetensors(pool / f"{iteration // c.joins:06d}.safetensors", net.state_dict())
        read_net(other, pool / f"{source.integers(iteration // c.joins + 1):06d}.safetensors")
        played = sample((net, other), whose(c.games), size, komi, source, c.games)
        half = c.games // 2
        won = float(np.concatenate((played.won[:half], -played.won[half:])).mean() + 1) / 2
        mean = learner.learn(iteration, size, partial(outcomes, played, c, size, source))
        learner.save(iteration + 1, won=won, moves=float((played.moves >= 0).sum(1).mean()), **mean)
    learner.checkpoints.wait()
    save_net(net.requires_grad_(False), run, size=size, komi=komi)
    shutil.rmtree(pool)
