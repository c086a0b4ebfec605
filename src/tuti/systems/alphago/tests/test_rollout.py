"""The rollout policy: features against slow ones, what it keeps from move to move, chance, and learning."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuti.run import UserError, read_events
from tuti.run.files import hash_file
from tuti.systems.alphago import board
from tuti.systems.alphago import rollout as policy
from tuti.systems.alphago.board import BLACK, PASS, WHITE, cell
from tuti.systems.alphago.game import Game, cell_of
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.records import read_records, replay, split
from tuti.systems.alphago.rollout import Rollout, load_rollout, policy_playout, rollout, weigh
from tuti.systems.alphago.sgf import write_game
from tuti.systems.alphago.tests.slow_board import EMPTY, Point, SlowBoard
from tuti.systems.alphago.tests.test_board import is_eye, point
from tuti.systems.transformer.tests.small import go

RING = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)]

TINY = Rollout(Path("games"), size=5, epochs=5, held_out=0.2)


def turn(p: Point, symmetry: int, size: int = 1) -> Point:
    """A point of a board turned and mirrored; with size 1, a difference of two."""
    x, y = p
    for _ in range(symmetry % 4):
        x, y = size - 1 - y, x
    return (size - 1 - x, y) if symmetry >= 4 else (x, y)


def seen(slow: SlowBoard, q: Point) -> int:
    """0 empty, 7 border; 1 to 3 own stones by their chain's liberties, 4 to 6 the other's."""
    if q not in slow.stones:
        return 7
    if slow.stones[q] == EMPTY:
        return 0
    free = sum(slow.stones[r] == EMPTY for r in slow.region(slow.stones, q)[1])
    return min(free, 3) + (0 if slow.stones[q] == slow.to_move else 3)


def slow_hash(slow: SlowBoard, p: Point, beyond: bool, symmetry: int) -> int:
    """The pattern's hash, as seen by someone who looks at the board from another side."""
    values: list[int] = []
    for k, step in enumerate(RING):
        dx, dy = turn(step, symmetry)
        near = seen(slow, (p[0] + dx, p[1] + dy))
        far = seen(slow, (p[0] + 2 * dx, p[1] + 2 * dy)) if beyond and k % 2 == 0 else 0
        values.append(int(policy.SEEN[0, k % 2, 8 * far + near]))
    total = sum((values[k - 2] + values[k - 1] + values[k]) ** 3 for k in range(8))
    return total % 2**64 >> 64 - policy.BITS


def saves(slow: SlowBoard, p: Point) -> bool:
    near = [seen(slow, q) for q in slow.beside[p]]
    return 1 in near and sum({0: 1, 2: 1, 3: 2, 4: 1}.get(kind, 0) for kind in near) >= 2


