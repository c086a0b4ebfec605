"""Who plays and who has won: players, pairs, void games, and programs that crash, hang or lie."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tuti.run import UserError, read_events
from tuti.systems.alphago import board, players
from tuti.systems.alphago.board import BLACK, PASS, WHITE
from tuti.systems.alphago.game import Game, cell_of
from tuti.systems.alphago.match import Match, duel, finished, opening, tally
from tuti.systems.alphago.players import Player, open_player
from tuti.systems.alphago.sgf import read_game
from tuti.systems.alphago.tests.records import needs_gnugo
from tuti.systems.alphago.tests.test_train import SMALL
from tuti.systems.alphago.train import train
from tuti.systems.transformer.tests.small import go


@pytest.mark.parametrize("spec", ["gnu", "gnugo:11", "gnugo:x", "playouts:0", "playouts:", "nowhere/run", ""])
def test_an_unknown_player_is_refused_with_those_that_there_are(spec: str) -> None:
    with pytest.raises(UserError) as caught:
        open_player(spec, 5, 10, 0)
    assert spec[:5] in caught.value.what and caught.value.hint


def test_gnugo_that_is_absent_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(UserError, match="GNU Go is not here") as caught:
        open_player("gnugo:1", 5, 10, 0)
    assert "apt install gnugo" in str(caught.value.hint)


def test_random_games_search_beats_chance_by_far(tmp_path: Path) -> None:
    run = go(tmp_path / "run", duel, Match("playouts:100", "random", games=20, size=5, komi=0.5), threads=2)
    told = json.loads((run.folder / "artifacts" / "result.json").read_text())
    assert told["games"] == 20 and told["void"] == 0 and told["low"] > 0.5
    records = [read_game(path) for path in sorted((run.folder / "artifacts" / "games").iterdir())]
    assert [record.players[0] for record in records[:2]] == ["playouts:100", "random"]  # exchanged
    for one, other in zip(records[::2], records[1::2], strict=True):
        assert one.game.moves[:4] == other.game.moves[:4]  # the pair's opening
    assert len({tuple(record.game.moves[:4]) for record in records}) > 5
    assert tally(sorted((run.folder / "artifacts" / "games").iterdir())) == told


def test_a_match_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    config = Match("random", "random", games=6, size=3, komi=0.5)
    first = go(tmp_path / "whole", duel, config).folder / "artifacts" / "games"
    half = tmp_path / "half" / "artifacts" / "games"
    half.mkdir(parents=True)
    shutil.copy(first / "0002.sgf", half)
    kept = os.stat(half / "0002.sgf").st_mtime_ns
    go(tmp_path / "half", duel, config)
    assert os.stat(half / "0002.sgf").st_mtime_ns == kept
    for path in first.iterdir():
        assert (half / path.name).read_bytes() == path.read_bytes()


def test_a_network_plays_its_own_board_only(tmp_path: Path) -> None:
    run = go(tmp_path / "net", train, SMALL)
    player = open_player(str(run.folder), 3, 8, 0)
    game = Game(3, 0.5)
    assert finished(game, player, player, 1.0)[0] in "BW0" and game.over
    with pytest.raises(UserError, match="board of 3, this is one of 5"):
        open_player(str(run.folder), 5, 8, 0)


def test_resigning_and_illegal_moves() -> None:
    def at(name: str) -> Player:
        return Player(name, lambda game, seconds: cell_of("B2", 3))

    quitter = Player("quitter", lambda game, seconds: None)
    passer = Player("passer", lambda game, seconds: PASS)
    assert finished(Game(3), quitter, passer, 1.0) == "W+R"
    assert finished(Game(3), passer, quitter, 1.0) == "B+R"
    assert finished(Game(3), passer, passer, 1.0) == "W+7.5"
    void = finished(Game(3), at("one"), at("two"), 1.0)
    assert void.startswith("Void: two: move 2, B2, is not legal")


def test_void_games_count_for_nobody_and_draws_half(tmp_path: Path) -> None:
    from tuti.systems.alphago.sgf import write_game

    results = ["B+2", "B+R", "0", "Void: gnugo has ended", "W+1", "W+0.5"]
    for number, result in enumerate(results):
        (tmp_path / f"{number:04d}.sgf").write_bytes(write_game(Game(3), ("a", "b"), result))
    told = tally(sorted(tmp_path.iterdir()))
    # The first is Black in games 1, 3, 5: won, draw, lost; White in 2, 4, 6: lost, void, won.
    assert told["won"] == 2.5 and told["games"] == 5 and told["void"] == 1
    assert told["low"] < 0.5 < told["high"]


def installed(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell script is the first gnugo on PATH."""
    path = folder / "gnugo"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exit 1\n", "has ended"),
        ("read x; sleep 60\n", "hangs"),
        ("while read x; do printf '? no\\n\\n'; done\n", "says '? no'"),
    ],
)
def test_a_program_that_fails_makes_the_game_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    installed(tmp_path, text, monkeypatch)
    monkeypatch.setattr(players, "PATIENCE", 0.5)
    gnugo = open_player("gnugo:1", 5, 10, 0)
    try:
        result = finished(Game(5), gnugo, open_player("random", 5, 10, 0), 1.0)
    finally:
        gnugo.close()
    assert result.startswith("Void: gnugo:1: ") and told in result


