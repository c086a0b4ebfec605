"""AlphaGo's planes against those drawn point by point, ladders by hand, and a turned board."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, EMPTY, PASS, WHITE, cell
from tuti.systems.alphago.game import RULES
from tuti.systems.alphago.planes import AFTER, ALPHAGO, LADDER, SENSIBLE, alphago_planes, falls, may
from tuti.systems.alphago.tests.slow_board import Point, SlowBoard, Stones
from tuti.systems.alphago.tests.slow_planes import slow_planes
from tuti.systems.alphago.tests.test_board import few_or_many, listed, picture, point, random_stones


def drawn(game: Any, keys: Any) -> Any:
    """All planes, as [49, side, side]."""
    side = int(game[board.SIDE])
    allowed, out = np.ones(side * side + 1, np.bool_), np.full((ALPHAGO, side * side), 7, np.float32)
    may(game, keys, allowed)
    before = game.copy(), keys.copy()
    alphago_planes(game, keys, allowed, out)
    assert (game == before[0]).all() and (keys == before[1]).all()
    return out.reshape(ALPHAGO, side, side)


def check_game(seed: int, side: int, share: float, seen: Counter) -> None:
    """A random game, of which a share is drawn. Half of the games fill eyes, and some begin with stones."""
    chance = random.Random(seed)
    rule, suicide = chance.choice(RULES), chance.random() < 0.3
    set_up = random_stones(chance, side) if seed % 4 == 0 else {}
    first = chance.choice((BLACK, WHITE))
    slow = SlowBoard(side, rule, suicide, set_up, first)
    game, keys = board.new(side, RULES.index(rule), suicide, seed, listed(set_up), first)
    for _ in range(int(1.3 * side * side)):
        if slow.over():
            return
        if chance.random() < share:
            found, wanted = drawn(game, keys), slow_planes(slow)
            wrong = np.argwhere(found != wanted).tolist()
            assert not wrong, (seed, len(slow.moves), wrong[:5])
            seen.update({i: int(n) for i, n in enumerate(found.sum((1, 2)))}, positions=1)
            suicides = bool((found[AFTER : AFTER + 8].sum(0) < found[SENSIBLE]).any())
            seen.update(black=slow.to_move == BLACK, suicides=suicides)
        p = int(board.random_move(game, keys))
        if seed % 2:
            options = [q for q in board.points(side).tolist() if board.legal(game, keys, q, slow.to_move)]
            p = chance.choice(options) if options and chance.random() > 0.03 else PASS
        board.play(game, keys, p, slow.to_move)
        slow.play(slow.to_move, point(p))


@few_or_many({5: 40, 9: 10, 13: 1, 19: 1}, {5: 400, 9: 60, 13: 8, 19: 4})
def test_planes_equal_those_drawn_point_by_point(plan: dict[int, int]) -> None:
    seen = Counter[Any]()
    for side, games in plan.items():
        for seed in range(games):
            check_game(1000 * side + seed, side, {5: 0.6, 9: 0.3}.get(side, 0.05), seen)
    assert seen["positions"] > 900 and seen["suicides"] > 0
    assert 0.4 < seen["black"] / seen["positions"] < 0.6
    assert all(seen[plane] > 0 for plane in range(ALPHAGO) if plane != 47) and seen[47] == 0


def ladder_points(stones: Stones, to_move: int = BLACK) -> tuple[set[Point], set[Point]]:
    """Of a drawn position where the two planes of ladders are 1, on both boards."""
    side = max(stones)[0] + 1
    slow = SlowBoard(side, "positional", False, stones, to_move)
    found = drawn(*board.new(side, set_up=listed(stones), first=to_move))
    np.testing.assert_array_equal(found, slow_planes(slow))
    catch, save = ({(int(x), int(y)) for y, x in np.argwhere(plane)} for plane in found[LADDER : LADDER + 2])
    return catch, save


WAY = (
    ". . . . . . . . .",
    ". . X * . . . . .",
    ". X O * * . . . .",
    ". X * * * * . . .",
    ". * * * * * * . .",
    ". . * * * * * * .",
    ". . . * * * * * .",
    ". . . . * * * * .",
    ". . . . . * * . .",
)
"""A ladder from 3, 2 on, and where a white stone would break it"""
AT_START = picture(*(row.replace("*", ".") for row in WAY))


def test_a_ladder_across_the_board_and_what_breaks_it() -> None:
    assert ladder_points(AT_START) == ({(3, 2)}, set())
    assert ladder_points(AT_START | {(3, 2): BLACK}, WHITE) == (set(), set())  # there is no escape
    for y, row in enumerate(WAY):
        for x, kind in enumerate(row.split()):
            if kind in ".*":
                assert ((3, 2) in ladder_points(AT_START | {(x, y): WHITE})[0]) == (kind == "."), (x, y)
    assert ladder_points(AT_START | {(3, 2): BLACK, (6, 6): WHITE}, WHITE) == (set(), {(2, 3)})


def test_a_ladder_along_the_edge() -> None:
    empty = (". . . . . . .",) * 4
    stones = picture(*empty, ". X X . . . .", ". X O . . . .", ". . . . . . .")
    assert ladder_points(stones) == ({(3, 5)}, set())
    assert ladder_points(stones | {(3, 5): BLACK}, WHITE) == (set(), set())


def test_taking_the_stone_that_gave_atari_escapes() -> None:
    """White's stone has no way out but to take Black's at 3, 2, whose last liberty is 3, 3."""
    walled = AT_START | {(3, 2): BLACK, (2, 4): BLACK}
    assert ladder_points(walled, WHITE) == (set(), set())
    assert ladder_points(walled | {(3, 1): WHITE, (4, 2): WHITE}, WHITE) == (set(), {(3, 3)})


def test_taking_back_a_ko_at_once_is_no_way() -> None:
    """Black takes a stone and is in atari where it stands; White may not take back."""
    stones = picture(". X O .", "X O . O", ". X O .", ". . . .")
    game, keys = board.new(4, set_up=listed(stones), first=BLACK)
    slow = SlowBoard(4, "positional", False, stones)
    for p in ((2, 1), (0, 3)):
        board.play(game, keys, cell(*p), slow.to_move)
        slow.play(slow.to_move, p)
        np.testing.assert_array_equal(drawn(game, keys), slow_planes(slow))


def test_a_net_is_no_ladder() -> None:
    """Black's 5, 5 would catch the stone at 4, 4; but not by atari upon atari, for which 7, 7 waits."""
    stones = {(x, y): EMPTY for x in range(9) for y in range(9)}
    stones |= {(4, 4): WHITE, (7, 7): WHITE, (3, 4): BLACK, (4, 3): BLACK, (3, 5): BLACK}
    assert ladder_points(stones) == (set(), set())
    assert ladder_points(stones | {(7, 7): EMPTY}) == ({(5, 4)}, set())


