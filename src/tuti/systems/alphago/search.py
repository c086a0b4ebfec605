"""Stage `search`: AlphaGo put together of its three parts, which then plays as one (Silver et al. 2016)."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from tuti.run import Run, UserError, find_artifact, read_json
from tuti.systems.alphago.net import KIND as NET
from tuti.systems.alphago.net import load_net
from tuti.systems.alphago.rollout import KIND as ROLLOUT
from tuti.systems.alphago.rollout import load_rollout

KIND = "AlphaGo"


@dataclass(frozen=True)
class Parts:
    """A policy, a rollout policy and a value network make a player; `RUN@rp` plays without the last."""

    policy: tyro.conf.Positional[Path]
    """A run of `tuti alphago sl` (the paper's choice) or `rl`"""
    rollout: tyro.conf.Positional[Path]
    """A run of `tuti alphago rollout`"""
    value: tyro.conf.Positional[Path]
    """A run of `tuti alphago value`"""


def search(config: Parts, run: Run) -> None:
    """Saves copies of the parts as one artifact AlphaGo, if they were learnt for the same board."""
    kinds = {"policy": NET, "rollout": ROLLOUT, "value": NET}
    found = {name: run.load(getattr(config, name), kind) for name, kind in kinds.items()}
    facts = {name: read_json(folder / "tuti.json") for name, folder in found.items()}
    sizes = {name: about.get("size") for name, about in facts.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(f"the parts know boards of {sizes}", hint="learn all of them with one --size")
    with run.save("player", KIND, size=sizes["policy"], komi=facts["policy"]["komi"]) as folder:
        for name, source in found.items():
            shutil.copytree(source, folder / name)


def load_alphago(path: Path) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    """(policy, value network, rollout policy's weights) of a run or its artifact, and its facts."""
    folder = find_artifact(path, KIND)
    (policy, _), (value, _) = load_net(folder / "policy"), load_net(folder / "value")
    weights: Any = load_rollout(folder / "rollout")
    return (policy, value, weights), read_json(folder / "tuti.json")
