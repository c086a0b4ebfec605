"""Stage `train`: from nothing, by games against itself (AlphaZero's loop), or as in 2016 (`recipe.py`)."""

import shutil
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from tuti.nn.files import write_safetensors
from tuti.run import Run
from tuti.systems.alphago.learner import Learner, Learning, seconds_an_update, turned
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.recipe import recipe
from tuti.systems.alphago.selfplay import FIELDS, together


@dataclass(frozen=True)
class Train(Learning):
    """Plays against itself, learns from the games, again and again."""

    recipe: Literal["gumbel", "zero", "katago", "2016"] = "gumbel"
    """Gumbel's search, AlphaZero's, or Gumbel's with playout caps; 2016: all stages of the first AlphaGo"""
    size: Annotated[int, Ge(2), Le(19)] = 9
    """Points a side"""
    komi: float = 7.0
    """Points that White gets"""
    minutes: Annotated[float, Ge(0)] = 0.0
    """Plans as many iterations as fit, after measuring this machine (0: --iterations; 2016: 45)"""
    games: Annotated[int, Ge(1)] = 128
    """Games an iteration, played side by side"""
    iterations: Annotated[int, Ge(1)] = field(default=100, kw_only=True)
    simulations: Annotated[int, Ge(2)] = 16
    """Simulations a move"""
    updates: Annotated[int, Ge(1)] = field(default=60, kw_only=True)


WINDOW, AIM = 20, 0.95
"""Iterations whose games are learnt from; the share of the minutes that is planned"""


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


def planned(config: Train, run: Run) -> Train:
    """The config with as many iterations as fit the minutes, from the time of some games and updates here.

    Games of a network that has learnt a little have about as many moves as the board has points.
    """
    torch.manual_seed(run.options.seed)
    net, seeds = Net(PLANES, config.blocks, config.channels).eval(), np.arange(min(64, config.games))
    search = net, config.size, config.komi, seeds
    together(*search, 2, config.recipe)  # compiles what is compiled once
    began = time.monotonic()
    games = together(*search, config.simulations, config.recipe)
    move = (time.monotonic() - began) / games["moves"].sum()
    recent = {name: torch.from_numpy(games[name]) for name in FIELDS}
    update = seconds_an_update(net, some(recent, config, np.random.default_rng(0)), config.size)
    seconds = config.games * config.size**2 * move + config.updates * update
    plan = replace(config, minutes=0.0, iterations=max(1, int(AIM * 60 * config.minutes / seconds)))
    run.log("plan", minutes=config.minutes, iterations=plan.iterations, seconds_each=seconds)
    run.show(f"{plan.iterations} iterations of some {seconds:.1f} s fit {config.minutes:g} minutes")
    run.write_config("alphago", "train", plan)
    return plan


def train(config: Train, run: Run) -> None:
    """Saves the network, a PolicyValue; every iteration is a checkpoint."""
    if config.recipe == "2016":
        return recipe(run, config.size, config.komi, config.minutes or 45.0, config)
    c, seed = planned(config, run) if config.minutes else config, run.options.seed
    torch.manual_seed(seed)
    net = Net(PLANES, c.blocks, c.channels)
    learner = Learner(net, run, c.rate, c.iterations, c.updates)
    for iteration in range(learner.start, c.iterations):
        source = np.random.default_rng((seed, iteration))
        seeds = source.integers(2**62, size=c.games)
        games = together(net.eval(), c.size, c.komi, seeds, c.simulations, c.recipe)
        recent = keep(run.folder / "replay", iteration, WINDOW, games)
        mean = learner.learn(iteration, c.size, partial(some, recent, c, source))
        moves, black = float(games["moves"].mean()), float((games["won"] > 0).mean())
        learner.save(iteration + 1, moves=moves, black=black, **mean)
    learner.checkpoints.wait()
    save_net(net, run, size=c.size, komi=c.komi)
    shutil.rmtree(run.folder / "replay")
