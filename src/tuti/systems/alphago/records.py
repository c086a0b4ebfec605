"""Games that were played, as arrays to learn from."""
# numba has no types.
# pyright: basic

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tuti.run import UserError
from tuti.systems.alphago import board
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.sgf import read_game

WON = {"B+": 1.0, "W+": -1.0, "0": 0.0, "DR": 0.0, "JI": 0.0}  # how an SGF's result begins


class Records(NamedTuple):
    """Games from an empty board; the komi of most of them."""

    moves: Any  # int16 [games, most]: cells, PASS among them; −1 after the end
    won: Any  # float32 [games]: 1 Black won, −1 White, 0 nobody
    size: int
    komi: float


def read_records(folder: Path, size: int) -> Records:
    """All .sgf files below a folder, by name, each game once; UserError if none fits the size."""
    found = [_read(path, size) for path in sorted(folder.rglob("*.sgf"))]
    games = [one for one in found if not isinstance(one, str)]
    if not games:
        why = ", ".join(f"{count} {reason}" for reason, count in Counter(found).items()) or "no .sgf file"
        raise UserError(f"no game to learn from in {folder}: {why}", hint=f"--size {size} must be the games'")
    moves = np.full((len(games), max(len(game.moves) for game, _ in games)), -1, np.int16)
    for row, (game, _) in zip(moves, games, strict=True):
        row[: len(game.moves)] = [cell for _, cell in game.moves]
    komi = Counter(game.komi for game, _ in games).most_common(1)[0][0]
    _, once = np.unique(moves, axis=0, return_index=True)  # programs may play a game again
    once.sort()
    return Records(moves[once], np.array([won for _, won in games], np.float32)[once], size, komi)


def split(records: Records, share: float) -> tuple[Any, Any]:
    """(game, moves before) of the positions to learn from; of those that only measure, of the last games."""
    places, games = np.argwhere(records.moves >= 0), len(records.moves)
    first = games - max(1, round(share * games))
    if first < 1:
        raise UserError(f"there is one game of size {records.size}", hint="one to learn, one to measure")
    return places[places[:, 0] < first], places[places[:, 0] >= first]


def _read(path: Path, size: int) -> tuple[Game, float] | str:
    """A game and who won it, or why it is left out."""
    try:
        game, _, result, *_ = read_game(path)
    except UserError:
        return "unreadable"
    won, colours = WON.get(result.strip().upper()[:2]), [colour for colour, _ in game.moves]
    if game.size != size or game.set_up or won is None:
        return f"of size {game.size}" if game.size != size else "set up" if game.set_up else "without result"
    in_turn = colours == [board.BLACK + ply % 2 for ply in range(len(colours))]
    return (game, won) if colours and in_turn else "without moves in turn"


@board.loop
def replay(game, keys, moves, ply):
    """Plays a record's first moves on a fresh board; how many stones the last took."""
    taken = 0
    for i in range(ply):
        taken = board.play(game, keys, moves[i], game[board.TO_MOVE])
    return taken
