"""The stages of 2016 on small boards: what each learns from, what it must not see, and that it resumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuti.run import Run, RunOptions, UserError, execute, read_events
from tuti.run.files import hash_file
from tuti.systems.alphago import board, players
from tuti.systems.alphago.apv import Parts, search
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.learner import Learner, losses
from tuti.systems.alphago.match import Match, duel, finished
from tuti.systems.alphago.net import Forecast, Net, load_net, save_net
from tuti.systems.alphago.planes import ALPHAGO, SENSIBLE, action_of, alphago_planes, cell_of, may
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.policy import Policy, sl
from tuti.systems.alphago.records import read_records, split
from tuti.systems.alphago.reinforce import Reinforce, outcomes, rl, whose
from tuti.systems.alphago.rollout import Rollout, rollout
from tuti.systems.alphago.sampled import Sampled, forecast, positions, sample
from tuti.systems.alphago.value import Value, chosen, judged, value
from tuti.systems.transformer.tests.small import go

SIDE, KOMI = 3, 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records on 3 × 3 and the stages learnt from them."""
    folder = tmp_path_factory.mktemp("stages")
    config = Match("playouts:200", "playouts:200", games=24, size=SIDE, komi=KOMI, opening=(2,))
    go(folder / "games", duel, config)
    go(folder / "sl", sl, sl_config(folder))
    go(folder / "rollout", rollout, Rollout(folder / "games", SIDE, epochs=2, held_out=0.25))
    go(folder / "rl", rl, rl_config(folder))
    return folder


def sl_config(folder: Path) -> Policy:
    return Policy(
        folder / "games", SIDE, blocks=1, channels=16, iterations=4, updates=20, batch=64, held_out=0.25
    )


def rl_config(folder: Path) -> Reinforce:
    return Reinforce(folder / "sl", iterations=4, games=16, batch=64, joins=2)


def value_config(folder: Path) -> Value:
    return Value(folder / "sl", folder / "rl", games=512, blocks=1, channels=8, iterations=3, updates=10)


class Rigid:
    """A network that prefers one action."""

    shape = (ALPHAGO, 0, 0)

    def __init__(self, action: int):
        self.action = action

    def __call__(self, planes: Any) -> Any:
        policy = torch.zeros(len(planes), planes.shape[-1] ** 2 + 1)
        policy[:, self.action] = 50.0
        zero = torch.zeros(len(planes))
        return Forecast(policy, zero, zero, zero)


def test_positions_of_records_are_those_of_the_games(made: Path) -> None:
    records = read_records(made / "games", SIDE)
    known = np.argwhere(records.moves >= 0)
    planes, actions = positions(records.moves[known[:, 0]], known[:, 1], SIDE)
    for (row, ply), seen, action in list(zip(known, planes, actions, strict=True))[::7]:
        assert cell_of(action, SIDE) == records.moves[row, ply]
        game = Game(SIDE, KOMI)
        for cell in records.moves[row, :ply]:
            game.play(game.to_move, int(cell))
        allowed, want = np.empty(SIDE**2 + 1, np.bool_), np.empty((ALPHAGO, SIDE**2), np.float32)
        may(*game.arrays, allowed)
        alphago_planes(*game.arrays, allowed, want)
        assert (seen == want).all()


def test_actions_are_numbered_row_by_row_with_the_pass_last() -> None:
    cells = [*board.points(5), board.PASS]
    assert [action_of(cell, 5) for cell in cells] == list(range(26))
    assert [cell_of(action, 5) for action in range(26)] == cells
    moves = np.array([[cells[3], board.PASS], [cells[7], -1]], np.int16)
    assert positions(moves, np.array([1, 1]), 5)[1].tolist() == [25, -1]
    assert positions(moves, np.array([2, 0]), 5)[1].tolist() == [-1, 7]


def test_whoever_is_named_moves() -> None:
    """Two policies that love a point each, and chance: every ply is played by whom `who` says."""
    nets: Any = (Rigid(0), Rigid(8))
    played = sample(nets, lambda game, ply: (ply + game) % 2, 3, 0.5, np.random.default_rng(0), 6)
    first, second = board.points(3)[[0, 8]]
    for row, moves in enumerate(played.moves):
        assert moves[0] == (first, second)[row % 2] and moves[1] == (second, first)[row % 2]
    chance = sample(nets, lambda game, ply: np.full(len(game), 2), 3, 0.5, np.random.default_rng(0), 200)
    counts = np.bincount([action_of(cell, 3) for cell in chance.moves[:, 0]], minlength=10)
    assert counts[9] == 0 and counts[:9].min() > 5  # anything but the pass
    for moves, won in zip(chance.moves, chance.won, strict=True):
        game = Game(3, 0.5)
        for cell in moves[moves >= 0]:
            game.play(game.to_move, int(cell))  # legal
        assert game.over and np.sign(game.lead()) == won


