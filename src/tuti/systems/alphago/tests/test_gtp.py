"""GTP: sessions as GUIs hold them, what is refused in which words, clocks, hostile lines, GNU Go."""

import io
import math
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import Run, RunOptions
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, PASS, WHITE
from tuti.systems.alphago.game import RULES, Game, cell_of
from tuti.systems.alphago.gtp import Gtp, serve
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.sgf import read_game, write_game
from tuti.systems.alphago.tests.records import GNUGO, gnugo, needs_gnugo, random_game, stones_told

COMMANDS = """boardsize clear_board final_score final_status_list fixed_handicap genmove known_command komi
list_commands loadsgf name place_free_handicap play printsgf protocol_version quit reg_genmove
set_free_handicap showboard time_left time_settings undo version""".split()


def first_free(game: Game, seconds: float) -> int | None:
    return next((int(p) for p in board.points(game.size) if game.legal(game.to_move, int(p))), PASS)


def engine(choose=first_free, size: int = 9) -> Gtp:
    return Gtp(choose, "Tuti", "1.0", Game(size=size))


def say(gtp: Gtp, *lines: str) -> list[str | None]:
    return [reply and reply[:-2] for reply in map(gtp.answer, lines)]


def test_a_session_of_sabaki() -> None:
    gtp = engine(size=19)
    for command, reply in [
        ("1 name", "=1 Tuti"),
        ("2 version", "=2 1.0"),
        ("3 protocol_version", "=3 2"),
        ("4 list_commands", "=4 " + "\n".join(COMMANDS)),
        ("5 boardsize 9", "=5"),
        ("6 clear_board", "=6"),
        ("7 komi 6.5", "=7"),
        ("8 play B D4", "=8"),
        ("9 genmove W", "=9 A9"),
        ("10 play b pass", "=10"),
        ("11 undo", "=11"),
        ("12 undo", "=12"),
        ("13 play WHITE e5", "=13"),
        ("14 play w E6", "=14"),
        ("15 final_status_list alive", "=15 E6 E5 D4"),
        ("16 final_status_list dead", "=16"),
        ("17 final_score", "=17 W+7.5"),
        ("18 showboard", "=18 \n" + "   A B C D E F G H J"),
        ("19 quit", "=19"),
    ]:
        assert not gtp.done
        assert (say(gtp, command)[0] or "").startswith(reply), command
    assert gtp.done
    rows = (say(gtp, "showboard")[0] or "").splitlines()[2:]
    assert rows[3] == " 6 . . . . O . . . ." and rows[5] == " 4 . . . X . . . . ." and len(rows) == 9


def test_lines_are_read_as_the_protocol_says() -> None:
    gtp = engine()
    assert say(gtp, "", "  \t ", "\r\n", "# only a remark", "  # 1 name", "\x01\x7f") == [None] * 6
    assert say(gtp, "name\r\n", "\tname # remark", "na\x00me", "3\tkomi\t \t0.5#x") == ["= Tuti"] * 3 + ["=3"]
    assert say(gtp, "007 name", "9name", "12", "²name") == [
        "=007 Tuti", "? unknown command", "?12 unknown command", "? unknown command",
    ]
    assert gtp.game.komi == 0.5 and gtp.answer("name") == "= Tuti\n\n" and gtp.answer("komi 1") == "=\n\n"


