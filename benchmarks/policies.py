"""How often each policy moves as experts did in games held out, and what a move of its costs.

    python benchmarks/policies.py GAMES SL RL ROLLOUT      # runs; the games are those that `sl` held out

The paper: 57.0 % and 3 ms (supervised), 24.2 % and 2 µs (rollout); the reinforced policy won 80 % of games
against the supervised one, and how often it finds moves is not said. One thread, position by position;
intervals are Wilson's of 95 %. The rollout policy's time is that of a move of a playout.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuti.measure import binomial_interval
from tuti.run import UserError, read_events
from tuti.run.directory import read_config
from tuti.systems.alphago import board
from tuti.systems.alphago.net import load_net
from tuti.systems.alphago.policy import MEASURED
from tuti.systems.alphago.records import Records, read_records, split
from tuti.systems.alphago.rollout import learn, load_rollout
from tuti.systems.alphago.sampled import forecast, positions

ALONE = 200
"""Positions that are timed one by one"""


def of_network(folder: Path, records: Records, unknown: Any) -> tuple[int, int, float]:
    """Hits, positions, milliseconds a move."""
    net, size = load_net(folder)[0], records.size
    seen, made = positions(records.moves[unknown[:, 0]], unknown[:, 1], size)
    hits = int((forecast(net, seen)[0].argmax(1) == made).sum())
    began = time.monotonic()
    for position in seen[:ALONE, None]:
        forecast(net, position)
    return hits, len(seen), (time.monotonic() - began) / min(ALONE, len(seen)) * 1e3


def of_patterns(folder: Path, records: Records, unknown: Any) -> tuple[int, int, float]:
    """Hits, positions, milliseconds a move."""
    weights, still = load_rollout(folder).copy(), np.float32(0)
    _, hits, _, count = learn(*board.new(records.size), records.moves, unknown, weights, still)
    return int(hits), int(count), read_events(folder, "held out")[-1]["micros"] / 1e3


def main() -> None:
    games, *runs = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    about = {run: read_config(run) for run in runs}
    first = next(told["config"] for told in about.values() if told["stage"] == "sl")
    records = read_records(games, first["size"])
    unknown = split(records, first["held_out"])[1][:MEASURED]
    print(f"{len(unknown):,} positions of {len(set(unknown[:, 0]))} games that were held out")
    for run, told in about.items():
        measure = of_patterns if told["stage"] == "rollout" else of_network
        try:
            hits, count, millis = measure(run, records, unknown)
        except UserError as error:
            sys.exit(f"{run}: {error}")
        found = binomial_interval(hits, count)
        print(f"| {run.name} | {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] | {millis:.4g} ms |")


if __name__ == "__main__":
    main()
