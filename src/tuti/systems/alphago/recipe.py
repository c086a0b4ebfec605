"""All five stages of 2016 as one run that fits some minutes: `tuti alphago train --recipe 2016`."""

import json
import time
from contextlib import closing
from dataclasses import replace

import torch

from tuti.run import Chain, Run, UserError, atomic_write, read_json
from tuti.systems.alphago.apv import Parts, search
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.learner import Learning, seconds_an_update
from tuti.systems.alphago.match import Match, duel, finished
from tuti.systems.alphago.net import Net
from tuti.systems.alphago.planes import ALPHAGO
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.policy import Policy, sl
from tuti.systems.alphago.reinforce import Reinforce, rl
from tuti.systems.alphago.rollout import Rollout, rollout
from tuti.systems.alphago.value import TOGETHER, Value, value

EXPERTS, BATCH = "gnugo:1-8", 256
SHARES = {"games": 0.48, "policy": 0.12, "rounds": 0.07, "value": 0.13, "played": 0.14}
"""Of the time: experts' games, the policy's updates, reinforcement, the value network's updates and games"""
UPDATES = {"policy": 1.0, "rounds": 16.0, "value": 1.0, "played": 0.08}
"""What one of each costs in updates of the policy (docs/log/2026-11-28-go.md)"""


def planned(size: int, komi: float, minutes: float, net: Learning, together: int) -> dict[str, int]:
    """How many of each fit the minutes, from the time of a game of the experts and of an update here."""
    for expert in ("random", EXPERTS):  # the first compiles what is compiled once
        began = time.monotonic()
        with closing(open_player(expert, size, 2, 3)) as player:
            if (result := finished(Game(size, komi), player, player, 1.0)).startswith("Void"):
                raise UserError(f"the experts do not play: {result}", hint="tuti alphago match tells more")
    took = {"games": (time.monotonic() - began) / together}
    batch = {"planes": torch.rand(BATCH, ALPHAGO, size**2), "policy": torch.rand(BATCH, size**2 + 1)}
    update = 1.25 * seconds_an_update(Net(ALPHAGO, net.blocks, net.channels), batch, size)  # and drawing them
    took |= {name: update * updates for name, updates in UPDATES.items()}
    return {name: max(1, int(60 * minutes * share / took[name])) for name, share in SHARES.items()}


def recipe(run: Run, size: int, komi: float, minutes: float, net: Learning) -> None:
    """Saves an AlphaGo. The plan is made once; a run that was ended goes on with the stage that it was in."""
    path = run.path("plan.json")
    if not path.exists():
        run.show("measuring this machine for some seconds …")
        atomic_write(path, json.dumps(planned(size, komi, minutes, net, run.options.threads or 2)))
    plan, chain = read_json(path), Chain(run)
    run.log("plan", minutes=minutes, **plan)
    lengths = tuple(range(min(5, size) + 1))  # of openings: a policy is to know the empty board, too
    match = Match(EXPERTS, EXPERTS, max(20, plan["games"]), size, komi, opening=lengths)
    games = chain.step("games", "alphago", duel, match)
    policy = Policy(games, size, blocks=net.blocks, channels=net.channels)
    first = chain.step("sl", "alphago", sl, replace(policy, updates=1 + plan["policy"] // policy.iterations))
    patterns = chain.step("rollout", "alphago", rollout, Rollout(games, size))
    then = chain.step("rl", "alphago", rl, Reinforce(first, plan["rounds"]))
    judge = Value(first, then, max(TOGETHER, plan["played"]), blocks=net.blocks, channels=net.channels)
    judge = replace(judge, updates=1 + plan["value"] // judge.iterations)
    parts = Parts(first, patterns, chain.step("value", "alphago", value, judge))
    chain.promote("player", chain.step("search", "alphago", search, parts) / "artifacts" / "player")