def test_reinforce_follows_the_gradient_of_what_came_of_each_move() -> None:
    """Σ z ∇ log p(move), by hand, of the learner's moves alone; p is among those it drew from."""
    config = Reinforce(Path(), games=2, batch=400)
    p = board.points(3)
    moves = np.array([[p[0], p[8], p[2], -1], [p[4], p[1], -1, -1]], np.int16)
    played = Sampled(moves, np.array([1.0, 1.0], np.float32))
    batch = outcomes(played, config, 3, np.random.default_rng(1))
    # Game 0: the learner is Black and won: points 0 and 2. Game 1: it is White and lost: point 1.
    found = batch["policy"].sum(0)
    assert found[0] > 0 and found[2] > 0 and found[1] < 0 and (found[[3, 4, 5, 6, 7, 8, 9]] == 0).all()
    assert (batch["policy"].abs().sum(1) == 1).all() and abs(found[0] + found[2] - found[1] - 400) < 1e-4
    torch.manual_seed(0)
    net = Net(ALPHAGO - 1, 1, 8)
    losses(net, batch, 3)["policy"].backward()
    got = net.points.bias.grad
    net.zero_grad()
    logits = net(batch["planes"].unflatten(-1, (3, 3))).policy
    total = torch.zeros(())
    for row, target, drawn in zip(logits, batch["policy"], batch["allowed"] > 0, strict=True):
        action = int(target.abs().argmax())
        assert drawn[action] and drawn[9]  # the pass
        total = total + target[action] * (row[action] - row[drawn].logsumexp(0))
    assert batch["allowed"].sum(1).unique().tolist() == [8.0, 9.0, 10.0]  # no points with stones
    (-total / 400).backward()
    assert got is not None and net.points.bias.grad is not None
    assert torch.allclose(got, net.points.bias.grad, atol=1e-6)


def test_the_learner_has_either_colour_in_half_of_the_games() -> None:
    who = whose(4)
    assert [int(who(np.array([0]), 0)[0]), int(who(np.array([3]), 0)[0])] == [0, 1]
    assert (who(np.arange(4), 1) == [1, 1, 0, 0]).all()


def test_a_game_gives_one_position_and_none_is_on_both_sides() -> None:
    moves = np.full((40, 12), 9, np.int16)
    for row, end in enumerate(np.random.default_rng(0).integers(2, 12, 40)):
        moves[row, end:] = -1
    games = {"moves": moves, "turn": np.arange(40) % 9, "won": np.ones(40, np.float32)}
    one, held = chosen(games, Value(Path(), Path()))
    every, other = chosen(games, Value(Path(), Path(), positions="all"))
    assert len(set(one[:, 0])) == len(one) and (held == other).all()
    assert not set(held[:, 0]) & (set(one[:, 0]) | set(every[:, 0]))
    assert len(every) == len(one) and len(set(every[:, 0])) < len(one) / 3
    for row, ply in (*one, *held):
        assert ply == games["turn"][row] + 1 and moves[row, ply - 1] >= 0  # after the random move


def test_a_value_is_for_whoever_is_to_move() -> None:
    p = board.points(3)
    games = {"moves": np.array([[p[0], p[8], p[2]]], np.int16), "won": np.ones(1, np.float32)}
    for ply, want in ((0, 1), (1, -1), (2, 1)):
        batch = judged(games, np.array([[0, ply]]), 3, np.random.default_rng(0), 4)
        assert (batch["value"] == want).all()
        assert (batch["planes"][:, -1] == (ply % 2 == 0)).all()  # the colour's plane


def test_the_policy_finds_more_held_out_moves_than_chance(made: Path) -> None:
    (told,) = read_events(made / "sl", "accuracy")
    records = read_records(made / "games", SIDE)
    _, unknown = split(records, 0.25)
    planes, _ = positions(records.moves[unknown[:, 0]], unknown[:, 1], SIDE)
    chance = (1 / (planes[:, SENSIBLE].sum(1) + 1)).mean()  # the pass, too
    assert told["low"] > chance and told["moves"] == len(unknown) > 30
    net, facts = load_net(made / "sl")
    assert net.shape[0] == ALPHAGO - 1 and facts["size"] == SIDE and facts["komi"] == KOMI


