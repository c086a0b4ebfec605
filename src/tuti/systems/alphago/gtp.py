"""An engine of the Go Text Protocol, version 2 (Farnebäck 2002), around a function that chooses moves."""

import inspect
import math
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NewType

import tyro
from annotated_types import Ge

from tuti import __version__
from tuti.run import UserError, read_json
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, MOST, PASS, WHITE
from tuti.systems.alphago.game import COLUMNS, Game, cell_of, name_of
from tuti.systems.alphago.players import Choose, Player, open_player
from tuti.systems.alphago.sgf import read_game, write_game

Colour, Cell = NewType("Colour", int), NewType("Cell", int)
COLOURS = {"b": BLACK, "black": BLACK, "w": WHITE, "white": WHITE}
MARGIN = 0.9  # the part of its time that an engine plans to use


def _handicap(size: int, count: int) -> list[int]:
    """Where so many stones lie by custom; none where there is no custom."""
    if not 2 <= count <= (0 if size < 7 else 9 if size % 2 and size > 7 else 4):
        return []
    low, middle = 2 if size < 12 else 3, size // 2
    high, even = size - 1 - low, count - (count in (5, 7, 9))
    places = [(low, high), (high, low), (low, low), (high, high), (low, middle), (high, middle)]
    places = [*places, (middle, high), (middle, low)][:even] + [(middle, middle)] * (count - even)
    return [board.cell(x, y) for x, y in places]


