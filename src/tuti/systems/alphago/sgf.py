"""Games as SGF files, read and written: the main line is played by the rules, variations stay in the tree."""
# sgfmill has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import re
from pathlib import Path
from typing import Any, NamedTuple

from sgfmill.sgf import Sgf_game
from sgfmill.sgf_moves import get_setup_and_moves

from tuti.run import UserError
from tuti.systems.alphago.board import BLACK, PASS, WHITE, WIDTH, cell
from tuti.systems.alphago.game import Game

LARGEST = 1_000_000  # bytes
_CODEC = re.compile(rb"(?<![A-Z])CA\s*\[\s*((?i:utf-?8|gb|big5|euc|shift|sjis|iso|latin|win|cp|koi8)[\w-]*)")
_COLOURS = {"b": BLACK, "w": WHITE}
_TOLD: dict[str, Any] = {"GM": 1, "HA": 0, "KM": 0.0, **dict.fromkeys("ON PB PL PW RE RU".split(), "")}
RULES = {"chinese": ("positional", False), "aga": ("situational", False), "nz": ("situational", True),
         "tromp-taylor": ("positional", True), "goe": ("simple", True), "japanese": ("simple", False)}
"""What RU says of (repetition, suicide); a file that says nothing known is played by the last"""


class Record(NamedTuple):
    """The main line; Black's and White's names; "B+R" or "W+2.5"; handicap stones; how many moves at
    first were made by chance, as ON, the opening's name, tells of our matches; all, as sgfmill's."""

    game: Game
    players: tuple[str, str]
    result: str
    handicap: int
    chance: int
    tree: Any


def read_game(data: bytes | Path) -> Record:
    """A file's first game. UserError: no SGF, no Go, stones set in mid-game, or a move against the rules."""
    what = data if isinstance(data, Path) else "the SGF"
    try:
        if isinstance(data, Path):
            with open(data, "rb") as file:
                data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        codec = _CODEC.search(data)
        try:  # before brackets are sought: the second byte of a Chinese character may look like one
            text = data.decode(codec[1].decode(), "replace") if codec else data.decode()
        except (LookupError, UnicodeDecodeError):
            text = data.decode("latin-1")
        return _record(Sgf_game.from_string(text))
    except UserError as error:
        raise UserError(f"{what}: {error.what}", error.hint) from error
    except (OSError, ValueError) as error:
        reason = str(error) or "a size, point or colour that means nothing"
        raise UserError(f"{what}: {reason}", hint="SGF files of a game of Go are read") from error


def _record(tree: Any) -> Record:
    size, root = tree.get_size(), tree.get_root()
    if max((len(root.get_raw_list(name)) for name in root.properties()), default=0) > size * size:
        raise ValueError("more values of a property than the board has points")
    told = _TOLD | {name: root.get(name) for name in _TOLD if root.has_property(name) and root.get_raw(name)}
    if told["GM"] != 1:
        raise ValueError("GM says that the game is not Go")
    laid, plays = get_setup_and_moves(tree)
    set_up = [(_COLOURS[colour], cell(x, size - 1 - y)) for colour, (y, x) in laid.list_occupied_points()]
    moves = [(_COLOURS[colour], cell(p[1], size - 1 - p[0]) if p else PASS) for colour, p in plays]
    usual = moves[0][0] if moves else WHITE if {colour for colour, _ in set_up} == {BLACK} else BLACK
    rule, suicide = RULES.get(told["RU"].strip().lower(), RULES["japanese"])
    game = Game(size, told["KM"], rule, suicide, set_up, _COLOURS.get(told["PL"], usual), moves)
    chance = int(found[1]) if (found := re.fullmatch(r"(\d{1,3}) random moves", told["ON"])) else 0
    return Record(game, (told["PB"], told["PW"]), told["RE"], told["HA"], chance, tree)


def write_game(game: Game, players: tuple[str, str] = ("", ""), result: str = "", chance: int = 0) -> bytes:
    """A game, whose first moves were perhaps made by chance, as a file in UTF-8."""
    tree: Any = Sgf_game(game.size)
    node = tree.get_root()
    black, white = ([point_of(game, p) for c, p in game.set_up if c == side] for side in (BLACK, WHITE))
    node.set_setup_stones(black, white)
    handicap = len(black) if game.first == WHITE and len(black) > 1 and not white else 0
    rule = next(name for name, rule in RULES.items() if rule == (game.rule, game.suicide))
    info = {"AP": ("Tuti", ""), "PB": players[0], "PW": players[1], "RE": result, "RU": rule, "KM": game.komi}
    info |= {"ON": f"{chance} random moves"} if chance else {}
    for name, value in (info | {"HA": handicap, "PL": "bw"[game.first - 1]}).items():
        node.set(name, value)
    for colour, move in game.moves:
        node = node.new_child()
        node.set("BW"[colour - 1], point_of(game, move))
    return tree.serialise()


def point_of(game: Game, p: int) -> tuple[int, int] | None:
    """A cell as sgfmill has it, (row from the bottom, column); None for a pass."""
    return None if p == PASS else (game.size - p // WIDTH, p % WIDTH - 1)