@pytest.mark.parametrize(("line", "words"), [
    ("fly", "unknown command"), ("Name", "unknown command"), ("do_quit", "unknown command"),
    ("_run", "unknown command"), ("answer", "unknown command"),
    ("boardsize", "syntax error"), ("boardsize nine", "syntax error"), ("boardsize 9.0", "syntax error"),
    ("boardsize 9 9", "syntax error"), ("boardsize " + "9" * 5000, "syntax error"),
    *[(f"boardsize {size}", "unacceptable size") for size in ("1", "0", "-9", "20", "25", "9" * 200)],
    *[(f"komi {komi}", "syntax error") for komi in ("abc", "nan", "-Infinity", "1e999", "", "6,5", "6 5")],
    ("play b", "syntax error"), ("play x d4", "syntax error"), ("play b i5", "syntax error"),
    ("play b z99", "syntax error"), ("play b k10", "syntax error"), ("play b d0", "syntax error"),
    ("play b d-1", "syntax error"), ("play b ４4", "syntax error"), ("play b resign", "syntax error"),
    ("genmove", "syntax error"), ("genmove red", "syntax error"), ("reg_genmove", "syntax error"),
    ("undo", "cannot undo"),
    ("fixed_handicap 1", "invalid number of stones"), ("fixed_handicap 10", "invalid number of stones"),
    ("fixed_handicap x", "syntax error"), ("place_free_handicap 1", "invalid number of stones"),
    ("place_free_handicap 81", "invalid number of stones"), ("set_free_handicap", "bad vertex list"),
    ("set_free_handicap d4", "bad vertex list"), ("set_free_handicap d4 d4", "bad vertex list"),
    ("set_free_handicap d4 pass", "bad vertex list"), ("set_free_handicap d4 t19", "syntax error"),
    ("time_settings 1 2", "syntax error"), ("time_settings a b c", "syntax error"),
    ("time_settings nan 0 0", "syntax error"), ("time_left b 5 2.5", "syntax error"),
    ("time_left", "syntax error"), ("final_status_list", "syntax error"),
    ("final_status_list fine", "syntax error"),
    ("loadsgf", "syntax error"), ("loadsgf /none.sgf", "cannot load file"),
    ("loadsgf / 3", "cannot load file"),
    ("loadsgf x.sgf one", "syntax error"), ("known_command", "syntax error"), ("name please", "syntax error"),
])
def test_what_is_refused_and_in_which_words(line: str, words: str) -> None:
    gtp = engine()
    assert say(gtp, f"5 {line}", "final_score") == [f"?5 {words}", "= W+7.5"]


def test_moves_against_the_rules_are_illegal_and_change_nothing() -> None:
    gtp = engine(size=5)
    for move in ("b b5", "w c5", "b a4", "w d4", "b c3", "w b3", "b b4", "w c4"):
        say(gtp, f"play {move}")
    before = say(gtp, "showboard")
    assert say(gtp, "play b b5", "play w a5", "play w d4") == ["? illegal move"] * 3  # taken; suicide; taken
    assert say(gtp, "showboard") == before
    ko = engine(size=5)
    for move in ("b b5", "w c5", "b a4", "w d4", "b b3", "w c3", "b c4", "w b4"):
        assert say(ko, f"play {move}") == ["="]
    assert say(ko, "play b c4", "play b pass", "play w a1", "play b c4") == ["? illegal move", "=", "=", "="]


def test_handicap_stones_are_laid_once_and_are_not_moves() -> None:
    gtp = engine()
    assert say(gtp, "fixed_handicap 3") == ["= C3 G7 C7"]
    assert say(gtp, "fixed_handicap 3", "place_free_handicap 2", "set_free_handicap a1 b1") == [
        "? board not empty"
    ] * 3
    assert say(gtp, "undo") == ["? cannot undo"] and gtp.game.to_move == WHITE
    assert say(gtp, "clear_board", "set_free_handicap a1 J9 e5") == ["=", "="]
    assert say(gtp, "final_status_list alive") == ["= J9 E5 A1"]
    for size in range(2, 20):
        for count in range(2, size * size):
            say(gtp, f"boardsize {size}")
            reply = (say(gtp, f"place_free_handicap {count}")[0] or "")[2:].split()
            assert 2 <= len(set(reply)) == len(reply) <= count
            assert (gtp.game.stones == BLACK).sum() == len(reply)
            if count > 12:
                break


def test_a_board_is_cleared_of_what_the_first_game_held() -> None:
    given = Game(5, set_up=[(WHITE, cell_of("A1", 5))], first=WHITE)
    gtp = Gtp(first_free, game=given)
    assert say(gtp, "final_status_list alive", "play w c3", "clear_board") == ["= A1", "=", "="]
    assert not gtp.game.moves and not gtp.game.stones.any() and gtp.game.to_move == BLACK
    assert say(gtp, "play b c3", "boardsize 5", "play b c3", "time_left b 5 0", "clear_board") == ["="] * 5
    assert not gtp.left and not gtp.game.stones.any()


def test_a_new_board_keeps_komi_and_the_engines_rules(tmp_path: Path) -> None:
    gtp = Gtp(first_free, game=Game(5, 1.5, "situational", True))
    (tmp_path / "a.sgf").write_bytes(b"(;SZ[7]RU[Japanese]KM[3.5];B[aa];W[bb];B[cc])")
    assert say(gtp, f"loadsgf {tmp_path}/a.sgf") == ["="]
    assert (gtp.game.rule, gtp.game.komi, len(gtp.game.moves)) == ("simple", 3.5, 3)
    for move, played in (("1", 0), ("3", 2), ("4", 3), ("99", 3), ("0", 0)):
        assert say(gtp, f"loadsgf {tmp_path}/a.sgf {move}") == ["="] and len(gtp.game.moves) == played
    assert say(gtp, "komi 2", "boardsize 6") == ["=", "="]
    assert (gtp.game.rule, gtp.game.suicide, gtp.game.komi, gtp.game.size) == ("situational", True, 2, 6)
    assert say(gtp, "clear_board") == ["="] and gtp.game.komi == 2 and not gtp.game.moves


