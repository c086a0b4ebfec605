"""Stage `value`: who wins from a position, learnt from one position a game (Silver et al. 2016, Methods).

Positions of one game are nearly alike and share their result: a network that learns from all of them
remembers games instead of judging positions. So each game gives one, after a random move that makes it new.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from annotated_types import Ge
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from tuti.nn.files import write_safetensors
from tuti.run import Run, UserError
from tuti.systems.alphago.learner import Learner, Learning, turned
from tuti.systems.alphago.net import KIND, Net, load_net, save_net
from tuti.systems.alphago.planes import ALPHAGO
from tuti.systems.alphago.sampled import forecast, positions, sample

TOGETHER = 256
"""Games that are played side by side, and kept in one file"""


@dataclass(frozen=True)
class Value(Learning):
    """Games of the policies, and a network that foretells their results."""

    sl: tyro.conf.Positional[Path]
    """The policy of each game's beginning: a run of `tuti alphago sl`"""
    rl: tyro.conf.Positional[Path]
    """The policy of its rest: a run of `tuti alphago rl`"""
    games: Annotated[int, Ge(TOGETHER)] = 8192
    """Games that are played, in parts of 256"""
    positions: Literal["one", "all"] = "one"
    """Of each game; "all": of so few games that there are as many in all, as the paper did first"""
    updates: Annotated[int, Ge(1)] = field(default=50, kw_only=True)


def played(config: Value, run: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The games: moves, who won, and the number of the random move; what was played before a kill is read."""
    folder = run.folder / "games"
    folder.mkdir(exist_ok=True)
    found = [load_net(run.load(path, KIND), ALPHAGO - 1) for path in (config.sl, config.rl)]
    (first, facts), (then, other) = found
    if (facts["size"], facts["komi"]) != (other["size"], other["komi"]):
        raise UserError(f"{config.sl} and {config.rl} know other boards or komi", hint="learn rl from sl")
    size, parts = int(facts["size"]), list[dict[str, Tensor]]()
    for number in range(-(-config.games // TOGETHER)):
        path = folder / f"{number:06d}.safetensors"
        if not path.exists():
            source = np.random.default_rng((run.options.seed, number))
            turn = source.integers(size * size * 5 // 4, size=TOGETHER)  # the paper's 450 for 361 points

            def who(game: Any, ply: int, turn: Any = turn) -> Any:
                return np.where(ply < turn[game], 0, np.where(ply == turn[game], 2, 1))

            moves, won = sample((first, then), who, size, facts["komi"], source, TOGETHER)
            whole = np.full((TOGETHER, 4 * size * size + 2), -1, np.int16)
            whole[:, : moves.shape[1]] = moves
            made = {"moves": whole, "won": won, "turn": turn}
            write_safetensors(path, {name: torch.from_numpy(column) for name, column in made.items()})
            run.show(f"{(number + 1) * TOGETHER} of {config.games} games", passing=True)
        parts.append(load_file(path))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, facts


def chosen(games: dict[str, Any], config: Value) -> tuple[Any, Any]:
    """(game, moves before) of the positions to learn from, and of those held out: one of each tenth game."""
    moves, ply = games["moves"], games["turn"] + 1
    one = np.stack((np.arange(len(ply)), ply), 1)[moves[np.arange(len(ply)), ply - 1] >= 0]
    held = one[:, 0] % 10 == 0
    known = one[~held]
    if config.positions == "all":
        every = np.argwhere(moves >= 0)
        known = every[np.isin(every[:, 0], known[:, 0])][: len(known)]
    return known, one[held]


def judged(games: dict[str, Any], known: Any, side: int, source: Any, batch: int) -> dict[str, Tensor]:
    """A batch of positions and of what their game's result was for whoever is to move."""
    game, ply = known[source.integers(len(known), size=batch)].T
    target = games["won"][game] * np.where(ply % 2 == 0, 1, -1).astype(np.float32)
    planes, _ = positions(games["moves"][game], ply, side)
    return {"planes": torch.from_numpy(planes), "value": torch.from_numpy(target)}


def value(config: Value, run: Run) -> None:
    """Saves the network, a PolicyValue whose policy was not learnt; tells its error on positions held out."""
    c, seed = config, run.options.seed
    tensors, facts = played(c, run)
    games, size = {name: column.numpy() for name, column in tensors.items()}, int(facts["size"])
    known, unknown = chosen(games, c)
    torch.manual_seed(seed)
    net = Net(ALPHAGO, c.blocks, c.channels)
    learner = Learner(net, run, c.rate, c.iterations, c.updates)
    for iteration in range(learner.start, c.iterations):
        source = np.random.default_rng((seed, iteration))

        def draw(source: Any = source) -> dict[str, Tensor]:
            return turned(judged(games, known, size, source, c.batch), size, int(source.integers(8)))

        learner.save(iteration + 1, **learner.learn(iteration, size, draw))
    learner.checkpoints.wait()
    save_net(net.requires_grad_(False), run, size=size, komi=facts["komi"])
    told: dict[str, float] = {}
    for name, rows in (("known", known), ("held_out", unknown)):
        batch = judged(games, rows, size, np.random.default_rng(seed), 4096)
        error = (forecast(net, batch["planes"].numpy())[1] - batch["value"].numpy()) ** 2
        told[name] = float(error.mean())
    run.log("error", positions=len(known), **told)
    run.show("mean square: {known:.3f} on positions learnt from, {held_out:.3f} on others".format(**told))
    shutil.rmtree(run.folder / "games")