def slow_slots(slow: SlowBoard, taken: set[Point], p: Point, symmetry: int) -> list[int]:
    """All features of a move."""
    found = [policy.PATTERN + slow_hash(slow, p, False, symmetry)] + [policy.SAVE] * saves(slow, p)
    last = slow.moves[-1][1] if slow.moves else None
    if last is not None:
        step = p[0] - last[0], p[1] - last[1]
        if 0 < abs(step[0]) + abs(step[1]) <= 2:  # after suicide the last move's point is free
            found += [policy.RESPONSE, policy.ANSWER + slow_hash(slow, p, True, symmetry)]
        found += [policy.NEIGHBOUR + RING.index(step)] if step in RING else []
    if p in taken and len(taken) <= 6:
        apart = [(a, (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) for a in taken for b in taken]
        total = sum(int(policy.APART[square]) * (3 if a == p else 1) for a, square in apart)
        found.append(policy.NAKADE + (total % 2**64 >> 64 - policy.BITS))
    return found


def positions(size: int, seed: int, moves: int, suicide: bool = False) -> Any:
    """A random game: (arrays, slow board, stones just taken) after each move."""
    chance, slow = random.Random(seed), SlowBoard(size, "positional", suicide, {})
    (game, keys), taken = board.new(size, board.POSITIONAL, suicide), set[Point]()
    for _ in range(moves):
        yield game, keys, slow, taken
        mover = slow.to_move
        legal = [q for q in slow.every if slow.verdict(mover, q) == "legal"]
        good = [q for q in legal if not is_eye(slow, mover, q)] or legal
        p = None if not good or chance.random() < 0.03 else chance.choice(good)
        before = slow.stones
        slow.play(mover, p)
        taken = {q for q in slow.every if before[q] and not slow.stones[q]}
        own = {p} if p is not None and not slow.stones[p] else set[Point]()  # it took itself off
        taken |= own
        assert board.play(game, keys, PASS if p is None else cell(*p), mover) == len(taken)
        if slow.over():
            return


def weights(seed: int = 0) -> Any:
    made = np.random.default_rng(seed).normal(0, 1, policy.TABLE).astype(np.float32)
    made[0] = 0
    return made


def weighed(game: Any, keys: Any, taken: int, table: Any) -> Any:
    logits = np.full(game[board.SIDE] ** 2 + 1, 7, np.float32)
    weigh(game, keys, taken, table, logits)
    return logits


@pytest.mark.parametrize(
    ("size", "games", "suicide"), [(2, 6, False), (4, 6, True), (5, 10, False), (19, 1, False)]
)
def test_logits_equal_those_added_up_slowly(size: int, games: int, suicide: bool) -> None:
    table, told = weights(), Counter[str]()
    for seed in range(games):
        played = positions(size, seed, 60 if size < 19 else 140, suicide)
        for ply, (game, keys, slow, taken) in enumerate(played):
            if size == 19 and ply % 35 != 34:
                continue
            want = np.full(size * size + 1, -np.inf, np.float32)
            for a, (x, y) in enumerate((a % size, a // size) for a in range(size * size)):
                if slow.verdict(slow.to_move, (x, y)) == "legal" and not is_eye(slow, slow.to_move, (x, y)):
                    slots = slow_slots(slow, taken, (x, y), (seed + ply) % 8)
                    want[a] = table[slots].sum()
                    told.update("save" for slot in slots if slot == policy.SAVE)
                    told.update("nakade" for slot in slots if policy.NAKADE <= slot < policy.ANSWER)
            want[-1] = 0 if (want == -np.inf).all() else -np.inf
            np.testing.assert_allclose(weighed(game, keys, len(taken), table), want, atol=1e-4)
    assert size in (2, 19) or min(told["save"], told["nakade"]) > 20, told


def test_a_turned_board_is_weighed_alike() -> None:
    size, table = 7, weights(1)
    table[policy.NEIGHBOUR : policy.NEIGHBOUR + 8] = [0.5, -0.5] * 4  # no direction is known
    moves = [(colour, p) for _, _, slow, _ in positions(size, 3, 60) for colour, p in slow.moves[-1:]]
    for plies in (1, 9, 20, 33, 47, 59):
        found: list[Any] = []
        for symmetry in range(8):
            (game, keys), taken = board.new(size), 0
            for colour, p in moves[:plies]:
                taken = board.play(game, keys, PASS if p is None else cell(*turn(p, symmetry, size)), colour)
            logits = weighed(game, keys, taken, table)
            order = [turn((a % size, a // size), symmetry, size) for a in range(size * size)]
            found.append([logits[y * size + x] for x, y in order])
        np.testing.assert_allclose(np.array(found[1:]), np.array(found[:1] * 7), atol=1e-5)


def test_hashes_tell_what_is_not_the_same_turned() -> None:
    """All rings of five kinds of points: as many hashes of 64 bits as kinds of rings."""
    rng = np.random.default_rng(0)
    rings = rng.integers(0, 8, (20_000, 8))
    rings = np.concatenate((rings, np.array(np.meshgrid(*[[0, 1, 7]] * 8)).reshape(8, -1).T))
    values = policy.SEEN[0, np.arange(8) % 2, rings]
    totals = ((np.roll(values, 2, 1) + np.roll(values, 1, 1) + values) ** np.uint64(3)).sum(1)
    least = rings @ 8 ** np.arange(8)
    for mirrored in (rings, rings[:, ::-1]):
        for k in range(8):
            turned = np.roll(mirrored, k, 1)
            if (k % 2 == 0) == (mirrored is rings):  # beside stays beside, corner stays corner
                least = np.minimum(least, turned @ 8 ** np.arange(8))
    kinds = len(np.unique(least))
    assert kinds == len(np.unique(totals)) == len(set(zip(totals.tolist(), least.tolist(), strict=True)))


def test_what_is_kept_from_move_to_move_is_what_is_seen_afresh() -> None:
    for size, seed, suicide in ((5, 1, False), (5, 2, True), (9, 3, False), (9, 4, True)):
        near, stale, fresh, rest = np.zeros((4, board.CELLS), np.uint8)
        kept: dict[tuple[int, int], Any] = {}
        plies = 0
        for game, keys, slow, taken in positions(size, seed, 150, suicide):
            if not slow.moves:
                policy.look(game, near, stale)
            elif slow.moves[-1][1] is not None:
                policy.follow(game, near, stale, len(taken))
            policy.look(game, fresh, rest)
            assert (near == fresh).all()
            for p in game[board.SPACE : board.SPACE + game[board.EMPTIES]]:
                for mover in (BLACK, WHITE):
                    now = policy.local(game, near, p, mover)
                    assert stale[p] & mover or kept[int(p), mover] == now
                    kept[int(p), mover] = now
                    lives = suicide or board.outcome(game, keys, p, mover)[0]
                    assert now[2] == (lives and not board.is_eye(game, p, mover))
                stale[p] = 0
            plies += 1
        assert plies > 40


def test_the_first_move_of_a_playout_is_drawn_by_the_softmax() -> None:
    table, owner, count = weights(2), np.empty(board.CELLS, np.int8), 4000
    game, keys, _, _ = [one for one, _ in zip(positions(5, 5, 20), range(12), strict=False)][-1]
    logits = weighed(game, keys, 99, table)  # so many are no nakade, which a playout does not know at first
    assert (logits > -np.inf).sum() >= 6
    game[board.MOVES] = 4 * 25 - 1  # one move, and the game is too long
    found = np.zeros(26)
    for seed in range(count):
        own, known = game.copy(), keys.copy()
        known[board.DICE] = board.chance(seed)
        lead = policy_playout(own, known, owner, table)
        assert own[board.MOVES] == 100 and lead == board.owners(own, owner)
        x, y = point(int(own[board.LAST])) or (0, 5)
        found[y * 5 + x] += 1
    want = np.exp(logits - logits.max())
    want *= count / want.sum()
    assert (found[want == 0] == 0).all()
    many = want > 5
    square = ((found - want)[many] ** 2 / want[many]).sum()
    assert square < many.sum() + 4 * math.sqrt(2 * many.sum()), (found, want)


def test_a_ko_is_not_retaken_however_much_it_is_wanted() -> None:
    game, keys = board.new(5)
    black, white = ((1, 0), (0, 1), (1, 2), (4, 4)), ((2, 0), (3, 1), (2, 2), (1, 1))
    for colour, (x, y) in ((c, p) for pair in zip(black, white, strict=True) for c, p in enumerate(pair, 1)):
        board.play(game, keys, cell(x, y), colour)
    assert board.play(game, keys, cell(2, 1), BLACK) == 1
    assert weighed(game, keys, 1, weights())[5 + 1] == -np.inf
    game[board.MOVES] = 4 * 25 - 1
    for seed in range(300):
        own, known = game.copy(), keys.copy()
        known[board.DICE] = board.chance(seed)
        policy_playout(own, known, np.empty(board.CELLS, np.int8), np.zeros(policy.TABLE, np.float32))
        assert own[board.LAST] not in (PASS, cell(1, 1))


def test_playouts_end_with_eyes_alone() -> None:
    for size in (2, 9, 19):
        game, keys = board.new(size, seed=size)
        owner = np.empty(board.CELLS, np.int8)
        lead = policy_playout(game, keys, owner, weights(3) * np.float32(0.3))
        assert board.over(game) and lead == owner.sum()
        if not board.too_long(game):
            assert weighed(game, keys, 0, weights())[-1] == 0


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Games of small searches against one another on 5 × 5."""
    folder = tmp_path_factory.mktemp("games")
    for number in range(40):
        game, player = Game(5, 0.5), open_player("playouts:100", 5, 2, number)
        game.play(BLACK, int(board.points(5)[number % 25]))
        while not game.over:
            game.play(game.to_move, player.choose(game, 0.0) or PASS)
        (folder / f"{number:02d}.sgf").write_bytes(write_game(game, result=game.result()))
    return folder


def test_records_hold_the_games(games: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    first, second = Game(5, 0.5), Game(5, 7)
    for game, cells in ((first, (cell(2, 2), PASS, PASS)), (second, (cell(1, 1), cell(2, 1)))):
        for p in cells:
            game.play(game.to_move, p)
    (tmp_path / "deep" / "a.sgf").write_bytes(write_game(first, result="B+24.5"))
    (tmp_path / "deep" / "er" / "b.sgf").write_bytes(write_game(second, result="0"))
    for number, (game, result) in enumerate((
        (Game(9, 7, moves=[(BLACK, cell(1, 1))]), "B+R"), (first, "Void: gnugo: it hung"), (first, ""),
        (Game(5, 7, set_up=[(BLACK, cell(1, 1))]), "W+R"), (Game(5, 7), "W+R"),
        (Game(5, 7, moves=[(BLACK, cell(1, 1)), (BLACK, cell(3, 1))]), "W+R"),
    )):  # fmt: skip
        (tmp_path / f"{number}.sgf").write_bytes(write_game(game, result=result))
    (tmp_path / "bad.sgf").write_text("(;no")
    found = read_records(tmp_path, 5)
    assert found.moves.tolist() == [[cell(2, 2), 0, 0], [cell(1, 1), cell(2, 1), -1]]
    assert (found.moves.dtype, found.size, found.komi) == (np.int16, 5, 0.5)  # most games' komi
    records = read_records(games, 5)
    (game, keys), plies = board.new(5), int((records.moves[7] >= 0).sum())
    assert replay(game, keys, records.moves[7], plies) == 0 and board.over(game)


def test_what_chance_moved_is_neither_learnt_nor_measured(tmp_path: Path) -> None:
    names = ["E5", "C3", "G7", "pass", "pass"]
    for number, chance in enumerate((2, 0, 3)):
        game = Game(9, 7)
        for name in (names[number], *names):
            if name == "pass" or game.legal(game.to_move, cell_of(name, 9)):
                game.play(game.to_move, cell_of(name, 9))
        (tmp_path / f"{number}.sgf").write_bytes(write_game(game, chance=chance))
    records = read_records(tmp_path, 9)
    known, measured = split(records, 0.1)
    assert records.chance.tolist() == [2, 0, 3]
    seen = np.concatenate((known, measured)).tolist()
    assert seen == [[game, ply] for game, first in enumerate((2, 0, 3)) for ply in range(first, 5)]


def test_folders_without_fitting_games_are_refused(games: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no .sgf file") as caught:
        go(tmp_path / "run", rollout, Rollout(records=tmp_path / "none"))
    assert caught.value.hint
    with pytest.raises(UserError, match="40 of size 5") as caught:
        go(tmp_path / "other", rollout, Rollout(records=games, size=9))
    assert "--size" in caught.value.hint
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.sgf").write_bytes((games / "03.sgf").read_bytes())
    with pytest.raises(UserError, match="of 1 games none is left"):
        go(tmp_path / "single", rollout, replace(TINY, records=tmp_path / "one"))


def test_a_rate_that_ends_in_no_number_is_refused(games: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nats") as caught:
        go(tmp_path / "run", rollout, replace(TINY, records=games, rate=1e38))
    assert caught.value.hint == "lower --rate"


def test_the_tiny_preset_beats_chance(games: Path, tmp_path: Path) -> None:
    run = go(tmp_path / "run", rollout, replace(TINY, records=games))
    (told,), epochs = (read_events(run.folder, event) for event in ("held out", "epoch"))
    assert told["games"] == 8 and told["low"] > told["chance"] and told["micros"] > 0, told
    assert len(epochs) == 5 and epochs[-1]["nats"] < epochs[0]["nats"] < math.log(25)
    found = load_rollout(run.folder)
    assert found.shape == (policy.TABLE,) and found[0] == 0 and np.isfinite(found).all() and found.any()


def test_damaged_weights_are_refused(games: Path, tmp_path: Path) -> None:
    run = go(tmp_path / "run", rollout, replace(TINY, records=games, epochs=1))
    path = run.folder / "artifacts" / "model" / "model.safetensors"
    whole = path.read_bytes()
    for bad in (whole[:-8], b"\xff" * len(whole)):
        path.write_bytes(bad)
        with pytest.raises(UserError) as caught:
            load_rollout(run.folder)
        assert caught.value.hint
    with pytest.raises(UserError, match="does not exist") as caught:
        load_rollout(tmp_path / "none")
    assert "rollout" in caught.value.hint


def test_killed_and_started_over_gives_the_same_bits(games: Path, tmp_path: Path) -> None:
    whole = go(tmp_path / "whole", rollout, replace(TINY, records=games, epochs=60)).folder
    order = [sys.executable, "-m", "tuti", "alphago", "rollout", str(games), *"--size 5 --epochs 60".split()]
    order += [*"--held-out 0.2 --threads 1 --device cpu --out".split(), str(tmp_path / "broken")]
    child = subprocess.Popen(order, start_new_session=True, stderr=subprocess.DEVNULL)
    while not read_events(tmp_path / "broken", "epoch"):
        assert child.poll() is None, "it ended before it was killed"
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL
    assert not (tmp_path / "broken" / "artifacts" / "model").exists()
    assert subprocess.run([*order, "--resume"], stderr=subprocess.DEVNULL).returncode == 0
    made = (folder / "artifacts" / "model" / "model.safetensors" for folder in (whole, tmp_path / "broken"))
    assert len({hash_file(path) for path in made}) == 1
