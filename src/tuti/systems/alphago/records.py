"""Games that were played, as arrays to learn from."""
# numba has no types.
# pyright: basic

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tuti.run import UserError
from tuti.systems.alphago import board
from tuti.systems.alphago.sgf import Record, read_game


class Records(NamedTuple):
    """Games from an empty board; how many of each one's moves chance made; the komi of most of them."""

    moves: Any  # int16 [games, most]: cells, PASS among them; −1 after the end
    chance: Any
    size: int
    komi: float


def read_records(folder: Path, size: int) -> Records:
    """All .sgf files below a folder, by name, each game once; UserError if none fits the size."""
    found = [_read(path, size) for path in sorted(folder.rglob("*.sgf"))]
    records = [one for one in found if not isinstance(one, str)]
    games = [record.game for record in records]
    if not games:
        why = ", ".join(f"{count} {reason}" for reason, count in Counter(found).items()) or "no .sgf file"
        raise UserError(f"no game to learn from in {folder}: {why}", hint=f"SGF of games of --size {size}")
    moves = np.full((len(games), max(len(game.moves) for game in games)), -1, np.int16)
    for row, game in zip(moves, games, strict=True):
        row[: len(game.moves)] = [cell for _, cell in game.moves]
    komi = Counter(game.komi for game in games).most_common(1)[0][0]
    _, once = np.unique(moves, axis=0, return_index=True)  # programs may play a game again
    once, chance = np.sort(once), np.array([record.chance for record in records])
    return Records(moves[once], chance[once], size, komi)


def split(records: Records, share: float) -> tuple[Any, Any]:
    """(game, moves before) of what was not moved by chance: to learn from; of the last games, to measure."""
    places, games = np.argwhere(records.moves >= 0), len(records.moves)
    places = places[places[:, 1] >= records.chance[places[:, 0]]]
    first = games - max(1, round(share * games))
    if first < 1:
        raise UserError(f"of {games} games none is left to learn from", hint="more, or a smaller --held-out")
    return places[places[:, 0] < first], places[places[:, 0] >= first]


def _read(path: Path, size: int) -> Record | str:
    """A game, or why it is left out."""
    try:
        record = read_game(path)
    except UserError:
        return "unreadable"
    game = record.game
    if game.size != size or game.set_up:
        return "set up" if game.size == size else f"of size {game.size}"
    return record if game.moves and game.first == board.BLACK and game.in_turn else "without moves in turn"


@board.loop
def replay(game, keys, moves, ply):
    """Plays a record's first moves on a fresh board; how many stones the last took."""
    taken = 0
    for i in range(ply):
        taken = board.play(game, keys, moves[i], game[board.TO_MOVE])
    return taken