def test_the_engine_outlives_what_choose_does(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(game: Game, seconds: float) -> int | None:
        game.play(game.to_move, cell_of("E5", game.size))  # its own copy
        raise RuntimeError("no\nnet\n\nhere")

    gtp = engine(broken)
    said = "RuntimeError: no net here"
    assert say(gtp, "8 genmove b", "reg_genmove w") == [f"?8 {said}", f"? {said}"]
    assert not gtp.game.moves and "Traceback" in capsys.readouterr().err
    gtp.choose = lambda game, seconds: cell_of("E5", 9)
    assert say(gtp, "genmove b", "genmove w", "name") == ["= E5", "? move 2, E5, is not legal", "= Tuti"]
    for answer in (None, PASS, 10**6, -5, "E4", 2.5):
        gtp.choose = lambda game, seconds, answer=answer: answer  # type: ignore[assignment]
        reply = say(gtp, "genmove w", "name")
        assert reply[1] == "= Tuti" and (reply[0] or "").startswith(
            "= resign" if answer is None else "= pass" if answer == PASS else "? "
        )
    assert gtp.game.moves == [(BLACK, cell_of("E5", 9)), (WHITE, PASS)]


def test_genmove_plays_for_either_side_and_reg_genmove_for_nobody() -> None:
    gtp = engine()
    moves = say(gtp, "reg_genmove w", "genmove w", "genmove w", "reg_genmove b")
    assert moves == ["= A9", "= A9", "= B9", "= C9"]
    assert [colour for colour, _ in gtp.game.moves] == [WHITE, WHITE]
    say(gtp, "play b pass", "play w pass")
    assert say(gtp, "genmove b", "play b e5", "genmove w") == ["= pass", "=", "= C9"]


@pytest.mark.parametrize(("lines", "seconds"), [
    ([], math.inf), (["time_settings 0 1 0"], math.inf), (["time_settings 0 0 0"], 0),
    (["time_settings 0 30 1"], 27), (["time_settings 0 30 5"], 5.4), (["time_settings 810 0 0"], 36),
    (["time_settings 810 0 0", "time_left b 0 0"], 0), (["time_settings 810 0 0", "time_left b -3 0"], 0),
    (["time_settings 810 0 0", "time_left w 1 0"], 36), (["time_settings 810 30 5", "time_left b 10 2"], 4.5),
    (["time_settings 810 30 5"], 41.4), (["time_left b 10 2", "time_settings 0 30 1"], 27),
    (["time_settings 0 30 1", "time_left b 0 0"], 27), (["time_settings -5 0 -1"], 0),
])
def test_time_is_shared_out(lines: list[str], seconds: float) -> None:
    heard: list[float] = []
    gtp = engine(lambda game, seconds: heard.append(seconds))
    assert say(gtp, *lines) == ["="] * len(lines)
    say(gtp, "genmove b")
    assert heard == [pytest.approx(seconds)]


def test_time_is_counted_when_nobody_tells() -> None:
    gtp = engine(lambda game, seconds: time.sleep(0.05))
    say(gtp, "time_settings 10 0 0", "genmove b", "genmove b")
    assert 9.5 < gtp.left[BLACK][0] <= 9.9 and WHITE not in gtp.left
    say(gtp, "time_settings 0 9 3", "time_left b 6 2", "genmove b")
    assert gtp.left[BLACK][1] == 1
    say(gtp, "genmove b")
    assert gtp.left[BLACK] == (9, 3)


def test_nothing_but_the_protocol_is_written() -> None:
    def chatty(game: Game, seconds: float) -> int | None:
        print("thinking")
        return None

    out = io.BytesIO()
    serve(engine(chatty), io.BytesIO(b"\xff\xfe\r\n\n1 genmove b\r\n# x\nquit\nname\n"), out)
    assert out.getvalue() == b"? unknown command\n\n=1 resign\n\n=\n\n"
    out = io.BytesIO()
    serve(engine(), io.BytesIO(b"2 name"), out)  # the end without quit
    assert out.getvalue() == b"=2 Tuti\n\n"


def test_the_player_that_ships_as_a_gui_begins_it() -> None:
    """Sabaki's session once more, with the command itself and the real search; nothing but protocol comes."""
    words = [sys.executable, "-m", "tuti", "alphago", "gtp", "tuti", "--simulations", "20"]
    lines = [
        "1 name", "2 version", "3 protocol_version", "4 list_commands", "5 boardsize 9", "6 clear_board",
        "7 komi 6.5", "8 play B D4", "9 time_settings 0 1 1", "10 genmove W", "11 genmove B", "12 undo",
        "13 undo", "14 genmove W", "15 play B K5", "16 known_command genmove", "17 showboard", "18 genmove W",
        "19 final_score", "20 quit",
    ]  # fmt: skip
    said = subprocess.run(words, input="\n".join([*lines, ""]), capture_output=True, text=True)
    answers = said.stdout.split("\n\n")
    assert answers.pop() == "" and said.returncode == 0 and len(answers) == len(lines), said
    refused = [line for line, answer in zip(lines, answers, strict=True) if not answer.startswith("=")]
    assert refused == ["15 play B K5"]  # no column of that name
    assert [answer.split()[0][1:] for answer in answers] == [line.split()[0] for line in lines]
    found = [re.fullmatch(r"=\d+ ([A-HJ][1-9]|pass)", answers[number]) for number in (9, 10, 13, 17)]
    assert all(found), answers
    assert answers[15] == "=16 true" and re.fullmatch(r"=19 [BW]\+\d+\.5", answers[18])


def test_a_run_plays_on_the_board_that_it_learnt(tmp_path: Path) -> None:
    """As a GUI begins the engine: the command itself, of a run in a folder whose name has an @."""
    path = tmp_path / "a@b"
    save_net(Net(PLANES, 1, 8), Run(path, RunOptions(out=path)), size=5, komi=0.5)
    words = [sys.executable, "-m", "tuti", "alphago", "gtp", str(path), "--simulations", "4"]
    lines = b"0 final_score\n1 genmove b\n2 boardsize 9\n3 genmove w\n4 name\n"
    said = subprocess.run(words, input=lines, capture_output=True)
    komi, first, _, other, name, _ = said.stdout.decode().split("\n\n")
    assert komi == "=0 W+0.5"
    assert re.fullmatch("=1 ([A-E][1-5]|pass)", first) and name == "=4 Tuti", said
    assert other.startswith("?3 ") and "board of 5" in other  # it learnt no other
    wrong = subprocess.run([*words[:5], "nobody"], input=b"", capture_output=True)
    assert wrong.returncode == 1 and not wrong.stdout and b"no player is called" in wrong.stderr
    (tmp_path / "other" / "artifacts" / "words").mkdir(parents=True)
    (tmp_path / "other" / "artifacts" / "words" / "tuti.json").write_text('{"kind": "Words", "version": 1}')
    wrong = subprocess.run([*words[:5], str(tmp_path / "other")], input=b"", capture_output=True)
    assert wrong.returncode == 1 and not wrong.stdout and b"Traceback" not in wrong.stderr


WORDS = [*COMMANDS, *"b w black WHITE red 9 19 2 0 -1 7.5 1e9 nan pass A1 t19 J9 i3 D4 e5 alive seki".split()]
WORDS += ["#", "\t", "\x00", "é", "９", "", "12", "=", "?", "1_0", "9" * 30, "%s", "{}", "/dev/null", "."]


def check(gtp: Gtp, line: str) -> None:
    reply = gtp.answer(line)
    if reply is not None:
        assert re.fullmatch(r"[=?][0-9]*(?: [^\n]*(?:\n[^\n]+)*)?\n\n", reply), (line, reply)
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", reply) and "Error:" not in reply, (line, reply)
    assert gtp.answer("77 protocol_version") == "=77 2\n\n"


LINES = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=5).map(" ".join)


