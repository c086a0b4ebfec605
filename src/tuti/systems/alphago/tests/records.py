"""Games to write and read, and what GNU Go says of them."""

import random
import shutil
import subprocess

import pytest

from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, PASS, WHITE
from tuti.systems.alphago.game import Game, name_of

GNUGO = shutil.which("gnugo") or shutil.which("gnugo", path="/usr/games")
needs_gnugo = pytest.mark.skipif(not GNUGO, reason="needs the program gnugo")


def gnugo(*commands: str, options: tuple[str, ...] = ()) -> list[str]:
    assert GNUGO
    lines = "\n".join([*commands, "quit", ""])
    told = [GNUGO, "--mode", "gtp", "--level", "1", *options]
    done = subprocess.run(told, input=lines, capture_output=True, text=True, timeout=120)
    return [answer.strip() for answer in done.stdout.split("\n\n")]


def random_game(seed: int, size: int, rule: str, moves: int) -> Game:
    chance = random.Random(seed)
    stones = chance.sample(board.points(size).tolist(), chance.choice([0, 0, 2, 3]) if size > 2 else 0)
    set_up = [(chance.choice([BLACK, BLACK, WHITE]), p) for p in stones] if size > 4 else []
    game = Game(size, chance.choice([0, 6.5, -3, 7.5]), rule, False, set_up, chance.choice([BLACK, WHITE]))
    for _ in range(moves):
        if game.over:
            break
        options = [int(p) for p in board.points(size) if game.legal(game.to_move, int(p))]
        game.play(game.to_move, chance.choice(options) if options and chance.random() > 0.02 else PASS)
    return game


def stones_told(game: Game) -> list[set[str]]:
    found = zip(board.points(game.size), game.stones.flat, strict=True)
    named = [(int(c), name_of(int(p), game.size)) for p, c in found]
    return [{name for c, name in named if c == colour} for colour in (BLACK, WHITE)]
