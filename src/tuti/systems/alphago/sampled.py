"""Positions of records as AlphaGo sees them, and games sampled from its policies, many side by side."""
# numba has no types.
# pyright: basic

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tuti.systems.alphago import board
from tuti.systems.alphago.net import Net
from tuti.systems.alphago.planes import ALPHAGO, action_of, alphago_planes, may
from tuti.systems.alphago.records import replay
from tuti.systems.alphago.selfplay import settle, to_the_end

LARGEST = 1024  # positions that go through a network at once


class Sampled(NamedTuple):
    """Finished games."""

    moves: Any  # [games, most]: cells, −1 after the end
    won: Any  # 1 where Black won, −1 White, 0 a draw


@board.loop
def look(games, keys, allowed, planes):
    """Of positions: which actions make sense, and what a network sees."""
    for b in range(len(games)):
        may(games[b], keys[b], allowed[b])
        alphago_planes(games[b], keys[b], allowed[b], planes[b])


@board.loop
def _recall(games, keys, moves, plies, actions):
    for b in range(len(plies)):
        replay(games[b], keys[b], moves[b], plies[b])
        ended = plies[b] == moves.shape[1] or moves[b, plies[b]] < 0
        actions[b] = -1 if ended else action_of(moves[b, plies[b]], games[b, board.SIDE])


def positions(moves: Any, plies: Any, side: int) -> tuple[Any, Any]:
    """Planes [batch, ALPHAGO, points] of records [batch, most] after so many moves; the next action or −1."""
    count, points = len(moves), side * side
    games, keys = (np.repeat(array[None], count, 0) for array in board.new(side))
    planes, actions = np.empty((count, ALPHAGO, points), np.float32), np.empty(count, np.int64)
    _recall(games, keys, moves, plies, actions)
    look(games, keys, np.empty((count, points + 1), np.bool_), planes)
    return planes, actions


@torch.inference_mode()
def forecast(net: Net, planes: Any) -> tuple[Any, Any]:
    """A network's logits and values of positions [batch, ALPHAGO, points]."""
    side = int(planes.shape[-1] ** 0.5)
    seen = torch.from_numpy(planes[:, : net.shape[0]]).unflatten(-1, (side, side))
    parts = [net(part) for part in seen.split(LARGEST)]
    policy, value, *_ = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return policy, value


def sample(
    nets: Sequence[Net], who: Callable[[Any, int], Any], side: int, komi: float, source: Any, games: int
) -> Sampled:
    """Plays games to their ends; who(games, move's number) says which of the nets moves in each.

    A number beyond the last net: any move that makes sense.
    """
    moves = np.full((games, board.LONGEST * side * side + 2), -1, np.int16)
    cells = np.array([*board.points(side), board.PASS], np.int16)

    def choose(alive: Any, state: Any, keys: Any) -> Any:
        allowed = np.empty((len(alive), len(cells)), np.bool_)
        planes = np.empty((len(alive), ALPHAGO, side * side), np.float32)
        look(state, keys, allowed, planes)
        ply = int(state[0, board.MOVES])
        turn, logits = who(alive, ply), np.zeros(allowed.shape, np.float32)
        for number, net in enumerate(nets):
            if (mine := turn == number).any():
                logits[mine] = forecast(net, planes[mine])[0]
        allowed[:, -1] &= (turn < len(nets)) | ~allowed[:, :-1].any(1)  # chance passes only where it must
        logits[~allowed] = -np.inf
        actions = (logits + source.gumbel(size=(games, len(cells)))[alive]).argmax(1)
        moves[alive, ply] = cells[actions]
        return actions

    finals = to_the_end([board.new(side) for _ in range(games)], choose)
    lead = np.empty(games, np.float32)
    settle(finals, komi, np.empty((games, side * side), np.int8), lead)
    return Sampled(moves[:, : finals[:, board.MOVES].max()], np.sign(lead))