PASSES = """n=0
while read x; do
  case "$x" in
    genmove*) n=$((n+1)); if [ $n -gt 2 ]; then {bad}; fi; printf '= pass\\n\\n';;
    *) printf '=\\n\\n';;
  esac
done
"""
"""Passes twice, and then does something bad"""


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("exit 1", "has ended"),
        ("sleep 60", "hangs"),
        ("while :; do printf x; sleep 0.1; done", "hangs"),
        ("printf '= Z99\\n\\n'; continue", "moves to 'Z99'"),
        ("printf '= E5 F6\\n\\n'; continue", "moves to 'E5 F6'"),
    ],
)
def test_games_that_a_program_breaks_in_the_middle_are_void_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, told: str
) -> None:
    """The match goes on, the records say what happened, and nobody has won."""
    installed(tmp_path, PASSES.replace("{bad}", bad), monkeypatch)
    monkeypatch.setattr(players, "PATIENCE", 0.5)
    run = go(tmp_path / "run", duel, Match("gnugo:1", "random", games=2, size=5, komi=0.5), threads=2)
    found = json.loads((run.folder / "artifacts" / "result.json").read_text())
    assert (found["games"], found["void"], found["won"]) == (0, 2, 0)
    records = [read_game(path) for path in sorted((run.folder / "artifacts" / "games").iterdir())]
    for record in records:
        assert record.result.startswith("Void: gnugo:1: ") and told in record.result
        assert len(record.game.moves) >= 8  # of chance, then two passes and the answers to them
    assert [event["result"][:5] for event in read_events(run.folder, "game")] == ["Void:"] * 2


def test_a_program_is_ended_when_the_other_player_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[int]()
    close = players.GnuGo.close

    def closed(gnugo: players.GnuGo) -> None:
        close(gnugo)
        ended.append(gnugo.process.wait(5))

    installed(tmp_path, "exec sleep 60\n", monkeypatch)
    monkeypatch.setattr(players.GnuGo, "close", closed)
    with pytest.raises(UserError, match="no player is called 'nobody'"):
        go(tmp_path / "run", duel, Match("gnugo:1", "nobody", games=2, size=3))
    assert ended and set(ended) == {-9}


@needs_gnugo
def test_gnu_go_plays_by_our_rules_to_the_end(tmp_path: Path) -> None:
    run = go(tmp_path / "run", duel, Match("gnugo:1", "random", games=4, size=5, komi=0.5), threads=2)
    told = json.loads((run.folder / "artifacts" / "result.json").read_text())
    assert told["won"] == 4 and told["void"] == 0


def test_openings_are_made_of_legal_moves_and_differ_by_seed() -> None:
    games = [opening(Match("random", "random", size=9, opening=(6,)), seed) for seed in range(20)]
    assert all(len(game.moves) == 6 and not game.over for game in games)
    assert len({tuple(game.moves) for game in games}) == 20
    assert {game.to_move for game in games} == {BLACK}
    assert opening(Match("random", "random", opening=(1,)), 0).to_move == WHITE
    several = Match("random", "random", opening=(0, 3, 1))
    assert [len(opening(several, pair).moves) for pair in range(5)] == [0, 3, 1, 0, 3]
    assert board.MOST == 19
