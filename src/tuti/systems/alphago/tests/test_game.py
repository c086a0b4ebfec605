"""Names of points, chance, and a game as people tell it: what it refuses, and what it says then."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, PASS, WHITE, cell
from tuti.systems.alphago.game import Game, cell_of, name_of
from tuti.systems.alphago.tests.slow_board import EMPTY, SlowBoard
from tuti.systems.alphago.tests.test_board import is_eye, listed, picture, point, random_stones, stones_of


@given(st.integers(2, 19), st.data())
@settings(max_examples=200, deadline=None)
def test_a_point_is_found_by_its_name(size: int, data: st.DataObject) -> None:
    x, y = data.draw(st.tuples(*[st.integers(0, size - 1)] * 2))
    name = name_of(cell(x, y), size)
    assert name == f"{'ABCDEFGHJKLMNOPQRST'[x]}{size - y}"
    assert cell_of(name, size) == cell_of(f" {name.lower()}\n", size) == cell(x, y)
    assert point(cell(x, y)) == (x, y)


@given(st.integers(2, 19), st.text(max_size=4) | st.from_regex(r"[A-Za-z][0-9]{1,3}", fullmatch=True))
@settings(max_examples=300, deadline=None)
def test_what_names_no_point_is_refused(size: int, name: str) -> None:
    try:
        p = cell_of(name, size)
    except ValueError:
        plain = name.strip().upper()
        assert plain not in {name_of(int(p), size) for p in board.points(size)} | {"PASS"}
    else:
        assert p == PASS or p in board.points(size)


@pytest.mark.parametrize("name", ["", " ", "I5", "K3", "A0", "A10", "A-1", "5", "D4.0", "D٣", "D²", "@1"])
def test_these_are_no_points_of_a_board_of_9(name: str) -> None:
    with pytest.raises(ValueError, match="no point of a board of 9"):
        cell_of(name, 9)


def test_the_ninth_column_is_j() -> None:
    assert cell_of("J1", 9) == cell(8, 8) and cell_of("A9", 9) == cell(0, 0)


def test_a_pass_has_a_name() -> None:
    assert name_of(PASS, 9) == "pass" and cell_of("Pass", 9) == PASS


@given(st.integers(2, 7), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_random_move_is_legal_and_fills_no_eye(size: int, seed: int, suicide: bool) -> None:
    set_up = random_stones(random.Random(seed), size)
    game, keys = board.new(size, board.POSITIONAL, suicide, seed, listed(set_up))
    slow = SlowBoard(size, "positional", suicide, set_up)
    while not slow.over():
        colour = slow.to_move
        p = point(board.random_move(game, keys))
        if p is None:
            good = [q for q in slow.every if slow.stones[q] == EMPTY and not is_eye(slow, colour, q)]
            assert all(slow.verdict(colour, q) != "legal" for q in good)
        else:
            assert slow.verdict(colour, p) == "legal" and not is_eye(slow, colour, p)
        slow.play(colour, p)
        board.play(game, keys, cell(*p) if p else PASS, colour)
        assert stones_of(game, size) == slow.stones


def leads_of(size: int, seed: int, count: int) -> list[int]:
    """Of random games from one start, by chance that goes on."""
    start, keys = board.new(size, seed=seed)
    owner, leads = np.empty(board.CELLS, np.int8), list[int]()
    own, known = start.copy(), keys.copy()
    for _ in range(count):
        source = known[board.DICE]
        board.assume(own, known, start, keys)
        known[board.DICE] = source
        leads.append(int(board.playout(own, known, owner)))
    return leads


@given(st.integers(2, 13), st.integers(0, 2**64))
@settings(max_examples=20, deadline=None)
def test_playouts_are_their_seeds(size: int, seed: int) -> None:
    assert leads_of(size, seed, 20) == leads_of(size, seed, 20)


def test_other_seeds_play_otherwise() -> None:
    assert len({tuple(leads_of(9, seed, 5)) for seed in range(20)}) == 20


def test_a_playout_is_random_moves_to_the_end_and_their_area() -> None:
    for seed in range(20):
        (game, keys), (other, others) = board.new(5, seed=seed), board.new(5, seed=seed)
        owner, slow = np.empty(board.CELLS, np.int8), SlowBoard(5, "positional", False, {})
        lead = board.playout(game, keys, owner)
        while not slow.over():
            p = board.random_move(other, others)
            board.play(other, others, p, slow.to_move)
            slow.play(slow.to_move, point(p))
        area = Counter(slow.owners().values())
        assert stones_of(game, 5) == slow.stones and lead == area[BLACK] - area[WHITE]
        assert leads_of(5, seed, 1) == [lead]


@pytest.mark.parametrize("size,seed", [(3, 0), (5, 1), (7, 2), (9, 3)])
def test_candidates_are_equally_likely(size: int, seed: int) -> None:
    """Chi-square over 400 draws a candidate; five deviations is the bound."""
    set_up = random_stones(random.Random(seed), size)
    slow = SlowBoard(size, "positional", False, set_up)
    game, keys = board.new(size, seed=seed, set_up=listed(set_up))
    good = [p for p in slow.every if slow.verdict(BLACK, p) == "legal" and not is_eye(slow, BLACK, p)]
    assert len(good) > 2
    draws = 400 * len(good)
    drawn = Counter(point(board.random_move(game, keys)) for _ in range(draws))
    assert set(drawn) == set(good)
    square = sum((drawn[p] - 400) ** 2 / 400 for p in good)
    freedom = len(good) - 1
    assert abs(square - freedom) < 5 * (2 * freedom) ** 0.5, (square, freedom)


def test_the_last_move_is_taken_back() -> None:
    game = Game(3, komi=0.5, rule="situational", suicide=True)
    shown = [game.stones.tolist()]
    for name in ("B2", "A2", "B3", "A1", "A3", "pass", "B1"):
        game.play(game.to_move, cell_of(name, 3))
        shown.append(game.stones.tolist())
    for stones in reversed(shown[:-1]):
        fresh = replace(game, moves=game.moves[:-1])
        assert fresh.stones.tolist() == stones and fresh.moves == game.moves[:-1]
        assert (fresh.komi, fresh.rule, fresh.suicide) == (0.5, "situational", True)
        assert fresh.to_move == (BLACK if len(fresh.moves) % 2 == 0 else WHITE)
        game = fresh
    assert game.moves == [] and game.to_move == BLACK


def test_an_undone_repetition_may_be_played_again() -> None:
    game = Game(4, set_up=listed(picture(". X O .", "X O . O", ". X O .", ". . . .")))
    assert game.play(BLACK, cell(2, 1)) == 1
    game = replace(game, moves=game.moves[:-1])
    assert game.stones[1, 1] == WHITE and game.play(BLACK, cell(2, 1)) == 1


def test_what_is_not_legal_is_refused_and_changes_nothing() -> None:
    game = Game(4, set_up=listed(picture(". X O .", "X O . O", ". X O .", ". . . .")))
    game.play(BLACK, cell(2, 1))
    before = game.arrays[0].copy(), game.arrays[1].copy()
    outside = [-1, -500, 1, 20, cell(4, 0), cell(0, 4), board.CELLS, board.CELLS + 21, 10**6]
    for p in [cell(1, 1), cell(1, 0), cell(2, 1), *outside]:
        assert not game.legal(WHITE, p)
        with pytest.raises(UserError, match="move 2, .* is not legal") as refused:
            game.play(WHITE, p)
        assert refused.value.hint
    assert (game.arrays[0] == before[0]).all() and (game.arrays[1] == before[1]).all()
    assert len(game.moves) == 1


@pytest.mark.parametrize("size", [-1, 0, 1, 20, 100])
def test_sizes_are_2_to_19(size: int) -> None:
    with pytest.raises(UserError, match=f"a board of {size}") as refused:
        Game(size)
    assert "2 to 19" in refused.value.hint


@pytest.mark.parametrize(
    "set_up",
    [
        listed(picture("O X .", "X . .", ". . .")),
        listed(picture(". . .", "X X X", "O O O")),
        listed(picture("X O", "O X")),
        [(BLACK, cell(1, 1)), (WHITE, cell(1, 1))],
        [(BLACK, cell(3, 0))],
    ],
)
def test_stones_without_liberty_or_on_others_or_outside_are_not_set(set_up: list[tuple[int, int]]) -> None:
    for stones in (set_up, set_up[::-1]):
        with pytest.raises(ValueError, match="stones that were set"):
            Game(3, set_up=stones)


def test_a_colour_may_move_twice_and_turns_go_on_from_there() -> None:
    game = Game(5)
    for colour, p in ((WHITE, cell(0, 0)), (BLACK, cell(1, 0)), (BLACK, cell(0, 1)), (BLACK, cell(4, 4))):
        game.play(colour, p)
        assert game.to_move == BLACK + WHITE - colour
    assert game.stones[0].tolist() == [EMPTY, BLACK, EMPTY, EMPTY, EMPTY]


def test_a_game_ends_with_two_passes_and_is_scored() -> None:
    game = Game(3, komi=2.0, set_up=listed(picture(". X .", "X X .", ". . .")), first=WHITE)
    assert game.to_move == WHITE and not game.over
    game.play(WHITE, PASS)
    assert not game.over
    game.play(BLACK, PASS)
    assert game.over and game.lead() == 7.0
    assert game.result() == "B+7" and Game(3, komi=0.0).result() == "0"
    assert Game(3, komi=7.5).lead() == -7.5 and Game(3, komi=7.5).result() == "W+7.5"


def test_moves_given_are_played() -> None:
    game = Game(5, moves=[(BLACK, cell(2, 2)), (WHITE, PASS)])
    assert game.to_move == BLACK and game.stones[2, 2] == BLACK and len(game.moves) == 2
    with pytest.raises(UserError, match="move 2, C3"):
        Game(5, moves=[(BLACK, cell(2, 2)), (WHITE, cell(2, 2))])


def test_owners_are_the_mean_of_random_games_and_exact_at_the_end() -> None:
    game = Game(5, 0.5)
    assert abs(game.owners()).max() < 0.4  # nobody's yet
    for name in "C5 D5 C4 D4 C3 D3 C2 D2 C1".split():
        game.play(game.to_move, cell_of(name, 5))
    told = game.owners().reshape(5, 5)
    assert (told[:, :3] > 0.4).all() and (told[:, 3] < 0).all()
    assert (told == game.owners().reshape(5, 5)).all()
    for name in ("D1", "pass", "pass"):
        game.play(game.to_move, cell_of(name, 5))
    assert game.over and game.owners().tolist() == [1, 1, 1, -1, -1] * 5
    assert game.owners().sum() - game.komi == game.lead()
