"""SGF: games there and back, what others write, foreign scripts, what is refused, and damaged files."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgfmill.sgf import Sgf_game

from tuti.run import UserError
from tuti.systems.alphago.board import BLACK, PASS, WHITE
from tuti.systems.alphago.game import RULES, Game, cell_of
from tuti.systems.alphago.sgf import LARGEST, read_game, write_game
from tuti.systems.alphago.tests.records import GNUGO, gnugo, needs_gnugo, random_game, stones_told

GOOD = [
    b"(;GM[1]FF[4]CA[UTF-8]SZ[9]KM[5.5]RU[Chinese]PB[A \\] B]PW[C]RE[B+R];B[ee];W[ce](;B[tt];W[])(;C[no]))",
    b"(;FF[3]SZ[19]HA[2]AB[dd][pp]AW[aa:bb]PL[W]LB[dd:1][pp:2]C[x\\]\ny];W[dp]BL[3.5];B[jj]TR[aa])",
    b"junk before (;GaMe[1]SiZe[5];B[aa];W[bb] ;B[ba])\n(;SZ[9];B[zz])",
    b"(;CA[GB2312]PB[\xc4\xe3]SZ[13];B[mm])",
]


def same(one: Game, other: Game) -> bool:
    kept = [
        (g.size, g.komi, g.rule, g.suicide, sorted(g.set_up), g.first, g.moves, g.to_move, g.stones.tolist())
        for g in (one, other)
    ]
    return kept[0] == kept[1]


@given(
    st.integers(0, 2**32), st.integers(2, 19), st.sampled_from(RULES), st.booleans(), st.integers(0, 60),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_a_game_comes_back(
    seed: int, size: int, rule: str, suicide: bool, moves: int, text: str, chance: int
) -> None:
    game = random_game(seed, size, rule, moves)
    game.suicide = suicide
    names = " ".join(text.split()), "W]\\:"
    data = write_game(game, names, "B+2.5", chance)
    record = read_game(data)
    assert same(record.game, game) and (record.result, record.chance) == ("B+2.5", chance)
    assert record.players == (" ".join(names[0].split()), names[1])
    assert len(record.tree.get_main_sequence()) == len(game.moves) + 1
    assert write_game(record.game, record.players, record.result, chance) == data
    again = Sgf_game.from_bytes(record.tree.serialise())  # all of it is kept
    assert again.serialise() == data


def test_what_a_file_says_is_heard() -> None:
    record = read_game(GOOD[0])
    assert record.players == ("A ] B", "C") and (record.result, record.handicap) == ("B+R", 0)
    game = record.game
    assert (game.size, game.komi, game.rule, game.first) == (9, 5.5, "positional", BLACK)
    assert game.moves == [(BLACK, cell_of("E5", 9)), (WHITE, cell_of("C5", 9)), (BLACK, PASS), (WHITE, PASS)]
    assert record.tree.serialise().count(b"(") == 3 and b"no" in record.tree.serialise()  # variations
    record = read_game(GOOD[1])
    assert (record.handicap, record.game.first, record.game.rule, record.game.komi) == (2, WHITE, "simple", 0)
    assert (record.game.stones == BLACK).sum() == 3 and (record.game.stones == WHITE).sum() == 5
    assert len(read_game(GOOD[2]).game.moves) == 3  # the first game only, and names of old
    assert read_game(b"(;KM[]HA[]RU[]SZ[9])").game.komi == 0
    for said, rule, suicide in (
        ("AGA", "situational", False), (" nz ", "situational", True), ("?", "simple", False),
        ("Tromp-Taylor", "positional", True), ("JAPANESE", "simple", False),
    ):
        game = read_game(f"(;SZ[5]RU[{said}])".encode()).game
        assert (game.rule, game.suicide) == (rule, suicide)


@pytest.mark.parametrize(("data", "first"), [
    (b"(;SZ[5])", BLACK), (b"(;SZ[5];W[aa])", WHITE), (b"(;SZ[5]AB[aa][bb])", WHITE),
    (b"(;SZ[5]AB[aa]AW[cc])", BLACK),
    (b"(;SZ[5]AB[aa]PL[B])", BLACK), (b"(;SZ[5]AB[aa][bb];B[cc])", BLACK), (b"(;SZ[5]PL[w])", WHITE),
])
def test_who_begins(data: bytes, first: int) -> None:
    assert read_game(data).game.first == first


@pytest.mark.parametrize("codec", ["gbk", "gb18030", "big5", "shift_jis", "euc_kr", "latin-1", "utf-8"])
def test_foreign_scripts(codec: str) -> None:
    """Even where a character ends in the byte of a bracket or a backslash."""
    length = 1 if codec == "latin-1" else 2
    names = [chr(c) for c in range(0xA1, 0xD7FF) if len(word(chr(c), codec)) == length]
    ends = [c for c in names if word(c, codec)[-1:] in b"]\\"] or names
    name = "".join(ends[:10] + names[-3:])
    record = read_game(f"(;CA[{codec}]SZ[9]PB[{name}];B[aa];W[bb])".encode(codec))
    assert record.players[0] == name and len(record.game.moves) == 2


def word(c: str, codec: str) -> bytes:
    return c.encode(codec, "ignore")


def test_files_without_a_true_charset_are_still_played() -> None:
    for data, name in (
        ("(;SZ[9]PB[柯洁];B[aa])".encode(), "柯洁"),
        ("(;SZ[9]PB[Erdős ö];B[aa])".encode("iso8859-2"), "Erdõs ö"),
        ("(;SZ[9]CA[klingon]PB[é];B[aa])".encode(), "é"), (b"(;SZ[9]CA[cp_none]PB[\xe9];B[aa])", "é"),
        (b"(;SZ[9]CA[utf-8]PB[\xe9];B[aa])", "�"), (b"\xef\xbb\xbf(;SZ[9]PB[x];B[aa])", "x"),
        (b"(;SZ[9]CA[punycode]PB[x];B[aa])", "x"), (b"(;SZ[9]CA[hex]PB[x];B[aa])", "x"),
    ):
        assert read_game(data).players[0] == name and len(read_game(data).game.moves) == 1, data


@pytest.mark.parametrize(("data", "told"), [
    (b"", "no SGF data"), (b"not a game", "no SGF data"), (b"(;", "unexpected end"),
    (b"(;B[aa]", "unexpected end"),
    (b"(;B[aa", "unexpected end"), (b"(;)" * 400_000, "more than 1,000,000 bytes"),
    (b"(;GM[2]B[x])", "not Go"),
    (b"(;SZ[25])", "a board of 25"), (b"(;SZ[1])", "a size"), (b"(;SZ[99])", "99"), (b"(;SZ[-3])", "-3"),
    (b"(;SZ[19:13])", "19:13"), (b"(;SZ[" + b"9" * 5000 + b"])", "SZ"), (b"(;KM[nan])", "not a number"),
    (b"(;KM[6,5])", "6,5"), (b"(;KM[1e999])", "infinite"), (b"(;HA[two])", "two"),
    (b"(;PL[X])", "means nothing"),
    (b"(;SZ[9];B[zz])", "means nothing"), (b"(;SZ[9];B[a])", "unpack"), (b"(;SZ[9];B[jj])", "means nothing"),
    (b"(;SZ[9];B[aa];W[aa])", "move 2, A9, is not legal"),
    (b"(;SZ[5];B[ba];W[ee];B[ab];W[aa])", "move 4, A5"),
    (b"(;SZ[9];B[aa];AB[bb])", "setup"), (b"(;SZ[9];B[aa];W[bb]AE[aa])", "setup"),
    (b"(;SZ[5]AB[aa]AW[ab][ba])", "setup position not legal"), (b"(;SZ[9]AB[aa:zz])", "means nothing"),
    (b"(;SZ[5]AB" + b"[aa:ee]" * 26 + b")", "more values"),
])
def test_what_is_refused(data: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^the SGF: (?s:.*)\nhint: ") as error:
        read_game(data)
    assert told in str(error.value)
    (tmp_path / "g.sgf").write_bytes(data)
    with pytest.raises(UserError, match="g.sgf: "):
        read_game(tmp_path / "g.sgf")


def test_files_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.sgf", Path("/dev/zero")):
        with pytest.raises(UserError, match=str(path)):
            read_game(path)


@pytest.mark.parametrize("data", [
    b"(;" * 60_000 + b"SZ[9]" + b")" * 60_000, b"(;SZ[9]" + b"(;" * 60_000 + b")" * 60_001,
    b"(;SZ[9]" + b";" * 100_000 + b")",
    b"(;SZ[9]" + b";B[]" * 20_000 + b")", b"(;SZ[9]C[" + b"\\]" * 100_000 + b"])",
])
def test_deep_and_long_files_are_read_or_refused_quickly(data: bytes) -> None:
    assert len(data) <= LARGEST
    start = time.monotonic()
    check(data)
    assert time.monotonic() - start < 20


def check(data: bytes) -> bool:
    """Whether it was read, not refused with a hint: then what is written of it reads the same."""
    try:
        record = read_game(data)
    except UserError as error:
        assert error.hint
        return False
    assert same(read_game(write_game(record.game, record.players, record.result)).game, record.game)
    return True


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_are_read_or_refused(good: bytes, data: st.DataObject) -> None:
    content = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content)))
        put = st.binary(max_size=3) | st.sampled_from([b"(", b")", b";", b"[", b"]", b"[aa]", b"\\"])
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(put)
    check(bytes(content))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_damaged_files_for_minutes() -> None:
    """TUTI_FUZZ seconds (600)."""
    seed, end = random.randrange(2**32), time.monotonic() + float(os.environ.get("TUTI_FUZZ", "600"))
    chance, count, read = random.Random(seed), 0, 0
    parts = [b"(", b")", b";", b"[", b"]", b"\\", b":", b"B[aa]", b"AW[aa:cc]", b"SZ[3]", b"CA[big5]"]
    print("seed", seed)
    while time.monotonic() < end:
        content = bytearray(chance.choice([*GOOD, write_game(random_game(count % 50, 5, "simple", 20))]))
        for _ in range(chance.randrange(6)):
            at = chance.randrange(len(content) + 1)
            put = chance.choice([chance.randbytes(chance.randrange(3)), *chance.choices(parts, k=2)])
            content[at : at + chance.choice([0, 0, 1, 2, 10])] = put
        read += check(bytes(content))
        count += 1
    print(count, "files,", read, "read")
    assert 0 < read < count


@needs_gnugo
@pytest.mark.parametrize(("size", "handicap"), [(9, 0), (9, 3), (13, 2)])
def test_what_gnugo_writes_is_read(tmp_path: Path, size: int, handicap: int) -> None:
    assert GNUGO
    file, chance = tmp_path / "x.sgf", random.Random(size + handicap)
    moves = [f"{chance.choice('ABCDEFGHJ'[:size])}{chance.randint(1, 9)}" for _ in range(16)]
    options = [f"--boardsize={size}", f"--handicap={handicap}", "--komi=6.5", "--level=1", "--chinese-rules"]
    lines = "\n".join([*moves, f"save {tmp_path}/y.sgf", "quit", ""])
    subprocess.run([GNUGO, "--mode", "ascii", *options, "-o", str(file)], input=lines, text=True,
                   capture_output=True, timeout=120)
    record = read_game(file)
    assert (record.game.size, record.handicap, record.game.komi) == (size, handicap, 6.5)
    assert record.game.rule == "positional" and len(record.game.moves) > 8
    assert record.game.first == (WHITE if handicap else BLACK)
    assert [colour for colour, _ in record.game.moves[:2]] == ([WHITE, BLACK] if handicap else [BLACK, WHITE])
    answers = gnugo(f"loadsgf {file}", "list_stones black", "list_stones white")
    named = [set(answer[2:].split()) for answer in answers[1:3]]
    assert named == stones_told(record.game)
