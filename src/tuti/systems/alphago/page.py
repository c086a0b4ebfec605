"""Studio's page `/alphago/play`: a game against a network or random games; the address holds all moves.

It holds one's chances, too, for a curve. Asked for hints, a network thinks about one's own move while one
looks: its tree is kept, and what is shown of it grows. Where `you` is nobody, the opponent plays itself.
"""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np

from tuti import ui
from tuti.run import UserError, read_json, read_toml
from tuti.run.directory import runs_of
from tuti.systems.alphago import board
from tuti.systems.alphago.apv import Search
from tuti.systems.alphago.game import COLUMNS, Game, cell_of, name_of
from tuti.systems.alphago.planes import cell_of as cell_of_action
from tuti.systems.alphago.players import Network, Player, by_chance, open_player
from tuti.systems.alphago.sgf import read_game, write_game
from tuti.ui.template import templates

TOLD: dict[str, dict[str, str]] = read_toml(__file__, "page.toml")
"""What the page says, by language"""
MARKUP = templates(Path(__file__).parent).get_template("page.html")
SIZES, KOMI, OURS, PLAYOUTS, SECONDS = ("5", "7", "9", "13", "19"), 7.0, "tuti", "playouts:3000", 2.0
GLANCE, LOOKS, SHOWN = 0.5, 20, 5
"""Seconds of thought for hints at each look, looks after which they stay, moves that are shown"""
ANSWERS = {"black": board.WHITE, "white": board.BLACK, "nobody": 0}
"""Whom the opponent plays, by what `you` are"""
Networks = Mapping[str, tuple[str, float]]
Moves = tuple[str, ...]
About = tuple[str, int, int, float]
"""A player's name, the state of its files, the board's size, komi"""
Seen = tuple[Sequence["Hint"], Any, Any]
"""Hints; the policy, by action; of each point whose it will be"""
THINKING = Lock()  # pages are made by several threads, a player has one tree


class Hint(NamedTuple):
    """A move as the network sees it: simulations, their share, one's chances, what is likely to follow."""

    simulations: int
    share: float
    chances: float
    line: list[str]


def page(runs: Path, query: Mapping[str, str]) -> list[str]:
    """The parts: a lead, what is said, the board, what can be done; `query` has `lang`, and the game."""
    told, networks = TOLD.get(query["lang"], TOLD["en"]), _networks(runs)
    fitting = (name for name, (side, _) in networks.items() if query.get("size", side) == side)
    spec = query.get("with", next(fitting, PLAYOUTS))
    other = spec == OURS and query.get("size") not in (None, networks[OURS][0])  # it knows one board
    spec = spec if spec in networks and not other else PLAYOUTS
    size, komi = networks.get(spec, (query.get("size") if query.get("size") in SIZES else "9", KOMI))
    you = query["you"] if query.get("you") in ANSWERS else "black"
    asked = {"lang": query["lang"], "with": spec, "size": str(size), "you": you}
    asked |= {"hints": "yes"} if query.get("hints") else {}
    lead = ui.paragraph(told["lead"])
    try:
        path = runs / spec if spec not in (OURS, PLAYOUTS) else None
        about = str(path or spec), path.stat().st_mtime_ns if path else 0, int(asked["size"]), komi
        moves = tuple(query.get("moves", "").split())
        moves = _moves_of(query["sgf"].encode(), about[2]) if query.get("sgf") else moves
        moves = _watched(about) if you == "nobody" else moves
        game, value = _replayed(*about[2:], moves), None
        chances = [min(100.0, max(0.0, float(one))) for one in query.get("chances", "").split()]
        if not game.over and game.to_move == ANSWERS[you]:
            cell, value = _answer(about, moves)
            game.play(game.to_move, cell)
            chances += [] if value is None else [50 - 50 * value]
        seen = _hints(about, game) if "hints" in asked and not game.over else ((), None, None)
    except (UserError, ValueError, OSError) as error:
        return [lead, ui.paragraph(error, "bad"), _drawn(told, asked, networks)]
    asked |= {"chances": " ".join(f"{one:.0f}" for one in chances)} if chances else {}
    said, drawn = _said(told, game, you, value), _drawn(told, asked, networks, game, seen)
    return [lead, said, drawn, _table(told, seen[0]), _curve(told, chances)]


def _networks(runs: Path) -> Networks:
    """Finished runs of `alphago train` and `search`, the newest first, and ours; size and komi of each."""
    made = runs_of(runs, "alphago", "train", "search")
    facts = {run.name: read_json(path) for run in made for path in run.glob("artifacts/*/tuti.json")}
    own = {name: (str(told.get("size")), float(told.get("komi", KOMI))) for name, told in facts.items()}
    return own | {OURS: ("9", KOMI)}


def _replayed(size: int, komi: float, moves: Moves) -> Game:
    game = Game(size, komi)
    for name in moves:
        game.play(game.to_move, cell_of(name, size))
    return game


@lru_cache(maxsize=4)
def _player(spec: str, state: int, size: int, komi: float) -> Player:
    return open_player(spec, size, 2000, 0)


@lru_cache(maxsize=512)  # a page is renewed while somebody looks
def _answer(about: About, moves: Moves) -> tuple[int, float | None]:
    """The opponent's move, and what it thinks of its own chances, −1 to 1."""
    with THINKING:
        player = _player(*about)
        cell = player.choose(_replayed(*about[2:], moves), SECONDS)
        assert cell is not None
        return cell, getattr(player.choose, "value", None)


