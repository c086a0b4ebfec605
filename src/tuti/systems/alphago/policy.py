"""Stage `sl`: the supervised policy, which moves as experts do (Silver et al. 2016, Methods)."""

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from tuti.measure import Interval, binomial_interval
from tuti.run import Run
from tuti.systems.alphago.learner import Learner, Learning, turned
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import ALPHAGO
from tuti.systems.alphago.records import Records, read_records, split
from tuti.systems.alphago.sampled import forecast, positions

MEASURED = 4096  # held-out positions that are looked at, at most


@dataclass(frozen=True)
class Policy(Learning):
    """Learns from records to move as their players did."""

    records: tyro.conf.Positional[Path]
    """SGF games: of a run of `tuti alphago match`, or any folder"""
    size: Annotated[int, Ge(2), Le(19)] = 9
    """Points a side"""
    rate: Annotated[float, Gt(0)] = field(default=3e-3, kw_only=True)
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the games, the last by name, that only measure"""


def experts(records: Records, known: Any, config: Policy, source: np.random.Generator) -> dict[str, Tensor]:
    """A batch of positions and of the moves that were made there, in one of the board's eight ways."""
    game, ply = known[source.integers(len(known), size=config.batch)].T
    planes, actions = positions(records.moves[game], ply, config.size)
    target = np.eye(config.size**2 + 1, dtype=np.float32)[actions]
    batch = {"planes": torch.from_numpy(planes)[:, : ALPHAGO - 1], "policy": torch.from_numpy(target)}
    return turned(batch, config.size, int(source.integers(8)))


def accuracy(net: Net, records: Records, unknown: Any) -> tuple[Interval, float]:
    """How often a policy finds the moves that were made; milliseconds of one, position by position."""
    game, ply = unknown[:MEASURED].T
    seen, made = positions(records.moves[game], ply, records.size)
    hits, began = int((forecast(net, seen)[0].argmax(1) == made).sum()), time.monotonic()
    for position in seen[:100, None]:
        forecast(net, position)
    return binomial_interval(hits, len(seen)), (time.monotonic() - began) / min(100, len(seen)) * 1e3


def sl(config: Policy, run: Run) -> None:
    """Saves the policy, a PolicyValue whose value was not learnt; says how often it finds held-out moves."""
    c, seed = config, run.options.seed
    records = read_records(c.records, c.size)
    known, unknown = split(records, c.held_out)
    torch.manual_seed(seed)
    net = Net(ALPHAGO - 1, c.blocks, c.channels)
    learner = Learner(net, run, c.rate, c.iterations, c.updates)
    for iteration in range(learner.start, c.iterations):
        source = np.random.default_rng((seed, iteration))
        mean = learner.learn(iteration, c.size, partial(experts, records, known, c, source))
        learner.save(iteration + 1, **mean)
    learner.checkpoints.wait()
    save_net(net.requires_grad_(False), run, size=c.size, komi=records.komi)
    found, took = accuracy(net, records, unknown)
    told = {"share": found.value, "low": found.low, "high": found.high, "moves": found.n, "ms": took}
    run.log("accuracy", **told)
    run.show("finds {share:.1%} [{low:.1%}, {high:.1%}] of {moves} moves, {ms:.2f} ms each".format(**told))
