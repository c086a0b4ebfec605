"""A game as people tell it: points by name, moves in order and taken back, stones set first, the score."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tuti.run import UserError
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, PASS, WIDTH

COLUMNS = "ABCDEFGHJKLMNOPQRST"
RULES = ("positional", "situational", "simple")
"""Which repetition is forbidden; by number in board.py"""


def name_of(cell: int, size: int) -> str:
    """A point as players call it: column A to T without I, row 1 at the bottom; or "pass"."""
    if cell == PASS:
        return "pass"
    return f"{COLUMNS[cell % WIDTH - 1]}{size + 1 - cell // WIDTH}"


def cell_of(name: str, size: int) -> int:
    """The cell of "D4" or "pass"; ValueError where the board has no such point."""
    name = name.strip().upper()
    if name == "PASS":
        return PASS
    x, row = COLUMNS.find(name[:1]), name[1:]
    if not (name and 0 <= x < size and row.isascii() and row.isdigit() and 1 <= int(row) <= size):
        raise ValueError(f"no point of a board of {size}: {name[:20]!r}")
    return board.cell(x, size - int(row))


@dataclass
class Game:
    """Moves on a board, Black's first, unless stones were set. A superko, or suicide, may be forbidden."""

    size: int = 9
    komi: float = 7.5
    rule: str = "positional"
    suicide: bool = False
    set_up: Sequence[tuple[int, int]] = ()
    """(colour, cell) of stones that lie there before the first move"""
    first: int = BLACK
    moves: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(colour, cell)"""

    def __post_init__(self) -> None:
        if not 2 <= self.size <= board.MOST:
            raise UserError(f"a board of {self.size}", hint=f"sizes are 2 to {board.MOST}")
        moves, self.moves = self.moves, []
        rules = RULES.index(self.rule), self.suicide
        self.arrays: tuple[Any, Any] = board.new(self.size, *rules, set_up=self.set_up, first=self.first)
        for colour, cell in moves:
            self.play(colour, cell)

    @property
    def to_move(self) -> int:
        return int(self.arrays[0][board.TO_MOVE])

    @property
    def over(self) -> bool:
        return bool(board.over(self.arrays[0]))

    @property
    def stones(self) -> Any:
        """Colours, row by row from the top."""
        return self.arrays[0][board.STONES + board.points(self.size)].reshape(self.size, self.size)

    @property
    def in_turn(self) -> bool:
        """Whether the colours alternated from the first move on."""
        return all(c == BLACK + (self.first - BLACK + ply) % 2 for ply, (c, _) in enumerate(self.moves))

    def legal(self, colour: int, cell: int) -> bool:
        return bool(board.legal(*self.arrays, cell, colour))

    def play(self, colour: int, cell: int) -> int:
        """Plays a move; how many stones it took. UserError for one that the rules forbid."""
        if not self.legal(colour, cell):
            what = f"move {len(self.moves) + 1}, {name_of(cell, self.size)}, is not legal"
            hint = f"the point is taken, or it is suicide, or the position was there before ({self.rule})"
            raise UserError(what, hint)
        self.moves.append((colour, cell))
        return int(board.play(*self.arrays, cell, colour))

    def undone(self) -> "Game":
        """The game before its last move."""
        return replace(self, moves=self.moves[:-1])

    def owners(self) -> Any:
        """Of each point, row by row: 1 Black's to −1 White's, in the mean of random games to the end."""
        mean, owner, ends = np.zeros(board.CELLS), np.empty(board.CELLS, np.int8), 200
        for number in range(ends):
            own, keys = (array.copy() for array in self.arrays)
            keys[board.DICE] = board.chance(number)
            board.playout(own, keys, owner)
            mean += owner
        return mean[board.points(self.size)] / ends

    def lead(self) -> float:
        """Black's stones and territory less White's, and komi, with all stones alive."""
        return int(board.owners(self.arrays[0], np.empty(board.CELLS, np.int8))) - self.komi

    def result(self) -> str:
        """As SGF and GTP write it: "B+2.5", "W+10", "0" for a draw."""
        lead = self.lead()
        return f"{'B' if lead > 0 else 'W'}+{abs(lead):g}" if lead else "0"
