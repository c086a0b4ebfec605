"""Stage `train`: from nothing, by games against itself (AlphaZero's loop with Gumbel's search)."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from tuti.nn.files import write_safetensors
from tuti.run import Run, UserError
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.selfplay import FIELDS, together
from tuti.train import AdamW, Checkpoints, Optimiser, Trapezoid, load_checkpoint

OWNER, MARGIN = 1.0, 0.1
"""Weights of the foretold owners and lead beside policy and value (Wu 2019, 3.4)"""


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


def turned(batch: dict[str, Tensor], side: int, symmetry: int) -> dict[str, Tensor]:
    """A batch turned and mirrored in one of the board's eight ways."""

    def turn(x: Tensor) -> Tensor:
        x = torch.rot90(x.view(*x.shape[:-1], side, side), symmetry % 4, (-2, -1))
        return (x.flip(-1) if symmetry >= 4 else x).flatten(-2)

    policy = torch.cat((turn(batch["policy"][:, :-1]), batch["policy"][:, -1:]), 1)
    return batch | {"planes": turn(batch["planes"]), "policy": policy, "owner": turn(batch["owner"])}


def losses(net: Net, batch: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Cross-entropy in nats of the policy; mean squares of value and owners; Huber's loss of the lead."""
    found = net(batch["planes"].unflatten(-1, (side, side)))
    return {
        "policy": -(batch["policy"] * found.policy.log_softmax(-1)).sum(-1).mean(),
        "value": F.mse_loss(found.value, batch["value"]),
        "owner": OWNER * F.mse_loss(found.owner.flatten(1), batch["owner"]),
        "lead": MARGIN * F.smooth_l1_loss(found.lead, batch["lead"]),
    }


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


def train(config: Train, run: Run) -> None:
    """Saves the network, a PolicyValue; every iteration is a checkpoint."""
    c, seed = config, run.options.seed
    torch.manual_seed(seed)
    net = Net(PLANES, c.blocks, c.channels)
    optimiser, checkpoints = Optimiser(net, AdamW(lr=c.rate)), Checkpoints(run)
    schedule, start = Trapezoid(c.iterations * c.updates), 0
    if (found := run.resume()) is not None:
        start, state = load_checkpoint(found)
        optimiser.restore(state)
    for iteration in range(start, c.iterations):
        source = np.random.default_rng((seed, iteration))
        seeds = source.integers(2**62, size=c.games)
        games = together(net.eval(), c.size, c.komi, seeds, c.simulations, c.considered)
        recent = keep(run.folder / "replay", iteration, c.window, games)
        net.train()
        mean: dict[str, float] = {}
        for update in range(c.updates):
            rows = torch.from_numpy(source.integers(len(recent["value"]), size=c.batch))
            batch = {name: column[rows].float() for name, column in recent.items()}
            parts = losses(net, turned(batch, c.size, int(source.integers(8))), c.size)
            sum(parts.values(), torch.zeros(())).backward()
            optimiser.step(schedule(iteration * c.updates + update))
            mean = {name: mean.get(name, 0.0) + value.item() / c.updates for name, value in parts.items()}
        if not np.isfinite(list(mean.values())).all():
            raise UserError(f"the loss became {mean} in iteration {iteration + 1}", hint="lower --rate")
        moves, black = float(games["moves"].mean()), float((games["won"] > 0).mean())
        run.log("iteration", step=iteration + 1, steps=c.iterations, moves=moves, black=black, **mean)
        told = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
        told = f"{moves:.0f} moves, Black wins {black:.0%}  {told}"
        run.show(f"iteration {iteration + 1}/{c.iterations}  {told}", passing=True)
        checkpoints.save(iteration + 1, optimiser.state())
    checkpoints.wait()
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
