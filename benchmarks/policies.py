"""How often each policy moves as experts did in games held out, and what a move of its costs.

    python benchmarks/policies.py GAMES SL RL ROLLOUT      # runs; the games are those that `sl` held out

The paper: 57.0 % and 3 ms (supervised), 24.2 % and 2 µs (rollout); the reinforced policy won 80 % of games
against the supervised one, and how often it finds moves is not said. One thread, position by position;
intervals are Wilson's of 95 %. The rollout policy's time is that of a move of a playout. The reinforced
policy plays the supervised one, too, both without search, moves drawn by their odds.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuti.measure import Interval, binomial_interval
from tuti.run import read_events
from tuti.run.directory import read_config
from tuti.systems.alphago import board
from tuti.systems.alphago.net import load_net
from tuti.systems.alphago.policy import MEASURED, accuracy
from tuti.systems.alphago.records import Records, read_records, split
from tuti.systems.alphago.reinforce import whose
from tuti.systems.alphago.rollout import learn, load_rollout
from tuti.systems.alphago.sampled import sample

GAMES = 1000
"""Of the reinforced policy against the supervised one"""


def of_patterns(folder: Path, records: Records, unknown: Any) -> tuple[Interval, float]:
    """As `accuracy` tells of a network."""
    weights, still = load_rollout(folder).copy(), np.float32(0)
    _, hits, _, count = learn(*board.new(records.size), records.moves, unknown, weights, still)
    return binomial_interval(hits, count), read_events(folder, "held out")[-1]["micros"] / 1e3


def against(first: Path, second: Path) -> Interval:
    """The points of the first of two policies, which play without search, as they were learnt."""
    (one, facts), (other, _) = (load_net(folder) for folder in (first, second))
    half, source = GAMES // 2, np.random.default_rng(0)
    won = sample((one, other), whose(GAMES), facts["size"], facts["komi"], source, GAMES).won
    return binomial_interval(float((np.concatenate((won[:half], -won[half:])) + 1).sum()) / 2, GAMES)


def main() -> None:
    games, *runs = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    about = {run: read_config(run) for run in runs}
    first = next(told["config"] for told in about.values() if told["stage"] == "sl")
    records = read_records(games, first["size"])
    unknown = split(records, first["held_out"])[1][:MEASURED]
    print(f"{len(unknown):,} positions of {len(set(unknown[:, 0]))} games that were held out")
    by_stage = {told["stage"]: run for run, told in about.items()}
    for run, told in about.items():
        if told["stage"] == "rollout":
            found, millis = of_patterns(run, records, unknown)
        else:
            found, millis = accuracy(load_net(run)[0], records, unknown)
        print(f"| {run.name} | {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] | {millis:.4g} ms |")
    if {"sl", "rl"} <= set(by_stage):
        found = against(by_stage["rl"], by_stage["sl"])
        print(f"rl won {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] of {GAMES} games against sl")


if __name__ == "__main__":
    main()