@given(st.lists(LINES, max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_lines_are_answered(lines: list[str]) -> None:
    gtp = engine(size=3)
    for line in lines:
        check(gtp, line)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_any_lines_are_answered_for_minutes() -> None:
    """TUTI_FUZZ seconds (600)."""
    seed, end = random.randrange(2**32), time.monotonic() + float(os.environ.get("TUTI_FUZZ", "600"))
    chance, count, search = random.Random(seed), 0, open_player("tuti", 9, 8, 0).choose
    print("seed", seed)

    def choose(game: Game, seconds: float) -> int | None:
        return search(game, seconds) if game.size == 9 else first_free(game, seconds)

    while time.monotonic() < end:
        gtp = engine(choose, size=chance.choice([2, 3, 5, 9]))
        for _ in range(chance.randrange(100)):
            line = chance.choice(COMMANDS) + " " + " ".join(chance.choices(WORDS, k=chance.randrange(4)))
            if chance.random() < 0.2:
                at = chance.randrange(len(line) + 1)
                letter = chr(chance.randrange(chance.choice([128, 0x3000])))
                line = line[:at] + letter + line[at + 1 :]
            check(gtp, line)
            count += 1
    print(count, "lines")


@needs_gnugo
@pytest.mark.parametrize("rule", RULES)
def test_gnugo_loads_what_printsgf_prints(tmp_path: Path, rule: str) -> None:
    commands, wanted, ko = [], [], "simple-ko" if rule == "simple" else f"{rule}-superko"
    for seed, size in enumerate([5, 7, 9, 9, 13, 19]):
        game = random_game(seed, size, rule, size * size)
        gtp = Gtp(first_free, game=game)
        file = tmp_path / f"{seed}.sgf"
        file.write_text((gtp.answer("printsgf") or "")[2:])
        assert say(gtp, f"loadsgf {file}") == ["="] and stones_told(gtp.game) == stones_told(game)
        commands += [f"loadsgf {file}", "list_stones black", "list_stones white"]
        commands += ["get_komi", "query_boardsize"]
        wanted += [*stones_told(game), {str(game.komi)}, {str(size)}]
    answers = gnugo(*commands, options=(f"--{ko}", "--forbid-suicide"))
    told = [set(answer[2:].split()) for i, answer in enumerate(answers[: len(commands)]) if i % 5]
    assert [{str(float(x)) for x in t} if i % 4 == 2 else t for i, t in enumerate(told)] == [
        {str(float(x)) for x in t} if i % 4 == 2 else t for i, t in enumerate(wanted)
    ]


@needs_gnugo
def test_gnugo_lays_the_same_handicap() -> None:
    cases = [(size, count) for size in range(5, 20) for count in range(1, 11)]
    each = ("boardsize {0}", "clear_board", "fixed_handicap {1}")
    commands = [line.format(*case) for case in cases for line in each]
    gtp = engine()
    for case, theirs, ours in zip(cases, gnugo(*commands)[2::3], say(gtp, *commands)[2::3], strict=False):
        assert ours and ours[0] == theirs[0], case
        assert ours[0] == "?" or set(ours.split()) == set(theirs.split()), case


@needs_gnugo
def test_a_match_with_gnugo() -> None:
    """Two engines of one referee: each hears the other's moves, and at the end both have the same stones."""
    assert GNUGO
    chance = random.Random(3)

    def anywhere(game: Game, seconds: float) -> int | None:
        options = [int(p) for p in board.points(game.size) if game.legal(game.to_move, int(p))]
        sensible = [p for p in options if not board.is_eye(game.arrays[0], p, game.to_move)]
        return chance.choice(sensible or [PASS])

    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    options = ["--mode", "gtp", "--level", "1", "--chinese-rules", "--positional-superko", "--seed", "1"]
    with subprocess.Popen([GNUGO, *options], **pipes) as process:  # type: ignore[call-overload]

        def theirs(command: str) -> str:
            process.stdin.write(command + "\n")
            reply = "".join(iter(process.stdout.readline, "\n")).strip()
            assert reply.startswith("="), (command, reply)
            return reply[2:]

        def ours(command: str) -> str:
            reply = gtp.answer(command) or ""
            assert reply.startswith("="), (command, reply)
            return reply[2:].strip()

        for size, begins in ((7, 0), (9, 1)):
            gtp, sides = engine(anywhere, size), [ours, theirs]
            for side in sides:
                side(f"boardsize {size}"), side("clear_board"), side("komi 6.5"), side("fixed_handicap 2")
            passes, turn = 0, begins
            for move in range(3 * size * size):
                colour = "wb"[move % 2]
                name = sides[turn](f"genmove {colour}")
                if name.lower() == "resign":
                    break
                passes = passes + 1 if name.lower() == "pass" else 0
                sides[1 - turn](f"play {colour} {name}")
                turn = 1 - turn
                if passes == 2:
                    break
            assert move > 10
            both = [set(theirs(f"list_stones {colour}").split()) for colour in ("black", "white")]
            assert both == stones_told(gtp.game)
            assert read_game(write_game(gtp.game)).game.moves == gtp.game.moves
        process.stdin.write("quit\n")