@pytest.mark.parametrize(("side", "games"), [(5, 6), (9, 3), (19, 1)])
def test_a_turned_board_has_turned_planes(side: int, games: int) -> None:
    def turn(grid: Any, symmetry: int) -> Any:
        grid = np.rot90(grid, symmetry % 4, (-2, -1))
        return grid[..., ::-1] if symmetry >= 4 else grid

    for seed in range(games):
        boards = [board.new(side, seed=seed) for _ in range(8)]
        cells = [turn(board.points(side).reshape(side, side), symmetry).ravel() for symmetry in range(8)]
        for move in range(int(1.2 * side * side)):
            game, keys = boards[0]
            p = int(board.random_move(game, keys))
            for own, turned in zip(boards, cells, strict=True):
                there = int(cells[0][np.flatnonzero(turned == p)[0]]) if p != PASS else PASS
                board.play(*own, there, own[0][board.TO_MOVE])
            if move % side == 0:
                straight = drawn(*boards[0])
                for symmetry in range(1, 8):
                    np.testing.assert_array_equal(drawn(*boards[symmetry]), turn(straight, symmetry))


def test_a_read_that_is_not_settled_in_time_does_not_catch() -> None:
    game, keys = board.new(9, board.SIMPLE, set_up=listed(AT_START))
    for most, caught in ((1000, True), (20, False), (1, False)):
        left = np.array([most])
        assert falls(game.copy(), keys.copy(), cell(2, 2), cell(3, 2), left) == caught


def test_what_calls_itself_is_not_kept_on_disk() -> None:
    """A second process that loaded it from numba's cache crashed."""
    assert type(falls._cache).__name__ == "NullCache"
