"""Who can play: a network that searches, search by random games alone, GNU Go, and chance."""
# numba has no types.
# pyright: basic

import math
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuti.run import UserError
from tuti.search import PUCT, Trees, descend, grow, likely
from tuti.systems.alphago import board
from tuti.systems.alphago.apv import Search, load_alphago
from tuti.systems.alphago.game import Game, cell_of, name_of
from tuti.systems.alphago.net import load_net
from tuti.systems.alphago.planes import PLANES, may
from tuti.systems.alphago.planes import cell_of as cell_of_action
from tuti.systems.alphago.think import Thinker

Choose = Callable[[Game, float], int | None]
"""(game, seconds) → a cell, PASS, or None to resign"""
PATIENCE = 60.0  # seconds that GNU Go may take for an answer
SHIPPED = f"{Path(__file__).parent / 'shipped'}@rp"  # the player `tuti`; how it was made: README.md


class Crashed(Exception):
    """A program that ended, hung or broke the rules: the game is void."""


@dataclass
class Player:
    """A name, how it chooses, what ends it, and the seconds of its longest move in games that were played."""

    name: str
    choose: Choose
    close: Callable[[], None] = lambda: None
    longest: float = 0.0


def open_player(spec: str, size: int, simulations: int, seed: int) -> Player:
    """`tuti`, `random`, `playouts:N`, `gnugo:LEVEL` (or 1-8), a run's network or AlphaGo; or UserError."""
    if spec == "tuti":
        return replace(open_player(SHIPPED, size, simulations, seed), name=spec)
    kind, _, number = spec.partition(":")
    if spec == "random":
        return Player(spec, by_chance(seed))
    if kind == "playouts" and number.isdigit() and 0 < int(number) <= 100_000:
        return Player(spec, by_playouts(size, int(number), seed))
    low, _, high = number.partition("-")
    if kind == "gnugo" and low.isdigit() and (high or low).isdigit() and int(low) <= int(high or low) <= 10:
        program = GnuGo(int(low) + seed % (int(high or low) - int(low) + 1), seed)
        return Player(spec, program, program.close)
    path, _, letters = (spec, "", "rvp") if Path(spec).exists() else spec.rpartition("@")
    if path and any((Path(path) / place).exists() for place in ("policy", "artifacts/player")):
        parts, facts = load_alphago(Path(path))
        fits(path, facts, size)
        return Player(Path(spec).name, Search(parts, size, simulations, letters, seed=seed))
    if Path(spec).exists():
        return Player(Path(spec).name, Network(Path(spec), size, simulations))
    what = f"no player is called {spec!r}"
    hint = "give tuti, random, playouts:1000, gnugo:1 to gnugo:10, or a run of alphago train or search"
    raise UserError(what, hint)


def by_chance(seed: int) -> Choose:
    """Any legal move that fills no eye: which, is a matter of the seed and the number of moves before."""

    def choose(game: Game, seconds: float) -> int:
        own, keys = (array.copy() for array in game.arrays)
        keys[board.DICE] = board.chance(seed, len(game.moves))
        return int(board.random_move(own, keys))

    return choose


def fits(path: Path | str, facts: dict[str, Any], size: int) -> None:
    """UserError for a network of another board."""
    if size != facts["size"]:
        told = f"{path} was trained on a board of {facts['size']}, this is one of {size}"
        raise UserError(told, hint=f"a player that knows {size} × {size}, or a game of its size")


class Network:
    """Gumbel's search with a network, no noise: as many simulations as the time allows."""

    def __init__(self, path: Path, size: int, simulations: int):
        net, facts = load_net(path, PLANES)
        fits(path, facts, size)
        self.thinker, self.most, self.speed = Thinker(net, size, 1, simulations), simulations, math.inf
        self.value, self.owner = 0.0, None
        """What it thought of its last move, −1 to 1, and of the points, 1 Black's to −1 White's"""

    def __call__(self, game: Game, seconds: float) -> int:
        began, count = time.monotonic(), int(max(2, min(self.most, seconds * self.speed)))
        still = np.zeros((1, game.size**2 + 1), np.float32)
        thoughts = self.thinker.think(game.arrays[0][None], game.arrays[1][None], game.komi, still, count)
        self.speed = count / (time.monotonic() - began)
        self.value = float(thoughts.values[0])
        self.owner = thoughts.owner[0].flatten().numpy() * (1 if game.to_move == board.BLACK else -1)
        return int(cell_of_action(int(thoughts.actions[0]), game.size))

    def thoughts(self, most: int):
        """As AlphaGo's search tells them."""
        trees = self.thinker.trees
        visits, odds = trees.visits[0], np.exp(trees.logits[0, 0] - trees.logits[0, 0].max())
        worth = trees.totals[0, 0] / np.maximum(1, visits[0])
        return odds / odds.sum(), visits[0], worth, likely(trees.children[0], visits, 0, most)


