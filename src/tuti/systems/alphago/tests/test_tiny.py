"""Every stage learns on 5 × 5: each beats what it began as, the whole interval above one half."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuti.measure import binomial_interval
from tuti.run import read_events
from tuti.run.card import load
from tuti.systems.alphago import CARD, board
from tuti.systems.alphago.apv import Search
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.match import finished
from tuti.systems.alphago.net import Net, load_net
from tuti.systems.alphago.planes import ALPHAGO, PLANES, alphago_planes, cell_of, may
from tuti.systems.alphago.players import Choose, Player, by_chance
from tuti.systems.alphago.reinforce import whose
from tuti.systems.alphago.rollout import TABLE, load_rollout, weigh
from tuti.systems.alphago.sampled import forecast, sample
from tuti.systems.alphago.tests.side_by_side import points
from tuti.systems.transformer.tests.small import go

SIDE, KOMI, GAMES = 5, 0.5, 200
pytestmark = pytest.mark.tiny


def beats(won: Any) -> None:
    """The share of points won lies above one half with its whole interval."""
    found = binomial_interval(float(np.sum(won)), len(won))
    assert found.low > 0.5, found


def between(first: Choose, second: Choose, games: int = GAMES) -> list[float]:
    """The first's points, with the colours exchanged after each game, from openings of two random moves."""
    won = list[float]()
    for number in range(games):
        game = Game(SIDE, KOMI)
        for _ in range(2):
            game.play(game.to_move, by_chance(number // 2)(game, 0.0) or board.PASS)
        players = [Player("first", first), Player("second", second)][:: 1 if number % 2 == 0 else -1]
        result = finished(game, *players, 1e9)
        won.append(0.5 if result == "0" else float(players["BW".index(result[0])].name == "first"))
    return won


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages of 2016, one from the other, on 5 × 5."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("match", "sl", "rollout", "rl", "value", "search"):
        config = load(CARD.presets[name]["tiny"])()
        named = {one: folder / path for one, path in vars(config).items() if isinstance(path, Path)}
        run = folder / ("games" if name == "match" else name)
        go(run, CARD.stages[name].load(), replace(config, **named), threads=2)
    return folder


def sampled(first: Net, second: Net) -> Any:
    """The points of the first of two policies that play without search."""
    half, source = GAMES // 2, np.random.default_rng(0)
    won = sample((first, second), whose(GAMES), SIDE, KOMI, source, GAMES).won
    return (np.concatenate((won[:half], -won[half:])) + 1) / 2


def fresh(planes: int) -> Net:
    torch.manual_seed(0)
    return Net(planes, 2, 24).eval().requires_grad_(False)


def test_the_supervised_policy_beats_its_own_start(made: Path) -> None:
    beats(sampled(load_net(made / "sl")[0], fresh(ALPHAGO - 1)))


def test_reinforcement_beats_the_policy_that_it_began_as(made: Path) -> None:
    beats(sampled(load_net(made / "rl")[0], load_net(made / "sl")[0]))


def by_patterns(weights: Any, seed: int) -> Choose:
    """The rollout policy as a player."""
    source = np.random.default_rng(seed)

    def choose(game: Game, seconds: float) -> int:
        logits = np.empty(SIDE**2 + 1, np.float32)
        weigh(*game.arrays, 0, weights, logits)
        return int(cell_of(int((logits + source.gumbel(size=logits.shape)).argmax()), SIDE))

    return choose


def test_the_rollout_policy_beats_its_own_start(made: Path) -> None:
    start = by_patterns(np.zeros(TABLE, np.float32), 1)
    beats(between(by_patterns(load_rollout(made / "rollout"), 0), start))


def by_value(net: Net) -> Choose:
    """The move after which a value network likes one's chances best."""

    def choose(game: Game, seconds: float) -> int:
        allowed = np.empty(SIDE**2 + 1, np.bool_)
        may(*game.arrays, allowed)
        actions = np.flatnonzero(allowed)
        actions = actions[:-1] if len(actions) > 1 else actions
        seen = np.empty((len(actions), ALPHAGO, SIDE**2), np.float32)
        for planes, action in zip(seen, actions, strict=True):
            own, keys = (array.copy() for array in game.arrays)
            board.play(own, keys, cell_of(int(action), SIDE), own[board.TO_MOVE])
            may(own, keys, allowed)
            alphago_planes(own, keys, allowed, planes)
        return int(cell_of(int(actions[forecast(net, seen)[1].argmin()]), SIDE))

    return choose


def test_the_value_network_beats_its_own_start(made: Path) -> None:
    beats(between(by_value(load_net(made / "value")[0]), by_value(fresh(ALPHAGO))))


def test_a_value_network_that_sees_all_positions_remembers_games(made: Path, tmp_path: Path) -> None:
    """As many positions of fewer games: better on those learnt from, and further from that on others."""
    config = replace(load(CARD.presets["value"]["tiny"])(), sl=made / "sl", rl=made / "rl", positions="all")
    run = go(tmp_path / "all", CARD.stages["value"].load(), config, threads=2)
    (one,), (every,) = (read_events(folder, "error") for folder in (made / "value", run.folder))
    assert every["positions"] == one["positions"]
    assert every["known"] < one["known"]
    assert every["held_out"] - every["known"] > one["held_out"] - one["known"]


def test_the_search_beats_its_policy_alone(made: Path) -> None:
    parts = load_net(made / "sl")[0], load_net(made / "value")[0], load_rollout(made / "rollout")
    whole, alone = (Search(parts, SIDE, 60, letters, workers=2) for letters in ("rvp", "p"))
    beats(between(whole, alone, 100))


@pytest.mark.parametrize("recipe", ["gumbel", "zero", "katago"])
def test_self_play_beats_its_own_start(tmp_path: Path, recipe: Any) -> None:
    config = replace(load(CARD.presets["train"]["tiny"])(), recipe=recipe)
    run = go(tmp_path / "run", CARD.stages["train"].load(), config, threads=2)
    net, facts = load_net(run.folder)
    torch.manual_seed(run.options.seed)
    start = Net(PLANES, config.blocks, config.channels).eval().requires_grad_(False)
    assert facts["size"] == config.size
    beats(points(net, start, config.size, config.komi, 120))
