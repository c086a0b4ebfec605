"""Self-play and its stage: what positions are told, symmetries, the replay's files, and `kill -9`."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tuti.run import UserError, read_events, read_json
from tuti.run.files import hash_file
from tuti.systems.alphago import board
from tuti.systems.alphago.learner import losses, turned
from tuti.systems.alphago.net import Net, load_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.selfplay import FIELDS, self_play, together
from tuti.systems.alphago.train import Train, keep, train
from tuti.systems.transformer.tests.small import go

SMALL = Train(
    size=3, komi=0.5, blocks=1, channels=8, games=8, iterations=3, simulations=4, updates=4, batch=16
)


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(PLANES, 1, 8).eval().requires_grad_(False)


def test_positions_are_told_from_the_movers_side() -> None:
    games = self_play(net(), 3, 0.5, np.arange(6), 4, "gumbel")
    moves, won = games["moves"], games["won"]
    assert len(games["value"]) == moves.sum() and set(np.unique(won)) <= {-1.0, 1.0}
    first = np.sort(np.argsort(games["planes"][:, :2].sum((1, 2)), kind="stable")[:6])
    # The first positions are empty boards, Black's to move: their value is whether Black won.
    assert (games["planes"][first, :2] == 0).all()
    assert sorted(games["value"][first]) == sorted(won)
    assert np.allclose(games["policy"].astype(np.float32).sum(1), 1, atol=2e-2)
    assert (np.sign(games["lead"]) == games["value"]).all()
    # Owners sum to the lead before komi: (Black's points less White's) for the mover.
    komi = games["planes"][:, 7, 0].astype(np.float32)  # for the mover
    assert np.allclose(games["owner"].sum(1) / 10 + komi, games["lead"], atol=1e-3)


def test_the_same_seeds_give_the_same_games() -> None:
    one, two = (self_play(net(), 3, 0.5, np.arange(5), 4, "gumbel") for _ in range(2))
    assert all((one[name] == two[name]).all() for name in one)
    other = self_play(net(), 3, 0.5, np.arange(5) + 100, 4, "gumbel")
    assert len(other["value"]) != len(one["value"]) or (other["policy"] != one["policy"]).any()


def test_alphazero_draws_moves_by_their_visits() -> None:
    """Policies are shares of visits, and a game is its seed."""
    games = self_play(net(), 3, 0.5, np.arange(8), 16, "zero")
    shares = games["policy"].astype(np.float32)
    assert np.allclose(shares.sum(1), 1, atol=2e-3)
    assert np.allclose(shares * 16, (shares * 16).round(), atol=0.02)  # of 16 visits
    again = self_play(net(), 3, 0.5, np.arange(8), 16, "zero")
    assert all((games[name] == again[name]).all() for name in games)


def test_playout_caps_teach_of_one_move_in_four() -> None:
    games = self_play(net(), 3, 0.5, np.arange(200), 8, "katago")
    later = games["moves"].sum() - 200  # a game's first move teaches always, so that every game does
    assert abs((len(games["value"]) - 200) / later - 0.25) < 5 * (0.25 * 0.75 / later) ** 0.5
    assert len(self_play(net(), 2, 0.5, [0], 2, "katago")["value"]) >= 1
    assert {len(games[name]) for name in FIELDS} == {len(games["value"])}
    alone = self_play(net(), 3, 0.5, np.arange(3), 8, "katago")
    assert (alone["moves"] == games["moves"][:3]).all()  # no game depends on its company


@pytest.mark.parametrize("recipe", ["zero", "katago"])
def test_minutes_become_iterations(tmp_path: Path, recipe: str) -> None:
    """A machine is measured once; the plan is written down and what was trained is the plan."""
    config = replace(SMALL, recipe=recipe, minutes=0.05, games=4, updates=8)
    run = go(tmp_path / "run", train, config)
    plan, = read_events(run.folder, "plan")
    about = read_json(run.folder / "config.json")["config"]
    assert about["minutes"] == 0 and about["iterations"] == plan["iterations"] >= 1
    assert len(read_events(run.folder, "iteration")) == plan["iterations"]


def test_threads_play_all_games() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert len(together(net(), 3, 0.5, np.arange(16), 4, "gumbel")["won"]) == 16
    finally:
        torch.set_num_threads(before)


def test_turning_a_batch_turns_all_of_it_alike() -> None:
    side, points = 4, torch.randperm(16).float()
    batch = {
        "planes": points.expand(2, 3, 16).clone(), "owner": points.expand(2, 16),
        "policy": torch.cat((points, torch.tensor([99.0]))).expand(2, 17),
        "value": torch.ones(2), "lead": torch.ones(2),
    }
    seen = set[tuple[float, ...]]()
    for symmetry in range(8):
        made = turned(batch, side, symmetry)
        assert (made["planes"][0, 0] == made["policy"][0, :16]).all()
        assert (made["owner"][1] == made["planes"][1, 2]).all() and made["policy"][0, 16] == 99
        seen.add(tuple(made["owner"][0].tolist()))
    assert len(seen) == 8


def test_the_net_sees_a_turned_board_alike_when_its_weights_are_even() -> None:
    made = net()
    for parameter in made.parameters():
        if parameter.dim() == 4:  # one number for all nine places: no direction is known
            parameter.copy_(parameter.mean((2, 3), keepdim=True).expand_as(parameter))
    planes = torch.randn(2, PLANES, 16)
    batch = {"planes": planes, "policy": torch.zeros(2, 17), "owner": torch.zeros(2, 16)}
    straight = made(planes.view(2, PLANES, 4, 4))
    for symmetry in range(8):
        found = made(turned(batch, 4, symmetry)["planes"].view(2, PLANES, 4, 4))
        assert torch.allclose(found.value, straight.value, atol=1e-5)
        want = turned(batch | {"policy": straight.policy}, 4, symmetry)["policy"]
        assert torch.allclose(found.policy, want, atol=1e-5)


def test_learning_lowers_every_loss() -> None:
    games = self_play(net(), 3, 0.5, np.arange(32), 8, "gumbel")
    batch = {name: torch.from_numpy(games[name]).float() for name in FIELDS}
    learner = net(1).requires_grad_(True).train()
    optimiser = torch.optim.AdamW(learner.parameters(), 5e-3)
    before = losses(learner, batch, 3)
    for _ in range(150):
        optimiser.zero_grad()
        sum(losses(learner, batch, 3).values(), torch.zeros(())).backward()
        optimiser.step()
    after = losses(learner, batch, 3)
    assert all(after[name] < before[name] for name in before), (before, after)


def test_the_window_holds_the_last_iterations_and_one_more_file(tmp_path: Path) -> None:
    for iteration in (0, 1, 2, 2, 3, 4):  # the third is played again after a kill, and counts once
        part = {name: np.full((3 + iteration, 1), iteration, np.float32) for name in FIELDS}
        recent = keep(tmp_path / "replay", iteration, 2, part)
        want = [[n] * (3 + n) for n in (iteration - 1, iteration) if n >= 0]
        assert recent["value"].flatten().tolist() == sum(want, [])
        assert set(recent) == set(FIELDS)
    assert [int(path.stem) for path in sorted((tmp_path / "replay").iterdir())] == [2, 3, 4]


def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    whole = go(tmp_path / "whole", train, SMALL).folder
    words = "--size 3 --komi 0.5 --blocks 1 --channels 8 --games 8 --iterations 3 --simulations 4 --updates 4"
    order = [*words.split(), *"--batch 16 --threads 1 --device cpu --out".split(), str(tmp_path / "broken")]
    for number in (1, 2):
        more = ["--resume"] if number > 1 else []
        child = subprocess.Popen(
            [sys.executable, "-m", "tuti", "alphago", "train", *order, *more], start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        while not any(event["step"] >= number for event in read_events(tmp_path / "broken", "iteration")):
            assert child.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        os.killpg(child.pid, signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    assert not (tmp_path / "broken" / "artifacts" / "model").exists()
    last = [sys.executable, "-m", "tuti", "alphago", "train", *order, "--resume"]
    assert subprocess.run(last, stderr=subprocess.DEVNULL).returncode == 0
    made = (tmp_path / name / "artifacts" / "model" / "model.safetensors" for name in ("whole", "broken"))
    assert len({hash_file(path) for path in made}) == 1
    assert whole.exists() and not (whole / "replay").exists()


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuti.systems.alphago.learner.OWNER", float("nan"))
    with pytest.raises(UserError, match="in iteration 1") as caught:
        go(tmp_path / "run", train, SMALL)
    assert caught.value.hint == "lower --rate"
    assert not (tmp_path / "run" / "artifacts").exists()


def test_a_network_of_other_weights_is_refused(tmp_path: Path) -> None:
    run = go(tmp_path / "run", train, SMALL)
    found, facts = load_net(run.folder)
    assert facts["size"] == 3 and facts["komi"] == 0.5 and found.shape == (PLANES, 1, 8)
    about = run.folder / "artifacts" / "model" / "tuti.json"
    about.write_text(re.sub(r"(\"shape\": \[\s*\d+,\s*\d+,\s*)8", r"\g<1>9", about.read_text()))
    with pytest.raises(UserError, match=r"shape") as caught:
        load_net(run.folder)
    assert caught.value.hint


def test_a_board_of_two_can_be_learnt(tmp_path: Path) -> None:
    config = Train(size=2, blocks=1, channels=4, games=4, iterations=1, simulations=2, updates=1)
    assert load_net(go(tmp_path / "run", train, config).folder)[1]["size"] == 2
    assert board.new(2)[0][board.SIDE] == 2
