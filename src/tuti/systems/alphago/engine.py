"""`tuti alphago gtp PLAYER`: any graphical board or referee may play against it."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import tyro
from annotated_types import Ge

from tuti import __version__
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.gtp import Gtp, serve
from tuti.systems.alphago.players import Player, open_player


@dataclass(frozen=True)
class Engine:
    """Speaks the Go Text Protocol (GTP 2) on its input and output."""

    player: tyro.conf.Positional[str]
    """A run of `tuti alphago train`, `playouts:1000`, `random`"""
    simulations: Annotated[int, Ge(2)] = 200
    """Simulations that a network has for a move, at most; fewer where the clock wants it"""


def gtp(config: Engine) -> None:
    """Answers commands until `quit` or the end of the input."""

    @lru_cache(maxsize=1)
    def player(size: int) -> Player:
        return open_player(config.player, size, config.simulations, 0)

    def choose(game: Game, seconds: float) -> int | None:
        return player(game.size).choose(game, seconds)

    open_player(config.player, 0, config.simulations, 0) if ":" in config.player else None
    serve(Gtp(choose, version=__version__), sys.stdin.buffer, sys.stdout.buffer)
