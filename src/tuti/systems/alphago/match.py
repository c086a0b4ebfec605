"""Stage `match`: two players' games, in pairs with colours exchanged, each from an opening of its own."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from annotated_types import Ge, Le, MinLen

from tuti.measure import binomial_interval
from tuti.run import Run, UserError, atomic_write
from tuti.systems.alphago import board
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.players import Crashed, Player, by_chance, open_player
from tuti.systems.alphago.sgf import read_game, write_game


@dataclass(frozen=True)
class Match:
    """Two players' games; crashes are void and shown, never won."""

    first: tyro.conf.Positional[str]
    """A run, `random`, `playouts:1000`, `gnugo:10`"""
    second: tyro.conf.Positional[str]
    """The other"""
    games: Annotated[int, Ge(2)] = 100
    """Games, the colours exchanged after each"""
    size: Annotated[int, Ge(2), Le(19)] = 9
    """Points a side"""
    komi: float = 7.0
    """Points that White gets"""
    simulations: Annotated[int, Ge(2)] = 200
    """Simulations that a network has for a move, at most"""
    seconds: Annotated[float, Ge(0)] = 1.0
    """Seconds that it has"""
    opening: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (4,)
    """Random moves before a pair's two games; of several numbers each pair has another"""


def opening(config: Match, seed: int) -> Game:
    """A pair's game after its random moves, which fill no eye."""
    game, choose = Game(config.size, config.komi), by_chance(seed)
    for _ in range(config.opening[seed % len(config.opening)]):
        game.play(game.to_move, choose(game, 0.0) or board.PASS)
    return game


def finished(game: Game, black: Player, white: Player, seconds: float) -> str:
    """Plays to the end by our rules; the result as SGF has it, "Void" and why after a crash."""
    while not game.over:
        mover, began = black if game.to_move == board.BLACK else white, time.monotonic()
        try:
            cell = mover.choose(game, seconds)
            mover.longest = max(mover.longest, time.monotonic() - began)
            if cell is None:
                return f"{'W' if mover is black else 'B'}+R"
            game.play(game.to_move, cell)
        except (Crashed, UserError) as error:  # an illegal move, too
            return f"Void: {mover.name}: {error}"
    return game.result()


def duel(config: Match, run: Run) -> None:
    """A file a game, and the share of points that the first won, with its interval; draws are half."""
    folder, seed, names = run.folder / "artifacts" / "games", run.options.seed, (config.first, config.second)
    folder.mkdir(parents=True, exist_ok=True)

    def play(number: int) -> None:
        path = folder / f"{number + 1:04d}.sgf"
        if path.exists():  # before the run was ended and resumed
            return
        torch.set_num_threads(1)
        own = seed * 1_000_000 + number
        game, order = opening(config, own // 2), (1 if number % 2 == 0 else -1)
        chance = len(game.moves)
        with ExitStack() as stack:
            players: list[Player] = []
            for name in names:
                players.append(open_player(name, config.size, config.simulations, own))
                stack.callback(players[-1].close)
            black, white = players[::order]
            result = finished(game, black, white, config.seconds)
        atomic_write(path, write_game(game, (black.name, white.name), result, chance).decode())
        run.log("game", number=number + 1, result=result, moves=len(game.moves), longest=players[0].longest)
        run.show(f"game {number + 1}/{config.games}: {result}", passing=True)

    with ThreadPoolExecutor(run.options.threads or 2) as pool:
        list(pool.map(play, range(config.games)))
    told = tally(sorted(folder.iterdir()))
    atomic_write(folder.parent / "result.json", json.dumps(told) + "\n")
    run.log("match", **told)
    run.show(
        "{} against {}: {won:g} of {games} points, {share:.1%} [{low:.1%}, {high:.1%}], {void} void".format(
            *names, **told
        )
    )


def tally(paths: list[Path]) -> dict[str, float]:
    """The first's points and their share with its interval; void games."""
    results = [read_game(path).result for path in paths]
    points = [
        0.5 if result == "0" else float(result.startswith("WB"[number % 2 == 0]))
        for number, result in enumerate(results) if not result.startswith("Void")
    ]  # fmt: skip
    found = binomial_interval(sum(points), len(points))
    told = {"won": sum(points), "games": found.n, "share": found.value, "low": found.low, "high": found.high}
    return told | {"void": len(results) - found.n}