class Gtp:
    """Plays by commands. A method `do_…` is one; the types of its arguments are its syntax.

    `choose` gets a copy of the game and seconds (inf: no limit); it gives a cell, PASS, or None: resigns.
    Every game is played by the rules of the first, but one that is loaded, by its own.
    """

    def __init__(self, choose: Choose, name: str = "Tuti", version: str = "", game: Game | None = None):
        self.choose, self.done = choose, False
        self.game = self.blank = game or Game()
        self.clock, self.left = (0.0, 1.0, 0), dict[int, tuple[float, int]]()
        self.commands: dict[str, Callable[..., object]] = {
            "protocol_version": lambda: 2,
            "name": lambda: name,
            "version": lambda: version,
            "list_commands": lambda: "\n".join(sorted(self.commands)),
            "clear_board": lambda: self.do_boardsize(self.game.size),
            "final_score": lambda: self.game.result(),
            "printsgf": lambda: write_game(self.game).decode(),
        }
        self.commands |= {word[3:]: getattr(self, word) for word in dir(self) if word.startswith("do_")}

    def answer(self, line: str) -> str | None:
        """What a line is answered, with the empty line after it; None to a line that says nothing."""
        words = re.sub(r"[\x00-\x08\n-\x1f\x7f]", "", line).partition("#")[0].split()
        if not words:
            return None
        number = words.pop(0) if re.fullmatch("[0-9]+", words[0]) else ""
        try:
            reply = self._run(*words or [""])
            return f"={number} {'' if reply is None else reply}".rstrip() + "\n\n"
        except UserError as error:
            return f"?{number} {error.what}\n\n"
        except Exception as error:  # the engine outlives what choose does
            traceback.print_exc()
            return f"?{number} {' '.join(f'{type(error).__name__}: {error}'.split())}\n\n"

    def _run(self, name: str, *words: str) -> object:
        if name not in self.commands:
            raise UserError("unknown command")
        kinds: dict[Any, Callable[[str], Any]] = {int: int, float: float}
        kinds |= {Colour: lambda s: COLOURS[s.lower()], Cell: lambda s: cell_of(s, self.game.size)}
        try:
            bound = inspect.signature(self.commands[name]).bind(*words)
            wanted = [kinds.get(p.annotation, str) for p in bound.signature.parameters.values()]
            wanted += wanted[-1:] * len(words)  # of a list
            values = [kind(word) for kind, word in zip(wanted, words, strict=False)]
            if not all(isinstance(value, str) or math.isfinite(value) for value in values):
                raise ValueError(words)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError("syntax error") from None
        return self.commands[name](*values)

    def do_known_command(self, name: str) -> str:
        return str(name in self.commands).lower()

    def do_quit(self) -> None:
        self.done = True

    def do_boardsize(self, size: int) -> None:
        if not 2 <= size <= MOST:
            raise UserError("unacceptable size")
        empty = replace(self.blank, size=size, komi=self.game.komi, set_up=(), first=BLACK, moves=[])
        self.game, self.left = empty, {}

    def do_komi(self, komi: float) -> None:
        self.game.komi = komi

    def do_fixed_handicap(self, count: int) -> str:
        return self._lay(_handicap(self.game.size, count), "invalid number of stones")

    def do_place_free_handicap(self, count: int) -> str:
        size = self.game.size
        middle = [int(p) for p in board.points(size)[size**2 // 2 - 1 :][:2]]
        best = max([*(_handicap(size, n) for n in range(2, min(count, 9) + 1)), middle], key=len)
        return self._lay(best if 2 <= count < size**2 else [], "invalid number of stones")

    def do_set_free_handicap(self, *cells: Cell) -> None:
        self._lay(list(cells), "bad vertex list")

    def _lay(self, cells: list[int], wrong: str) -> str:
        if self.game.stones.any():
            raise UserError("board not empty")
        if not 2 <= len(set(cells) - {PASS}) == len(cells) < self.game.size**2:
            raise UserError(wrong)
        self.game = replace(self.game, set_up=[(BLACK, cell) for cell in cells], first=WHITE, moves=[])
        return " ".join(name_of(cell, self.game.size) for cell in cells)

    def do_play(self, colour: Colour, cell: Cell) -> None:
        if not self.game.legal(colour, cell):
            raise UserError("illegal move")
        self.game.play(colour, cell)

    def do_undo(self) -> None:
        if not self.game.moves:
            raise UserError("cannot undo")
        self.game = self.game.undone()

    def do_time_settings(self, main: float, byo_yomi: float, stones: int) -> None:
        self.clock, self.left = (main, byo_yomi, stones), {}

    def do_time_left(self, colour: Colour, seconds: float, stones: int) -> None:
        self.left[colour] = seconds, stones

    def do_genmove(self, colour: Colour) -> str:
        name = self.do_reg_genmove(colour)
        if name != "resign":
            self.game.play(colour, cell_of(name, self.game.size))
        return name

    def do_reg_genmove(self, colour: Colour) -> str:
        """In a part of the time left: shared by the stones due, or by a quarter of the empty points."""
        main, byo_yomi, stones = self.clock
        left, due = self.left.get(colour, (main, 0))
        game, extra, started = replace(self.game), byo_yomi / stones if stones > 0 else 0.0, time.monotonic()
        share = left / due if due > 0 else max(0.0, left) / max(8, game.arrays[0][board.EMPTIES] / 4) + extra
        if game.to_move != colour:
            game.arrays[0][[board.TO_MOVE, board.KO]] = colour, 0
        limit = math.inf if byo_yomi > 0 and stones == 0 else MARGIN * max(0.0, share)
        chosen = PASS if game.over else self.choose(game, limit)
        left -= time.monotonic() - started
        self.left[colour] = (byo_yomi, stones) if due == 1 else (left, max(0, due - 1))
        return "resign" if chosen is None else name_of(chosen, game.size)

    def do_final_status_list(self, status: str) -> str:
        """All stones are alive: one plays on until the dead are taken."""
        if status not in ("alive", "dead", "seki"):
            raise UserError("syntax error")
        stones = zip(board.points(self.game.size), self.game.stones.flat, strict=True)
        return " ".join(name_of(int(p), self.game.size) for p, c in stones if c and status == "alive")

    def do_loadsgf(self, path: str, move: int = 10**9) -> None:
        try:
            game = read_game(Path(path)).game
        except UserError as error:
            print(error, file=sys.stderr)
            raise UserError("cannot load file") from None
        self.game, self.left = replace(game, moves=game.moves[: max(0, move - 1)]), {}

    def do_showboard(self) -> str:
        size, rows = self.game.size, enumerate(self.game.stones)
        board_rows = [f"{size - y:2} {' '.join('.XO'[colour] for colour in row)}" for y, row in rows]
        return "\n".join(["", f"   {' '.join(COLUMNS[:size])}", *board_rows])


def serve(engine: Gtp, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answers line by line until quit or the end; whatever else the engine prints goes to stderr."""
    with redirect_stdout(sys.stderr):
        for line in stdin:
            stdout.write((engine.answer(line.decode(errors="replace")) or "").encode("ascii", "replace"))
            stdout.flush()
            if engine.done:
                return


@dataclass(frozen=True)
class Engine:
    """Speaks the Go Text Protocol (GTP 2) on its input and output."""

    player: tyro.conf.Positional[str]
    """A run of `tuti alphago search` or `train`, `playouts:1000`, `random`"""
    simulations: Annotated[int, Ge(2)] = 1000
    """Simulations for a move, at most; fewer where the clock wants it"""


def gtp(config: Engine) -> None:
    """Answers commands until `quit` or the end of the input."""

    @lru_cache(maxsize=1)
    def player(size: int) -> Player:
        return open_player(config.player, size, config.simulations, 0)

    def choose(game: Game, seconds: float) -> int | None:
        return player(game.size).choose(game, seconds)

    name = config.player if Path(config.player).exists() else config.player.rpartition("@")[0]
    told = next(map(read_json, Path(name).glob("artifacts/*/tuti.json") if name else ()), dict[str, Any]())
    size, komi = int(told.get("size", 9)), float(told.get("komi", 7.0))  # a run's are those that it learnt
    player(size).choose(Game(size, komi), 0.0)  # what is wrong with it is said, what is slow at first is done
    serve(Gtp(choose, version=__version__, game=Game(size, komi)), sys.stdin.buffer, sys.stdout.buffer)
