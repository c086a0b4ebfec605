"""Studio's page `/alphago/play`: a game against a network or random games; the address holds all moves."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np

from tuti import ui
from tuti.run import UserError, read_json
from tuti.run.directory import read_config
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK, PASS, WHITE
from tuti.systems.alphago.game import COLUMNS, Game, cell_of, name_of
from tuti.systems.alphago.players import Player, open_player
from tuti.systems.alphago.sgf import write_game
from tuti.ui.template import templates

TOLD: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("page.toml").read_text("utf-8"))
"""What the page says, by language"""
MARKUP = templates(Path(__file__).parent).get_template("page.html")
SIZES, KOMI, OURS, PLAYOUTS, SECONDS = ("5", "7", "9", "13", "19"), 7.0, "tuti", "playouts:3000", 2.0
Networks = Mapping[str, tuple[str, float]]
Moves = tuple[str, ...]
THINKING = Lock()  # pages are made by several threads, a player has one tree


def page(runs: Path, query: Mapping[str, str]) -> list[str]:
    """The parts: who plays, what is said, the board, what can be done; `query` has `lang`, and the game."""
    told, networks = TOLD.get(query["lang"], TOLD["en"]), _networks(runs)
    fitting = (name for name, (side, _) in networks.items() if query.get("size", side) == side)
    spec = query.get("with", next(fitting, PLAYOUTS))
    other = spec == OURS and query.get("size") not in (None, networks[OURS][0])  # it knows one board
    spec = spec if spec in networks and not other else PLAYOUTS
    path = runs / spec if spec not in (OURS, PLAYOUTS) else None
    size, komi = networks.get(spec, (query.get("size") if query.get("size") in SIZES else "9", KOMI))
    you = "white" if query.get("you") == "white" else "black"
    asked = {"lang": query["lang"], "with": spec, "size": str(size), "you": you}
    parts, moves = [ui.paragraph(told["lead"])], tuple(query.get("moves", "").split())
    try:
        game, value = _replayed(int(asked["size"]), komi, moves), None
        if not game.over and game.to_move != (BLACK if you == "black" else WHITE):
            state = path.stat().st_mtime_ns if path else 0
            cell, value = _answer(str(path or spec), state, game.size, komi, moves)
            game.play(game.to_move, cell)
    except (UserError, ValueError, OSError) as error:
        return [*parts, ui.paragraph(error, "bad"), _drawn(told, asked, networks)]
    return [*parts, _said(told, game, you, value), _drawn(told, asked, networks, game)]


def _networks(runs: Path) -> Networks:
    """Finished runs of `alphago train` and `search`, the newest first, and ours; size and komi of each."""
    found: list[tuple[float, str, str, float]] = []
    for path in runs.glob("*/artifacts/*/tuti.json"):
        made = read_config(path.parents[2], or_nothing=True)
        if made.get("room") == "alphago" and made.get("stage") in ("train", "search"):
            facts, name = read_json(path), path.parents[2].name
            found.append((path.stat().st_mtime, name, str(facts.get("size")), float(facts.get("komi", KOMI))))
    return {name: (size, komi) for _, name, size, komi in sorted(found, reverse=True)} | {OURS: ("9", KOMI)}


def _replayed(size: int, komi: float, moves: Moves) -> Game:
    game = Game(size, komi)
    for name in moves:
        game.play(game.to_move, cell_of(name, size))
    return game


@lru_cache(maxsize=4)
def _player(spec: str, state: int, size: int) -> Player:
    return open_player(spec, size, 2000, 0)


@lru_cache(maxsize=512)  # a page is renewed while somebody looks
def _answer(spec: str, state: int, size: int, komi: float, moves: Moves) -> tuple[int, float | None]:
    """The opponent's move, and what it thinks of its own chances, −1 to 1."""
    with THINKING:
        player = _player(spec, state, size)
        cell = player.choose(_replayed(size, komi, moves), SECONDS)
        assert cell is not None
        return cell, getattr(player.choose, "value", None)


def _said(told: Mapping[str, str], game: Game, you: str, value: float | None) -> str:
    if game.over:
        lead = game.lead()
        how = "draw" if not lead else "won" if (lead > 0) == (you == "black") else "lost"
        return ui.paragraph(f"{told[how]} ({abs(lead):g})")
    if not game.moves:
        return ui.paragraph(told["begin"])
    move = f"{told['played']} {name_of(game.moves[-1][1], game.size)}."
    return ui.paragraph(move if value is None else f"{move} {told['chances']} {(1 + value) / 2:.0%}")


def _drawn(
    told: Mapping[str, str], asked: Mapping[str, str], networks: Networks, game: Game | None = None
) -> str:
    """The board with what can be done, and the form of a new game."""
    choices = {
        "with": [(name, name) for name in (*networks, PLAYOUTS)],
        "size": [(size, size) for size in sorted({*SIZES, asked["size"]}, key=int)],
        "you": [(name, told[name]) for name in ("black", "white")],
    }
    if game is None:
        return MARKUP.render(told=told, asked=asked, choices=choices, points=(), links=())
    names = [name_of(cell, game.size) for _, cell in game.moves]
    go = {name: _address(asked, left) for name, left in (("pass", [*names, "pass"]), ("undo", names[:-2]))}
    links = [(told[name], href) for name, href in go.items()]
    links.append((told["sgf"], "data:application/x-go-sgf," + quote(write_game(game))))
    return MARKUP.render(
        told=told, asked=asked, choices=choices, points=_points(asked, game, names), links=links,
        size=game.size, columns=COLUMNS, title=told["over" if game.over else "turn"],
    )


def _address(asked: Mapping[str, str], moves: Sequence[str]) -> str:
    return "?" + urlencode({**asked, "moves": " ".join(moves)})


def _points(asked: Mapping[str, str], game: Game, names: list[str]) -> list[dict[str, object]]:
    """Place, name and stone of each; where a click leads if it may be played; at the end, whose it is."""
    last = game.moves[-1][1] if game.moves else PASS
    owner: Any = np.zeros(board.CELLS, np.int8)
    if game.over:
        board.owners(game.arrays[0], owner)
    points: list[dict[str, object]] = []
    for cell in map(int, board.points(game.size)):
        name = name_of(cell, game.size)
        stone = ("", "black", "white")[int(game.arrays[0][board.STONES + cell])]
        free = not game.over and game.legal(game.to_move, cell)
        href = _address(asked, [*names, name]) if free else ""
        points.append({
            "x": cell % board.WIDTH - 1, "y": cell // board.WIDTH - 1, "name": name, "stone": stone,
            "last": cell == last != PASS, "href": href, "shade": 0.4 * float(owner[cell]),
        })  # fmt: skip
    return points