STAGES: dict[str, tuple[Callable[..., None], Callable[[Path], Any]]] = {
    "sl": (sl, sl_config), "rl": (rl, rl_config), "value": (value, value_config)
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_was_ended_goes_on_to_the_same_bits(
    made: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, config = STAGES[name]
    whole = go(tmp_path / "whole", stage, config(made))
    half = Run(tmp_path / "half", RunOptions(out=tmp_path / "half", device="cpu", threads=1))
    half.folder.mkdir()
    saved = Learner.save

    def ended(self: Learner, done: int, **told: float) -> None:
        saved(self, done, **told)
        if done == 2:
            self.checkpoints.wait()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "save", ended)
        with pytest.raises(KeyboardInterrupt):
            execute(stage, config(made), half)
    execute(stage, config(made), half)
    assert [event["step"] for event in read_events(half.folder, "iteration")][:3] == [1, 2, 3]
    one, other = (run.folder / "artifacts" / "model" / "model.safetensors" for run in (whole, half))
    assert hash_file(one) == hash_file(other)
    assert not (half.folder / "pool").exists() and not (half.folder / "games").exists()


def test_forecasts_do_not_depend_on_how_many_there_are(made: Path) -> None:
    net, records = load_net(made / "sl")[0], read_records(made / "games", SIDE)
    planes, _ = positions(records.moves[:6], np.arange(6) % 3, SIDE)
    together = forecast(net, planes)[0]
    alone = np.concatenate([forecast(net, one[None])[0] for one in planes])
    assert np.allclose(together, alone, atol=1e-5)


def test_records_of_another_size_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no game to learn from"):
        go(tmp_path / "run", sl, Policy(made / "games", 5))
    with pytest.raises(UserError, match="wanted: PolicyValue"):
        go(tmp_path / "other", rl, Reinforce(made / "games"))
    with pytest.raises(UserError, match="none is left to learn from"):
        go(tmp_path / "few", sl, Policy(made / "games", SIDE, held_out=0.999))


def test_a_network_of_other_planes_is_no_part(made: Path, tmp_path: Path) -> None:
    """All networks are PolicyValue: what they see tells which they are."""
    torch.manual_seed(0)
    for name, planes, size in (("zero", 9, SIDE), ("judge", ALPHAGO, SIDE), ("large", ALPHAGO, 5)):
        run = Run(tmp_path / name, RunOptions(out=tmp_path / name))
        save_net(Net(planes, 1, 8), run, size=size, komi=KOMI)
    zero, judge, large = (tmp_path / name for name in ("zero", "judge", "large"))
    wrong: list[tuple[Callable[..., None], Any]] = [
        (rl, Reinforce(zero)), (rl, Reinforce(judge)), (value, Value(made / "sl", zero)),
        (search, Parts(judge, made / "rollout", made / "sl")), (search, Parts(zero, made / "rollout", judge)),
    ]  # fmt: skip
    for number, (stage, config) in enumerate(wrong):
        with pytest.raises(UserError, match="planes, wanted is a network of") as caught:
            go(tmp_path / f"wrong-{number}", stage, config)
        assert "sl and rl of 48" in str(caught.value.hint)
    with pytest.raises(UserError, match=r"the parts know boards of \[3, 3, 5\]"):
        go(tmp_path / "sizes", search, Parts(made / "sl", made / "rollout", large))
    with pytest.raises(UserError, match="wanted is a network of 9"):
        open_player(str(judge), SIDE, 10, 0)


def test_a_player_is_put_together_and_plays_in_its_variants(made: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = Run(tmp_path / "judge", RunOptions(out=tmp_path / "judge"))
    save_net(Net(ALPHAGO, 1, 8), own, size=SIDE, komi=KOMI)
    run = go(tmp_path / "a@b" / "alphago", search, Parts(made / "sl", made / "rollout", tmp_path / "judge"))
    artifact = run.folder / "artifacts" / "player"
    for spec in map(str, (run.folder, f"{run.folder}@vp", f"{run.folder}@p", artifact)):
        player, game = open_player(spec, SIDE, 12, 0), Game(SIDE, KOMI)
        assert finished(game, player, open_player("random", SIDE, 2, 1), 1e9)[0] in "BW0"
    for spec, reason in ((f"{run.folder}@x", "no variant 'x'"), (f"{tmp_path}/nothing@p", "no player")):
        with pytest.raises(UserError, match=reason):
            open_player(spec, SIDE, 12, 0)
    with pytest.raises(UserError, match="this is one of 5"):
        open_player(str(run.folder), 5, 12, 0)


def test_games_that_were_played_before_a_kill_are_read(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(tmp_path / "whole", value, value_config(made))
    half = Run(tmp_path / "half", RunOptions(out=tmp_path / "half", device="cpu", threads=1))
    half.folder.mkdir()
    asked = list[int]()

    def counted(*given: Any) -> Sampled:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return sample(*given)

    monkeypatch.setattr("tuti.systems.alphago.value.sample", counted)
    with pytest.raises(KeyboardInterrupt):
        execute(value, value_config(made), half)
    execute(value, value_config(made), half)
    assert len(asked) == 3  # the first 256 games once, the others begun twice
    one, other = (run.folder / "artifacts" / "model" / "model.safetensors" for run in (whole, half))
    assert hash_file(one) == hash_file(other)


def test_the_player_that_ships() -> None:
    """At most 8 MB; whole, by the hashes of its files; it beats chance, and knows no other board."""
    folder = Path(players.__file__).parent / "shipped"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 8e6
    player = open_player("tuti", 9, 30, 0)
    assert player.name == "tuti"
    assert finished(Game(9, 7.0), player, open_player("random", 9, 2, 1), 1e9).startswith("B+")
    with pytest.raises(UserError, match="this is one of 13"):
        open_player("tuti", 13, 400, 0)
