"""A lesson finds the blunder of a game, says what was better, and gives the SGF back."""

from pathlib import Path

import pytest
import torch

from tuti.run import Run, RunOptions, UserError, read_events
from tuti.systems.alphago import lesson
from tuti.systems.alphago.board import PASS
from tuti.systems.alphago.game import Game, cell_of
from tuti.systems.alphago.lesson import Lesson, judged
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.players import SHIPPED, Player
from tuti.systems.alphago.sgf import read_game, write_game
from tuti.systems.transformer.tests.small import go

SIZE, KOMI = 5, 0.5


def record(folder: Path, names: str) -> Path:
    """A game by the names of its points."""
    game = Game(SIZE, KOMI)
    for name in names.split():
        game.play(game.to_move, cell_of(name, SIZE))
    path = folder / "game.sgf"
    path.write_bytes(write_game(game, ("Ann", "Bo <b>"), "B+1"))
    return path


@pytest.mark.parametrize("colour", [0, 1])
def test_a_move_that_gives_the_game_away_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: int
) -> None:
    """A judge that knows who wins: before the move in question its player, after it the other."""
    path = record(tmp_path, "C3 B3 C4 B4")
    bad = 2 + colour

    class Knows:
        value = 0.0

        def __call__(self, game: Game, seconds: float) -> int:
            well = len(game.moves) <= bad or game.moves[bad][1] == cell_of("E5", SIZE)
            ahead = 1 if well == (colour == 0) else -1  # Black's
            self.value = 0.8 * ahead * (1 if game.to_move == 1 else -1)
            return cell_of("E5", SIZE)

    monkeypatch.setattr(lesson, "open_player", lambda *_: Player("knows", Knows()))
    run = go(tmp_path / "lesson", lesson.lesson, Lesson(path, "knows"))
    nodes = read_game(run.folder / "artifacts" / "lesson" / "lesson.sgf").tree.get_main_sequence()
    branches = [len(list(node)) for node in nodes]
    assert branches == [2 if ply == bad else 1 for ply in range(4)] + [0]
    _, better = nodes[bad]
    assert better.get_move() == ("bw"[colour], (4, 4)) and better.get("C").startswith("Better, by 80%")
    assert all("Black's chances" in node.get("C") for node in nodes[1:])
    assert [one["step"] for one in read_events(run.folder, "position")] == list(range(5))
    shown = (run.folder / "artifacts" / "lesson" / "lesson.html").read_text()
    assert ">0.8<" in shown and "Ann" in shown and "Bo <b>" not in shown  # .9 before, .1 after
    assert shown.count("<svg") == 2


def test_a_judge_who_favours_the_mover_finds_no_blunders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches think too well of whoever is to move: that alone makes no move look bad."""
    class Favours:
        value = 0.3

        def __call__(self, game: Game, seconds: float) -> int:
            return cell_of("E5", SIZE)

    monkeypatch.setattr(lesson, "open_player", lambda *_: Player("favours", Favours()))
    run = go(tmp_path / "lesson", lesson.lesson, Lesson(record(tmp_path, "C3 B3 C4 B4"), "favours"))
    tree = read_game(run.folder / "artifacts" / "lesson" / "lesson.sgf").tree
    assert all(len(list(node)) <= 1 for node in tree.get_main_sequence())


def test_whose_chances_are_told(tmp_path: Path) -> None:
    """Black's, whoever is to move."""
    class Sure:
        value = 1.0

        def __call__(self, game: Game, seconds: float) -> int:
            return PASS

    black, white = Game(SIZE, KOMI), Game(SIZE, KOMI, moves=[(1, cell_of("C3", SIZE))])
    assert judged(black, Sure(), 1.0).chances == 1.0 and judged(white, Sure(), 1.0).chances == 0.0


def test_passes_that_end_a_game_are_no_moves_and_a_first_move_may_stand_in_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People stop without taking what is dead; with all stones alive it would be another result."""
    asked: list[int] = []

    class Worried:
        value = 0.0

        def __call__(self, game: Game, seconds: float) -> int:
            asked.append(len(game.moves))
            lost = game.moves[:1] == [(1, cell_of("A5", SIZE))]
            self.value = (-0.9 if game.to_move == 1 else 0.9) if lost else 0.0
            return cell_of("E5", SIZE)

    monkeypatch.setattr(lesson, "open_player", lambda *_: Player("worried", Worried()))
    path = tmp_path / "game.sgf"
    path.write_text("(;SZ[5]B[aa];W[bb];B[];W[])")
    run = go(tmp_path / "lesson", lesson.lesson, Lesson(path, "worried", blunder=0.01))
    assert max(asked) == 2 and len(read_events(run.folder, "position")) == 3
    assert "A5" in (run.folder / "artifacts" / "lesson" / "lesson.html").read_text()


def test_a_network_gives_a_lesson_and_others_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_net(Net(PLANES, 1, 8), Run(tmp_path / "net", RunOptions(out=tmp_path / "net")), size=SIZE, komi=KOMI)
    path = record(tmp_path, "C3 B3 C4 pass pass")
    run = go(tmp_path / "lesson", lesson.lesson, Lesson(path, str(tmp_path / "net"), simulations=8))
    assert (run.folder / "artifacts" / "lesson" / "lesson.sgf").exists()
    with pytest.raises(UserError, match="does not tell its chances"):
        go(tmp_path / "random", lesson.lesson, Lesson(path, "random"))
    (tmp_path / "twice.sgf").write_text("(;SZ[5];B[aa];B[bb];W[cc])")
    with pytest.raises(UserError, match="twice in a row"):
        go(tmp_path / "twice", lesson.lesson, Lesson(tmp_path / "twice.sgf", str(tmp_path / "net")))
    with pytest.raises(UserError, match="does not tell its chances"):
        (tmp_path / "nine.sgf").write_bytes(write_game(Game(9, 7.0)))
        alone = SHIPPED.replace("@rp", "@p")
        go(tmp_path / "policy", lesson.lesson, Lesson(tmp_path / "nine.sgf", alone))
    with pytest.raises(UserError, match="SGF"):
        go(tmp_path / "none", lesson.lesson, Lesson(tmp_path / "none.sgf", str(tmp_path / "net")))
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "game.sgf").write_bytes(write_game(Game(9, KOMI)))
    with pytest.raises(UserError, match="this is one of 9"):
        go(tmp_path / "size", lesson.lesson, Lesson(tmp_path / "large" / "game.sgf", str(tmp_path / "net")))


def test_the_player_that_ships_sees_an_open_door(tmp_path: Path) -> None:
    """Two walls, Black's with a gap at E5; Black plays A1 instead of closing it, and White comes in."""
    game = Game(9, 7.0)
    for name in "C4 F5 E4 F4 E6 F6 E3 F3 E7 F7 E2 F2 E8 F8 E1 F1 E9 F9 A1 E5 D5 D6".split():
        game.play(game.to_move, cell_of(name, 9))
    path = tmp_path / "game.sgf"
    path.write_bytes(write_game(game))
    run = go(tmp_path / "lesson", lesson.lesson, Lesson(path, simulations=400, seconds=5.0))
    nodes = read_game(run.folder / "artifacts" / "lesson" / "lesson.sgf").tree.get_main_sequence()
    marked = {ply: list(node)[1].get_move() for ply, node in enumerate(nodes) if len(list(node)) > 1}
    assert marked[18] == ("b", (4, 4))  # E5
    leads = [one["lead"] for one in read_events(run.folder, "position")]
    assert leads[20] < leads[18] - 3  # in the mean of random games
