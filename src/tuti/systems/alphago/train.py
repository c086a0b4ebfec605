"""Stage `train`: from nothing, by games against itself (AlphaZero's loop with Gumbel's search)."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from tuti.nn.files import write_safetensors
from tuti.run import Run
from tuti.systems.alphago.learner import Learner, turned
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.selfplay import FIELDS, together


@dataclass(frozen=True)
class Train:
    """Plays against itself, learns from the games, again and again."""

    size: Annotated[int, Ge(2), Le(19)] = 9
    """Points a side"""
    komi: float = 7.0
    """Points that White gets"""
    blocks: Annotated[int, Ge(1)] = 4
    """Residual blocks"""
    channels: Annotated[int, Ge(4)] = 32
    """Channels of each"""
    games: Annotated[int, Ge(1)] = 128
    """Games an iteration, played side by side"""
    iterations: Annotated[int, Ge(1)] = 100
    """Rounds of games and updates"""
    simulations: Annotated[int, Ge(2)] = 16
    """Simulations a move"""
    considered: Annotated[int, Ge(1)] = 8
    """First moves among which they are shared out"""
    window: Annotated[int, Ge(1)] = 20
    """Iterations whose games are learnt from"""
    updates: Annotated[int, Ge(1)] = 60
    """Updates an iteration"""
    batch: Annotated[int, Ge(1)] = 256
    """Positions an update"""
    rate: Annotated[float, Gt(0)] = 2e-3
    """Peak learning rate"""


def keep(folder: Path, iteration: int, window: int, games: dict[str, Any]) -> dict[str, Tensor]:
    """Puts an iteration's games into a file of their own, so that none counts twice; gives all recent ones.

    One file more than the window is kept: a run that was killed may begin an iteration earlier.
    """
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:06d}.safetensors" for number in range(iteration + 1)]
    write_safetensors(paths[-1], {name: torch.from_numpy(games[name]) for name in FIELDS})
    for path in paths[: -window - 1]:
        path.unlink(missing_ok=True)
    parts = [load_file(path) for path in paths[-window:]]
    return {name: torch.cat([part[name] for part in parts]) for name in FIELDS}


def some(recent: dict[str, Tensor], config: Train, source: np.random.Generator) -> dict[str, Tensor]:
    """A batch of positions, in one of the board's eight ways."""
    rows = torch.from_numpy(source.integers(len(recent["value"]), size=config.batch))
    batch = {name: column[rows].float() for name, column in recent.items()}
    return turned(batch, config.size, int(source.integers(8)))


def train(config: Train, run: Run) -> None:
    """Saves the network, a PolicyValue; every iteration is a checkpoint."""
    c, seed = config, run.options.seed
    torch.manual_seed(seed)
    net = Net(PLANES, c.blocks, c.channels)
    learner = Learner(net, run, c.rate, c.iterations, c.updates)
    for iteration in range(learner.start, c.iterations):
        source = np.random.default_rng((seed, iteration))
        seeds = source.integers(2**62, size=c.games)
        games = together(net.eval(), c.size, c.komi, seeds, c.simulations, c.considered)
        recent = keep(run.folder / "replay", iteration, c.window, games)
        mean = learner.learn(iteration, c.size, partial(some, recent, c, source))
        moves, black = float(games["moves"].mean()), float((games["won"] > 0).mean())
        learner.save(iteration + 1, moves=moves, black=black, **mean)
    learner.checkpoints.wait()
    save_net(net, run, size=c.size, komi=c.komi)
    shutil.rmtree(run.folder / "replay")


def tiny() -> Train:
    """From nothing on a board of 5 × 5, within a minute on two cores: it beats its own start."""
    return Train(
        size=5, komi=0.5, blocks=2, channels=24, games=64, iterations=8, updates=30, batch=128, window=6
    )


def small() -> Train:
    """A board of 7 × 7, in half an hour on two cores."""
    return Train(size=7, blocks=4, channels=32, games=128, iterations=100, updates=60, batch=256, window=12)