@lru_cache(maxsize=64)
def _kept(about: About, moves: Moves | None) -> list[Any]:
    """What grows whenever somebody looks: hints for a position; without one, the game that is watched."""
    return []


def _watched(about: About) -> Moves:
    """A player against itself, one move further whenever somebody looks; all who look see the same game."""
    with THINKING:
        names, game = (kept := _kept(about, None)), _replayed(*about[2:], tuple(kept))
        if game.over:
            names.clear()
        else:
            choose = by_chance(time.time_ns()) if len(names) < 2 else _player(*about).choose
            cell = choose(game, GLANCE)
            assert cell is not None
            names.append(name_of(cell, game.size))
        return tuple(names)


def _moves_of(sgf: bytes, size: int) -> Moves:
    """A record's moves, if it is a whole game on this board."""
    game = read_game(sgf).game
    if game.size != size or game.set_up or game.first != board.BLACK or not game.in_turn:
        raise UserError("the SGF holds no even game on this board", hint=f"one of size {size}, no handicap")
    return tuple(name_of(cell, size) for _, cell in game.moves)


def _hints(about: About, game: Game) -> Seen:
    """What a network thinks of the moves that it tried most; AlphaGo tries more while somebody looks."""
    with THINKING:
        choose, looks = _player(*about).choose, _kept(about, tuple(game.moves))
        most = LOOKS if isinstance(choose, Search) else 1  # another would find the same again
        if isinstance(choose, Network | Search) and len(looks) < most:
            choose(game, GLANCE)
            policy, visits, worth, lines = choose.thoughts(SHOWN)
            looks.append(([
                Hint(visits[line[0]], visits[line[0]] / visits.sum(), (1 + worth[line[0]]) / 2,
                     [name_of(int(cell_of_action(action, game.size)), game.size) for action in line])
                for line in lines
            ], policy, getattr(choose, "owner", None)))  # fmt: skip
        return looks[-1] if looks else ((), None, None)


def _said(told: Mapping[str, str], game: Game, you: str, value: float | None) -> str:
    if game.over:
        lead = game.lead()
        how = "draw" if not lead else "won" if (lead < 0) == (ANSWERS[you] == board.BLACK) else "lost"
        how = "ended" if you == "nobody" else how
        return ui.paragraph(f"{told[how]} ({lead if you == 'nobody' else abs(lead):g})")
    if not game.moves:
        return ui.paragraph(told["begin"])
    move = f"{told['played']} {name_of(game.moves[-1][1], game.size)}."
    return ui.paragraph(move if value is None else f"{move} {told['mine']} {(1 + value) / 2:.0%}")


def _table(told: Mapping[str, str], hints: Sequence[Hint]) -> str:
    rows = [(" ".join(one.line[:8]), int(one.simulations), f"{one.chances:.0%}") for one in hints]
    return ui.table(told["hints"], (told["line"], told["simulations"], told["chances"]), rows) if rows else ""


def _curve(told: Mapping[str, str], chances: Sequence[float]) -> str:
    if len(chances) < 2:
        return ""
    series = ui.Series(told["chances"], list(enumerate(chances, 1)))
    return ui.line_chart([series], title=told["chances"], x_label=told["turns"], y_label="%")


def _drawn(
    told: Mapping[str, str], asked: Mapping[str, str], networks: Networks, game: Game | None = None,
    seen: Seen = ((), None, None),
) -> str:
    """The board with what can be done, the form of a new game; with hints and at the end whose points are."""
    choices = {
        "with": [(name, name) for name in (*networks, PLAYOUTS)],
        "size": [(size, size) for size in sorted({*SIZES, asked["size"]}, key=int)],
        "you": [(name, told[name]) for name in ANSWERS],
    }
    if game is None:
        return MARKUP.render(told=told, asked=asked, choices=choices, points=(), links=())
    names, plays = [name_of(cell, game.size) for _, cell in game.moves], asked["you"] != "nobody"
    links = [(told["sgf"], "data:application/x-go-sgf," + quote(write_game(game)))]
    if plays:
        before = {**asked, "chances": asked.get("chances", "").rpartition(" ")[0]}
        other = {**asked, "hints": "" if "hints" in asked else "yes"}
        ways = {"pass": (asked, [*names, "pass"]), "undo": (before, names[:-2]), "hint": (other, names)}
        links = [(told[name], _address(*way)) for name, way in ways.items()] + links
    hints, policy, owner = seen
    if owner is None:
        owner = game.owners() if game.over or "hints" in asked else np.zeros(game.size**2)
    cells, free = map(int, board.points(game.size)), plays and not game.over
    points = [
        {"name": name_of(cell, game.size), "stone": int(stone), "owner": float(whose),
         "free": free and game.legal(game.to_move, cell)}
        for cell, stone, whose in zip(cells, game.stones.flat, owner, strict=True)
    ]  # fmt: skip
    title = told["watched" if not plays else "over" if game.over else "turn"]
    return MARKUP.render(
        told=told, asked=asked, choices=choices, points=points, links=links, size=game.size, title=title,
        policy=policy, share={one.line[0]: one.share for one in hints}, columns=COLUMNS,
        address=_address(asked, names), last=names[-1] if names else "",
    )


def _address(asked: Mapping[str, str], moves: Sequence[str]) -> str:
    return "?" + urlencode({**asked, "moves": " ".join(moves)})