@board.loop
def _by_playouts(tree, game, keys, komi, simulations):
    """A tree on a position, each leaf valued by one random game; visits of the root's actions."""
    path, visits = tree[5], tree[2]
    own, known, owner = game.copy(), keys.copy(), np.empty(board.CELLS, np.int8)
    allowed, leaf = np.zeros(visits.shape[1], np.bool_), np.zeros(visits.shape[1], np.float32)
    made = 0
    for _ in range(simulations + 1):
        source = known[board.DICE]
        board.assume(own, known, game, keys)
        known[board.DICE] = source
        depth = descend(tree, -1, PUCT, 1.5) if made else 0
        for i in range(depth):
            board.play(own, known, cell_of_action(path[i, 1], own[board.SIDE]), own[board.TO_MOVE])
        last, mover = board.over(own) and made > 0, own[board.TO_MOVE]
        may(own, known, allowed)
        for a in range(len(leaf)):
            leaf[a] = 0.0 if allowed[a] else -np.inf
        lead = (board.owners(own, owner) if last else board.playout(own, known, owner)) - komi
        value = np.sign(lead) if mover == board.BLACK else -np.sign(lead)
        made = grow(tree, depth, made, leaf, value, last)
    return visits[0]


def by_playouts(size: int, simulations: int, seed: int) -> Choose:
    """Tree search by random games alone (Coulom 2006; Kocsis & Szepesvári 2006)."""
    trees = Trees(1, simulations + 1, size * size + 1)

    def choose(game: Game, seconds: float) -> int:
        own, keys = (array.copy() for array in game.arrays)
        keys[board.DICE] = board.chance(seed, len(game.moves))
        tree = tuple(array[0] for array in trees.arrays())
        visits = _by_playouts(tree, own, keys, game.komi, simulations)
        return int(cell_of_action(int(visits.argmax()), size))

    return choose


class GnuGo:
    """Debian's `gnugo` over GTP; each move it is shown the whole game."""

    def __init__(self, level: int, seed: int):
        program = shutil.which("gnugo") or shutil.which("gnugo", path="/usr/games")  # where Debian puts it
        if program is None:
            raise UserError("GNU Go is not here", hint="apt install gnugo, or brew install gnu-go")
        options = f"--mode gtp --level {level} --seed {seed + 1} --chinese-rules --positional-superko"
        self.process = subprocess.Popen(
            [program, *options.split(), "--capture-all-dead"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, bufsize=0,
        )

    def __call__(self, game: Game, seconds: float) -> int | None:
        lines = [f"boardsize {game.size}", "clear_board", f"komi {game.komi}"]
        for colour, cell in (*game.set_up, *game.moves):
            lines.append(f"play {'BW'[colour - 1]} {name_of(cell, game.size)}")
        for line in lines:
            self._say(line)
        answer = self._say(f"genmove {'BW'[game.to_move - 1]}")
        try:
            return None if answer.lower() == "resign" else cell_of(answer, game.size)
        except ValueError as error:
            raise Crashed(f"gnugo moves to {answer[:20]!r}") from error

    def _say(self, line: str) -> str:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(line.encode() + b"\n")
            told, until = b"", time.monotonic() + PATIENCE
            while not told.endswith(b"\n\n"):
                ready, _, _ = select.select([stdout], [], [], max(0.0, until - time.monotonic()))
                piece = stdout.read(4096) if ready else b""
                if not piece:
                    raise Crashed(f"gnugo {'has ended' if ready else 'hangs'} at {line!r}")
                told += piece
        except OSError as error:
            raise Crashed(f"gnugo has ended at {line!r}") from error
        if not told.startswith(b"="):
            raise Crashed(f"gnugo says {told.decode(errors='replace').strip()!r} to {line!r}")
        return told[1:].decode(errors="replace").strip()

    def close(self) -> None:
        with self.process as process:  # whose end closes the pipes and waits
            process.kill()
