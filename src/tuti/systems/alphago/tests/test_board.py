"""The board of compiled loops against the rules written slowly, against open_spiel and against GNU Go."""

import random
import re
import subprocess
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, BORDER, EMPTY, PASS, WHITE, cell
from tuti.systems.alphago.game import RULES, Game, cell_of, name_of
from tuti.systems.alphago.players import by_chance
from tuti.systems.alphago.tests.records import GNUGO, needs_gnugo
from tuti.systems.alphago.tests.slow_board import Point, SlowBoard, Stones, other

needs_open_spiel = pytest.mark.skipif(not find_spec("pyspiel"), reason="needs the package open_spiel")
every_rule = pytest.mark.parametrize("suicide", [False, True], ids=["no-suicide", "suicide"])


def few_or_many(few: dict[int, int], many: dict[int, int]) -> Any:
    """How many games of each size: few by default; with -m slow many, which make 10,000 in this file."""
    slow = [pytest.mark.slow, pytest.mark.timeout(7200)]
    return pytest.mark.parametrize(
        "plan", [pytest.param(few, id="few"), pytest.param(many, id="many", marks=slow)]
    )


def point(p: int) -> Point | None:
    return None if p == PASS else (p % board.WIDTH - 1, p // board.WIDTH - 1)


def stones_of(game: Any, size: int) -> Stones:
    return {(x, y): int(game[board.STONES + cell(x, y)]) for y in range(size) for x in range(size)}


def listed(stones: Stones) -> list[tuple[int, int]]:
    """Stones as board.new takes them."""
    return [(colour, cell(*p)) for p, colour in stones.items() if colour]


def picture(*rows: str) -> Stones:
    """Stones as drawn: X is Black, O is White."""
    return {(x, y): ".XO".index(c) for y, row in enumerate(rows) for x, c in enumerate(row.split())}


def random_stones(chance: random.Random, size: int) -> Stones:
    """Stones anywhere, all with liberties."""
    slow, share = SlowBoard(size, "simple", False, {}), chance.choice((0.2, 0.5, 0.8))
    stones = {p: chance.choice((BLACK, WHITE)) if chance.random() < share else EMPTY for p in slow.every}
    for colour in (BLACK, WHITE):
        stones |= {p: EMPTY for chain in slow.dead(stones, slow.every, colour) for p in chain}
    return stones


def is_eye(slow: SlowBoard, colour: int, p: Point) -> bool:
    """Own stones on all sides, and at the corners fewer than two enemies; at the board's edge, none."""
    x, y = p
    corners = [(x - 1, y - 1), (x + 1, y - 1), (x - 1, y + 1), (x + 1, y + 1)]
    enemies = sum(slow.stones.get(q) == other(colour) for q in corners)
    allowed = 1 if all(q in slow.stones for q in corners) else 0
    return all(slow.stones[q] == colour for q in slow.beside[p]) and enemies <= allowed


def check_inside(game: Any, keys: Any, slow: SlowBoard, stamps: dict[Point, int]) -> None:
    """What the arrays hold beside the stones is what can be counted from the stones."""
    position, done = 0, set()
    for p in slow.every:
        if not slow.stones[p] or p in done:
            continue
        chain, edge = slow.region(slow.stones, p)
        done |= chain
        assert any(slow.stones[q] == EMPTY for q in edge)
        cells = sorted(cell(*q) for q in chain)
        ring = [cells[0]]
        while (at := int(game[board.NEXT + ring[-1]])) != cells[0]:
            ring.append(at)
        assert sorted(ring) == cells
        head = int(game[board.HEAD + cells[0]])
        assert head in cells and set(game[board.HEAD + np.array(cells)]) == {head}
        pairs = [(q, r) for q in chain for r in slow.beside[q] if slow.stones[r] == EMPTY]
        assert (game[board.SIZE + head], game[board.LIBERTIES + head]) == (len(chain), len(pairs))
        key = int(np.bitwise_xor.reduce(board.KEYS[cells, slow.stones[p]]))
        assert int(keys[head]) == key
        position ^= key
    assert all(game[board.STAMP + cell(*p)] == stamps.get(p, 0) for p in done)
    assert int(keys[board.POSITION]) == position
    empty = [cell(*p) for p in slow.every if slow.stones[p] == EMPTY]
    listed = game[board.SPACE : board.SPACE + game[board.EMPTIES]].tolist()
    assert sorted(listed) == empty
    assert game[board.PLACE + np.array(listed, int)].tolist() == list(range(len(listed)))
    outside = np.setdiff1d(np.arange(board.CELLS), board.points(slow.size))
    assert (game[board.STONES + outside] == BORDER).all()


def check_move(game: Any, keys: Any, slow: SlowBoard, colour: int, p: Point | None, seen: Counter) -> None:
    """Plays one legal move, or a pass, on both boards."""
    at = cell(*p) if p else PASS
    lives, takes, key = board.outcome(game, keys, at, colour) if p else (True, 0, keys[board.POSITION])
    eye = p is not None and is_eye(slow, colour, p)
    taken, own = slow.play(colour, p)
    stones = sum(map(len, taken))
    assert board.play(game, keys, at, colour) == stones + own
    assert (lives, takes) == (own == 0, stones)
    assert own or key == keys[board.POSITION]
    assert stones_of(game, slow.size) == slow.stones
    assert game[board.LAST] == at and game[board.MOVES] == len(slow.moves)
    assert board.over(game) == slow.over() and game[board.TO_MOVE] == slow.to_move
    seen.update(moves=1, passes=p is None, captures=stones > 0, stones_taken=stones)
    seen.update(several_chains_at_once=len(taken) > 1, suicides=own > 0, eyes_filled=eye)


def check_legal(game: Any, keys: Any, slow: SlowBoard, colour: int, seen: Counter) -> list[Point]:
    """The legal points on both boards."""
    verdicts = {p: slow.verdict(colour, p) for p in slow.every}
    for p, verdict in verdicts.items():
        assert bool(board.legal(game, keys, cell(*p), colour)) == (verdict == "legal"), (p, colour, verdict)
        if verdict == "repetition":
            back = tuple(slow.after(colour, p)[0].values()) == slow.positions[-2]
            seen.update(ko_bans=back, superko_bans=not back)
    assert board.legal(game, keys, PASS, colour)
    seen.update(legality=len(verdicts))
    return [p for p, verdict in verdicts.items() if verdict == "legal"]


def check_game(seed: int, size: int, rule: str, suicide: bool, seen: Counter, moves: int = 2000) -> None:
    """A random game on both boards; one in three from set-up stones, one in three with turns missed."""
    chance = random.Random(seed)
    set_up = random_stones(chance, size) if seed % 3 == 0 else {}
    first = chance.choice((BLACK, WHITE))
    slow = SlowBoard(size, rule, suicide, set_up, first)
    game, keys = board.new(size, RULES.index(rule), suicide, seed, listed(set_up), first)
    stamps: dict[Point, int] = {}
    check_inside(game, keys, slow, stamps)
    while not slow.too_long() and len(slow.moves) < moves:
        wild = seed % 3 == 1  # also goes on after two passes
        if slow.over() and not wild:
            break
        colour = other(slow.to_move) if wild and chance.random() < 0.1 else slow.to_move
        legal = check_legal(game, keys, slow, colour, seen)
        p = chance.choice(legal) if legal and chance.random() > 0.03 else None
        check_move(game, keys, slow, colour, p, seen)
        if p:
            stamps[p] = len(slow.moves)
        if size < 5 or len(slow.moves) % 5 == 0:
            check_inside(game, keys, slow, stamps)
    if slow.too_long():
        assert check_legal(game, keys, slow, slow.to_move, Counter()) == []
    owner = np.full(board.CELLS, 7, np.int8)
    truth = {p: {EMPTY: 0, BLACK: 1, WHITE: -1}[colour] for p, colour in slow.owners().items()}
    assert board.owners(game, owner) == sum(truth.values())
    assert {p: int(owner[cell(*p)]) for p in slow.every} == truth
    assert np.count_nonzero(owner) == np.count_nonzero(list(truth.values()))
    seen.update(games=1, too_long=slow.too_long())


@few_or_many(
    {2: 9, 3: 9, 4: 6, 5: 4, 6: 1, 7: 1},
    {2: 30, 3: 30, 4: 30, 5: 150, 6: 15, 7: 40, 8: 3, 9: 2},
)
@pytest.mark.parametrize("rule", RULES)
@every_rule
def test_random_games_are_those_of_the_slow_board(rule: str, suicide: bool, plan: dict[int, int]) -> None:
    seen: Counter = Counter()
    for size, games in plan.items():
        for seed in range(games):
            check_game(1000 * size + seed, size, rule, suicide, seen)
    print("\nslow board:", rule, suicide, dict(seen))
    for what in ("captures", "several_chains_at_once", "eyes_filled", "passes", "too_long", "ko_bans"):
        assert seen[what] > 0, (what, seen)
    assert (seen["superko_bans"] > 0) == (rule != "simple"), seen
    assert (seen["suicides"] > 0) == suicide, seen


@pytest.mark.parametrize("size,seed", [*zip(range(8, 20), range(1, 13), strict=True)])
def test_larger_boards_are_those_of_the_slow_board(size: int, seed: int) -> None:
    seen: Counter = Counter()
    check_game(seed, size, RULES[seed % 2], seed % 4 > 1, seen, moves=200)
    assert seen["captures"] > 0 and seen["games"] == 1


def legal_names(game: Any, keys: Any, size: int, colour: int) -> set[str]:
    cells = board.points(size).tolist()
    return {name_of(p, size) for p in cells if board.legal(game, keys, p, colour)}


@needs_open_spiel
@few_or_many({2: 6, 3: 10, 5: 20, 7: 10, 9: 4}, {3: 400, 5: 2500, 7: 1400, 9: 620, 13: 70, 19: 6})
def test_open_spiel_knows_the_same_moves_and_scores(plan: dict[int, int]) -> None:
    seen: Counter = Counter()
    for size, games in plan.items():
        for seed in range(games):
            check_with_open_spiel(10_000 * size + seed, size, seen)
    print("\nopen_spiel:", dict(seen))
    for what in ("captures", "repetitions", "won", "lost"):
        assert seen[what] > 0, (what, seen)


def check_with_open_spiel(seed: int, size: int, seen: Counter) -> None:
    """Its ko is the simple one, but a move that repeats a position ends its game as a draw."""
    import pyspiel

    longest = board.LONGEST * size * size
    chance, rules = random.Random(seed), {"board_size": size, "max_game_length": longest + 2}
    state = pyspiel.load_game("go", rules | {"komi": 0.5}).new_initial_state()
    action = {cell(x, y): (size - 1 - y) * size + x for x in range(size) for y in range(size)}
    action[PASS] = size * size
    ours, simple = board.new(size, board.POSITIONAL), board.new(size, board.SIMPLE)
    actions: list[int] = []
    while not board.over(ours[0]):
        colour = int(ours[0][board.TO_MOVE])
        legal = [p for p in board.points(size).tolist() if board.legal(*ours, p, colour)]
        theirs = set(state.legal_actions())
        assert {a for p, a in action.items() if board.legal(*simple, p, colour)} == theirs
        repeats = {a for a in theirs - {size * size} if state.child(a).is_terminal()}
        assert {action[p] for p in legal} == theirs - repeats - {size * size}
        p = chance.choice(legal) if legal and chance.random() > 0.03 else PASS
        state.apply_action(action[p])
        actions.append(action[p])
        taken = board.play(*ours, p, colour)
        assert board.play(*simple, p, colour) == taken
        seen.update(moves=1, legality=len(action), captures=taken > 0, repetitions=len(repeats))
    for y, row in enumerate(re.findall(r"^ *\d+ ([+XO]+)", str(state), re.M)):
        assert ["+XO".index(c) for c in row] == ours[0][board.STONES + cell(0, y) :][:size].tolist()
    lead = int(board.owners(ours[0], np.empty(board.CELLS, np.int8)))
    for komi in (lead - 0.5, lead + 0.5):
        end = pyspiel.load_game("go", rules | {"komi": komi}).new_initial_state()
        for a in actions + [size * size] * (longest + 2 - len(actions)):
            if not end.is_terminal():
                end.apply_action(a)
        won = lead > komi
        assert end.is_terminal() and end.returns() == ([1, -1] if won else [-1, 1])
    seen.update(games=1, won=lead > 0, lost=lead < 0)


class GnuGo:
    def __init__(self, process: Any) -> None:
        self.process = process

    def ask(self, commands: list[str]) -> list[str]:
        """Its answers; commands go in lots, so that neither side waits for a full pipe."""
        answers: list[str] = []
        for start in range(0, len(commands), 100):
            lot = commands[start : start + 100]
            self.process.stdin.write("\n".join(lot) + "\n")
            self.process.stdin.flush()
            for command in lot:
                lines = list(iter(self.process.stdout.readline, "\n"))
                assert lines and lines[0].startswith("="), (command, lines, commands)
                answers.append("".join(lines)[1:].strip())
        return answers


@contextmanager
def gnugo(rule: str, suicide: bool) -> Generator[GnuGo]:
    ko = "simple-ko" if rule == "simple" else f"{rule}-superko"
    options = ["--chinese-rules", f"--{ko}", "--allow-suicide" if suicide else "--forbid-suicide"]
    assert GNUGO
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([GNUGO, "--mode", "gtp", *options], **pipes) as process:
        yield GnuGo(process)
        process.stdin.close()


def repeated_suicides(game: Any, keys: Any, size: int, colour: int, rule: str, suicide: bool) -> set[str]:
    """Suicides that a superko forbids: GNU Go's does not see them (the slow board's does)."""
    cells = board.points(size).tolist() if suicide and rule != "simple" else []
    banned = [p for p in cells if game[board.STONES + p] == EMPTY and not board.legal(game, keys, p, colour)]
    return {
        name_of(p, size)
        for p in banned
        if not board.outcome(game, keys, p, colour)[0]
        and any(game[board.STONES + p + d] == colour for d in board.AROUND)
    }


def check_with_gnugo(peer: GnuGo, seed: int, size: int, rule: str, suicide: bool, seen: Counter) -> None:
    """A game of ours told to GNU Go, which says after each move where one may play."""
    chance, colours = random.Random(seed), {BLACK: "black", WHITE: "white"}
    game, keys = board.new(size, RULES.index(rule), suicide)
    commands, legal_then, prisoners = [f"boardsize {size}", "clear_board"], [], {BLACK: 0, WHITE: 0}
    while not board.over(game):
        colour = int(game[board.TO_MOVE])
        legal = legal_names(game, keys, size, colour)
        name = chance.choice(sorted(legal)) if legal and chance.random() > 0.03 else "pass"
        legal_then.append(legal | repeated_suicides(game, keys, size, colour, rule, suicide))
        commands += [f"all_legal {colours[colour]}", f"play {colours[colour]} {name}"]
        taken = board.play(game, keys, cell_of(name, size), colour)
        own = name != "pass" and game[board.STONES + cell_of(name, size)] == EMPTY
        prisoners[other(colour) if own else colour] += taken
        seen.update(moves=1, legality=size * size, captures=taken > 0 and not own, suicides=bool(own))
    commands += [f"{what} {colour}" for what in ("list_stones", "captures") for colour in colours.values()]
    answers = peer.ask(commands)
    for legal, answer in zip(legal_then, answers[2:-4:2], strict=True):
        assert legal == set(answer.split()), commands
    for colour, names in zip(colours, answers[-4:-2], strict=True):
        own = {name_of(cell(*p), size) for p, c in stones_of(game, size).items() if c == colour}
        assert own == set(names.split()), commands
    assert [str(n) for n in prisoners.values()] == answers[-2:], commands
    seen.update(games=1)


@needs_gnugo
@few_or_many({3: 3, 5: 5, 7: 3, 9: 1}, {3: 10, 5: 240, 7: 180, 9: 100, 11: 4})
@pytest.mark.parametrize("rule", RULES)
@every_rule
def test_gnugo_knows_the_same_moves_and_stones(rule: str, suicide: bool, plan: dict[int, int]) -> None:
    """Boards up to 11: of more than 500 moves GNU Go forgets the first."""
    seen: Counter = Counter()
    with gnugo(rule, suicide) as peer:
        for size, games in plan.items():
            for seed in range(games):
                check_with_gnugo(peer, 10_000 * size + seed, size, rule, suicide, seen)
    print("\nGNU Go:", rule, suicide, dict(seen))
    assert seen["captures"] > 0 and (seen["suicides"] > 0) == suicide


@needs_gnugo
@few_or_many({5: 6, 7: 4, 9: 2}, {5: 300, 7: 200, 9: 150, 11: 20})
def test_gnugo_counts_the_same_score(plan: dict[int, int]) -> None:
    """Of games that fill no eyes: GNU Go, which judges life and death, finds all stones alive, as we do."""
    seen: Counter = Counter()
    with gnugo("positional", False) as peer:
        for size, games in plan.items():
            for seed in range(games):
                game, choose = Game(size, 0.5), by_chance(1000 * size + seed)
                while not game.over:
                    game.play(game.to_move, choose(game, 0.0) or PASS)
                told = [f"play {'BW'[c - 1]} {name_of(p, size)}" for c, p in game.moves]
                start, ends = [f"boardsize {size}", "clear_board", "komi 0.5"], ["dead", "seki"]
                asked = [*start, *told, *(f"final_status_list {what}" for what in ends), "final_score"]
                dead, seki, score = peer.ask(asked)[-3:]
                seen.update(games=1, judged=bool(dead or seki), black=game.lead() > 0)
                if not dead and not seki:
                    assert score == game.result(), asked
    print("\nGNU Go's scores:", dict(seen))
    assert seen["judged"] <= seen["games"] // 10 and 0 < seen["black"] < seen["games"]


def drawn(*rows: str, rule: str = "positional", suicide: bool = False, first: int = BLACK) -> tuple[Any, Any]:
    return board.new(len(rows), RULES.index(rule), suicide, 0, listed(picture(*rows)), first)


def test_four_chains_go_at_once_and_one_that_touches_four_times_goes_once() -> None:
    game, keys = drawn(". . X . .", ". X O X .", "X O . O X", ". X O X .", ". . X . .")
    assert board.play(game, keys, cell(2, 2), BLACK) == 4 and game[board.KO] == 0
    game, keys = drawn("O O O X", "O . O X", "O O O X", "X X X .")
    assert not board.legal(game, keys, cell(1, 1), WHITE) and board.legal(game, keys, cell(1, 1), BLACK)
    assert board.play(game, keys, cell(1, 1), BLACK) == 8


@pytest.mark.parametrize("rule", RULES)
def test_a_ko_may_not_be_retaken_at_once(rule: str) -> None:
    game, keys = drawn(". X O .", "X O . O", ". X O .", ". . . .", rule=rule)
    retake = cell(1, 1)
    assert board.play(game, keys, cell(2, 1), BLACK) == 1
    assert not board.legal(game, keys, retake, WHITE) and board.legal(game, keys, retake, BLACK)
    for colour, p in ((WHITE, cell(0, 3)), (BLACK, cell(3, 3))):
        board.play(game, keys, p, colour)
    assert board.legal(game, keys, retake, WHITE) and board.play(game, keys, retake, WHITE) == 1


@pytest.mark.parametrize("rule", RULES)
def test_two_stones_sent_and_one_returned(rule: str) -> None:
    """The position comes again, but with the other colour to move; and ko sees two stones taken."""
    game, keys = drawn(". O . O", "X X O O", ". . . .", ". . . .", rule=rule, first=WHITE)
    assert board.play(game, keys, cell(0, 0), WHITE) == 0
    assert board.play(game, keys, cell(2, 0), BLACK) == 2
    assert board.legal(game, keys, cell(1, 0), WHITE) == (rule != "positional")


@pytest.mark.parametrize("rule", RULES)
def test_a_pass_makes_a_situation_which_may_not_come_again(rule: str) -> None:
    game = Game(3, rule=rule)
    for name in ("A3", "B3", "B2", "C3", "A1", "C2", "pass", "A2"):
        game.play(game.to_move, cell_of(name, 3))
    assert not game.legal(BLACK, cell_of("A3", 3))


def test_suicide_where_it_is_allowed_is_of_two_stones_or_more() -> None:
    for suicide in (False, True):
        game, keys = drawn(". O X", "X X .", ". . .", suicide=suicide, first=WHITE)
        assert board.legal(game, keys, cell(0, 0), WHITE) == suicide
        lone, lone_keys = drawn(". X .", "X . .", ". . .", suicide=suicide, first=WHITE)
        assert not board.legal(lone, lone_keys, cell(0, 0), WHITE)
    assert board.play(game, keys, cell(0, 0), WHITE) == 2
    assert sum(game[board.STONES + board.points(3)] == WHITE) == 0
