"""All five stages as one run: planned once, gone on with after an end, and a player comes of it."""

from pathlib import Path

import numpy as np
import pytest

from tuti.run import RunOptions, UserError, read_events, read_json
from tuti.run.directory import Run, execute
from tuti.systems.alphago import recipe as module
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.train import Train, train

CONFIG = Train(recipe="2016", size=3, komi=0.5, minutes=0.02, blocks=1, channels=8)
STAGES = ["games", "sl", "rollout", "rl", "value", "search"]


@pytest.fixture(autouse=True)
def experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of random games are the experts: GNU Go knows no board of three."""
    monkeypatch.setattr(module, "EXPERTS", "playouts:100")


def run_in(folder: Path, resume: bool = False) -> Run:
    if resume:
        return Run(folder, RunOptions(out=folder, threads=1, device="cpu", resume=True))
    return Run.create("alphago", "train", CONFIG, RunOptions(out=folder, threads=1, device="cpu"))


def test_a_player_comes_of_it_and_what_is_done_stays_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        def ended(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(module, "rl", ended)
        with pytest.raises(KeyboardInterrupt):
            execute(train, CONFIG, run_in(folder))
    plan = read_json(folder / "plan.json")
    execute(train, CONFIG, run_in(folder, resume=True))
    assert read_json(folder / "plan.json") == plan and min(plan.values()) >= 1
    assert [event["stage"] for event in read_events(folder, "skipped")] == STAGES[:3]
    assert [event["stage"] for event in read_events(folder, "stage")] == [*STAGES[:4], *STAGES[3:]]
    assert read_json(folder / "stages" / "sl" / "config.json")["config"]["size"] == 3
    game, player = Game(3, 0.5), open_player(str(folder), 3, 30, 0)
    while not game.over:
        cell = player.choose(game, 1e9)
        assert cell is not None
        game.play(game.to_move, cell)


def test_more_minutes_are_more_of_everything() -> None:
    few, many = (module.planned(3, 0.5, minutes, CONFIG, 2) for minutes in (1, 50))
    assert few.keys() == module.SHARES.keys() and all(few[name] < many[name] for name in few)
    assert np.isclose(sum(module.SHARES.values()), 0.94)  # the rest is for what is small


def test_experts_that_do_not_play_make_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "finished", lambda *_: "Void: gnugo: it hangs")
    with pytest.raises(UserError, match="do not play: Void: gnugo"):
        module.planned(3, 0.5, 1.0, CONFIG, 2)


def test_without_gnu_go_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPERTS", "gnugo:1-8")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(UserError, match="GNU Go is not here") as caught:
        execute(train, CONFIG, run_in(tmp_path / "run"))
    assert "apt install gnugo" in str(caught.value.hint)
