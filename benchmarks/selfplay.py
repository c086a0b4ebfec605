"""Gumbel self-play, 9 × 9, 16 simulations a move, two cores: many games at once ÷ one at a time.

    make bench NAME=selfplay

Both sides play the same code with the same network (4 blocks of 32 channels) and the same seeds; a game does
not depend on the games beside it, so that the peer's are among ours, move for move (checked). The peer plays
one game after the other, each evaluation a batch of one; torch may use both cores for it. As games differ in
length, rates are of moves, told in games of mean length. Beside the ratio: the same against one game at a
time on each core ("cores").
"""

from concurrent.futures import ThreadPoolExecutor

import harness
import numpy as np
import torch

from tuti.systems.alphago.net import Net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.selfplay import self_play, together

SIDE, KOMI, SEARCH, GAMES, ALONE, CORES = 9, 7.0, (16, "gumbel"), 128, 4, 2


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(CORES)
    net = Net(PLANES, 4, 32).eval().requires_grad_(False)
    whole = together(net, SIDE, KOMI, np.arange(GAMES), *SEARCH)
    mean = float(whole["moves"].mean())

    def ours() -> float:
        return float(together(net, SIDE, KOMI, np.arange(GAMES), *SEARCH)["moves"].sum()) / mean

    def alone(seed: int) -> int:
        return int(self_play(net, SIDE, KOMI, [seed], *SEARCH)["moves"][0])

    def peer() -> float:
        moves = [alone(seed) for seed in range(ALONE)]
        assert moves == whole["moves"][:ALONE].tolist(), "a game depends on its company"
        return sum(moves) / mean

    def on_each_core() -> float:
        with ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            found = pool.map(alone, range(ALONE))
            return sum(found) / mean

    cores = harness.compare(ours, on_each_core, pairs=5)
    torch.set_num_threads(CORES)
    beside = float(np.median([pair.ratio for pair in cores]))
    harness.report(
        "selfplay", harness.compare(ours, peer, pairs=5), unit="games/s", moves=mean, games=GAMES,
        cores=beside,
    )  # fmt: skip


if __name__ == "__main__":
    main()
