"""Why Go took two decades more than chess: how many moves there are, for how long, and what counting tells.

    make bench NAME=branching          # python benchmarks/branching.py GAMES for fewer

Random games of both (chess by python-chess): the legal moves a turn, the moves a game, and the size of the
tree, 10 to the sum of the logarithms of the first along a game. Then the rule of thumb: in how many games did
the side win that was ahead at half time, by pieces (9, 5, 3, 3, 1) in chess, by stones on the board in Go?
Games that nobody won or in which nobody was ahead then are left out. Random play is weak play: the figures of
masters' games, some 35 moves for 80 turns and 250 for 150, are beside ours in docs/why-go.md.
"""

import json
import math
import random
import sys
from typing import Any

import chess
import harness
import numpy as np

from tuti.measure import binomial_interval
from tuti.systems.alphago import board

WORTH = {chess.QUEEN: 9, chess.ROOK: 5, chess.BISHOP: 3, chess.KNIGHT: 3, chess.PAWN: 1}
Told = tuple[list[int], list[int], int]
"""Of each turn the legal moves, and the lead by counting; who won: 1, 0, −1"""


def of_chess(seed: int) -> Told:
    """Random play to the rules' own ends; of those that must be claimed, the fifty moves are."""
    source, position, moves, leads = random.Random(seed), chess.Board(), list[int](), list[int]()
    while not position.is_game_over(claim_draw=False) and not position.can_claim_fifty_moves():
        legal = list(position.legal_moves)
        moves.append(len(legal))
        white, black = (sum(w * len(position.pieces(k, c)) for k, w in WORTH.items()) for c in (True, False))
        leads.append(white - black)
        position.push(source.choice(legal))
    result = position.result(claim_draw=True)
    return moves, leads, {"1-0": 1, "0-1": -1}.get(result, 0)


@board.loop
def legal_moves(game: Any, keys: Any, points: Any) -> int:
    """All of them, the pass among them."""
    count = 1
    for p in points:
        count += board.legal(game, keys, p, game[board.TO_MOVE])
    return count


def of_go(seed: int, size: int) -> Told:
    """Random play that fills no eye; komi 7.5."""
    game, keys = board.new(size, seed=seed)
    moves, leads, points = list[int](), list[int](), board.points(size)
    while not board.over(game):
        stones = game[board.STONES : board.STONES + board.CELLS]
        moves.append(int(legal_moves(game, keys, points)))
        leads.append(int((stones == board.BLACK).sum()) - int((stones == board.WHITE).sum()))
        board.play(game, keys, board.random_move(game, keys), game[board.TO_MOVE])
    lead = int(board.owners(game, np.empty(board.CELLS, np.int8))) - 7.5
    return moves, leads, 1 if lead > 0 else -1


def summary(name: str, games: list[Told]) -> dict[str, object]:
    """What is said of many games."""
    turns, every = [len(moves) for moves, _, _ in games], [n for moves, _, _ in games for n in moves]
    half = [(leads[len(leads) // 2], won) for _, leads, won in games]
    told = [(lead > 0) == (won > 0) for lead, won in half if lead and won]
    found = binomial_interval(sum(told), len(told))
    tree = np.mean([sum(map(math.log10, moves)) for moves, _, _ in games])
    return {
        "game": name, "games": len(games), "moves_a_turn": round(float(np.mean(every)), 1),
        "turns": round(float(np.mean(turns)), 1), "tree": round(float(tree), 1), "of": len(told),
        "ahead_won": round(found.value, 3), "interval": [round(found.low, 3), round(found.high, 3)],
    }  # fmt: skip


def main() -> None:
    games = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    played = {"chess": [of_chess(seed) for seed in range(games)]}
    for size in (9, 19):
        played[f"Go {size} × {size}"] = [of_go(seed, size) for seed in range(games)]
    each = [summary(name, own) for name, own in played.items()]
    for told in each:
        harness.show(json.dumps(told, ensure_ascii=False))
    wide, narrow = ([n for moves, _, _ in played[name] for n in moves] for name in ("Go 19 × 19", "chess"))
    tenths = np.array_split(wide, 10), np.array_split(narrow, 10)  # tenths of the turns: the range
    parts = [float(np.mean(a) / np.mean(b)) for a, b in zip(*tenths, strict=True)]
    harness.write(
        "branching", ours=float(np.mean(wide)), peer=float(np.mean(narrow)), unit="legal moves a turn",
        ratio=float(np.mean(wide) / np.mean(narrow)), spread=(min(parts), max(parts)), n=games, each=each,
    )  # fmt: skip


if __name__ == "__main__":
    main()
