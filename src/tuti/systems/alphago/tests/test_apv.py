"""AlphaGo's search against its equations written out, its threads, its variants."""

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch

from tuti.run import UserError
from tuti.systems.alphago import apv, board
from tuti.systems.alphago.apv import EXPLORATION as C
from tuti.systems.alphago.apv import LETTERS, VIRTUAL, Networks, Search, select, tell
from tuti.systems.alphago.game import Game, cell_of
from tuti.systems.alphago.net import Net
from tuti.systems.alphago.planes import ALPHAGO, action_of
from tuti.systems.alphago.planes import cell_of as cell_of_action
from tuti.systems.alphago.rollout import TABLE


def nets(seed: int = 0) -> tuple[Net, Net, Any]:
    torch.manual_seed(seed)
    policy, value = (Net(planes, 1, 8).eval().requires_grad_(False) for planes in (ALPHAGO - 1, ALPHAGO))
    return policy, value, np.zeros(TABLE, np.float32)


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_the_tree_follows_the_papers_equations(mix: float) -> None:
    """argmax Q + u, u = c P √ΣN_r / (1 + N_r), Q = (1 − λ) W_v / N_v + λ W_r / N_r; two are under way."""
    rng = np.random.default_rng(3)
    nodes, actions = 30, 4
    children, figures = np.zeros((nodes, actions), np.int32), np.zeros((5, nodes, actions), np.float32)
    figures[0] = rng.dirichlet(np.ones(actions), nodes)
    figures[0, :, 3] = 0  # never allowed
    tree: Any = (children, *figures)
    edges: Any = defaultdict(lambda: np.zeros(4))  # (node, action) → N_r, W_r, N_v, W_v
    below: dict[tuple[int, int], int] = {}

    def slow() -> list[tuple[int, int]]:
        node, way = 0, list[tuple[int, int]]()
        while True:
            total = sum(edges[node, a][0] for a in range(actions))
            scores = list[float]()
            for a in range(3):
                n, w, m, v = edges[node, a]
                q = (1 - mix) * v / max(m, 1) + mix * w / max(n, 1)  # 0 where there was none
                scores.append(q + C * figures[0, node, a] * max(1, total) ** 0.5 / (1 + n))
            a = int(np.argmax(scores))
            way.append((node, a))
            edges[node, a] += (VIRTUAL, -VIRTUAL, 0, 0)
            if (node, a) not in below:
                return way
            node = below[node, a]

    made, pending = 1, list[tuple[Any, list[tuple[int, int]]]]()
    for _ in range(150):
        path = np.zeros((nodes, 2), np.int32)
        depth, want = select(tree, 0, path, mix), slow()
        assert [tuple(step) for step in path[:depth].tolist()] == want
        pending.append((path[:depth].copy(), want))
        if len(pending) < 3:
            continue
        path, want = pending.pop(0)
        result, value = rng.choice([-1.0, 1.0]), rng.uniform(-1, 1) if rng.random() < 0.5 else np.nan
        tell(tree, path, len(path), result, value)
        for sign, edge in zip(cycle((-1, 1)), reversed(want)):  # noqa: B905 (as many as there are edges)
            told = (0, 0) if np.isnan(value) else (1, sign * value)
            edges[edge] += (1 - VIRTUAL, VIRTUAL + sign * result, *told)
        if made < nodes and want[-1] not in below:
            below[want[-1]] = children[want[-1]] = made
            made += 1
    assert made > 20
    for (node, a), told in edges.items():
        assert np.allclose([figure[node, a] for figure in figures[1:]], told, atol=1e-3)


@pytest.mark.parametrize("workers", [1, 8])
def test_all_simulations_are_counted_and_no_virtual_loss_stays(workers: int) -> None:
    search = Search(nets(), 5, 300, "rvp", workers)
    move = search(Game(5, 0.5), 1e9)
    children, _, rollouts, won, values, worth = search.tree
    made = search.made
    assert rollouts[0].sum() == 300 and search.begun == 300
    assert Game(5, 0.5).legal(board.BLACK, move)
    assert (rollouts[:made] >= 0).all() and (np.abs(won[:made]) <= rollouts[:made]).all()
    assert (np.abs(worth[:made]) <= values[:made] + 1e-4).all()
    # Each node but the root hangs on one edge, and below an edge there are fewer visits than on it.
    hung = children[:made][children[:made] > 0]
    assert sorted(hung) == list(range(1, made)) and (children[:made] >= 0).all()
    for node, a in zip(*np.nonzero(children[:made]), strict=True):
        assert rollouts[children[node, a]].sum() <= rollouts[node, a] - 1


def answered(search: Search, game: Game, simulations: int = 400) -> int:
    """Plays the search's move and the answer that it looked at most; the node where the tree has both."""
    search.most = simulations
    mine = search(game, 1e9)
    node = search.children[search.root, action_of(mine, game.size)]
    answer = int(search.tree[2][node].argmax())
    for cell in (mine, int(cell_of_action(answer, game.size))):
        game.play(game.to_move, cell)
    return int(search.children[node, answer])


def test_the_tree_is_kept_from_move_to_move() -> None:
    """What the search before learnt below the two moves counts on; the simulations are added to it."""
    search, game = Search(nets(), 3, 4000, "vp", 1), Game(3, 0.5)
    node = answered(search, game)
    before = search.tree[2][node].sum()
    assert node > 0 and before > 1
    search(game, 1e9)
    assert search.root == node and search.begun == 400
    assert search.tree[2][node].sum() == before + 400
    assert (search.tree[2][: search.made] >= 0).all()  # no virtual loss is left


def free(game: Game) -> int:
    """A cell where nobody has played."""
    return next(int(c) for c in board.points(3) if c not in {cell for _, cell in game.moves})


def undone(game: Game) -> Game:
    return game.undone()


def another(game: Game) -> Game:
    return Game(3, 0.5, moves=[*game.moves[:-1], (game.moves[-1][0], free(game))])


@pytest.mark.parametrize("change", [
    undone, another,
    lambda game: replace(game, komi=1.5),
    lambda game: replace(game, rule="simple"),
    lambda game: Game(3, 0.5),
    lambda game: Game(3, 0.5, set_up=[(board.BLACK, free(game))], moves=game.moves),
    lambda game: Game(3, 0.5, first=board.WHITE, moves=[]),
    lambda game: Game(3, 0.5, moves=[*game.moves, (game.moves[-1][0], free(game))]),  # out of turn
])  # fmt: skip
def test_no_tree_is_kept_for_another_game(change: Callable[[Game], Game]) -> None:
    search, game = Search(nets(), 3, 4000, "vp", 1, seed=1), Game(3, 0.5)
    answered(search, game)
    search(game, 1e9)
    other = change(game)
    search(other, 1e9)
    assert search.tree[2][search.root].sum() == search.begun == 400  # of these alone
    fresh = Search(nets(), 3, 400, "vp", 1, seed=1)
    fresh(other, 1e9)
    assert search.tree[2][search.root].tolist() == fresh.tree[2][0].tolist()


def test_a_tree_that_fills_half_its_room_is_not_kept() -> None:
    search, game = Search(nets(), 3, 100, "vp", 1), Game(3, 0.5)
    answered(search, game, 100)
    assert 2 * search.made > len(search.children)
    search(game, 1e9)
    assert search.root == 0 and search.tree[2][0].sum() == 100


def test_one_thread_always_thinks_the_same() -> None:
    one, two = (Search(nets(), 5, 100, "rvp", 1, seed=4) for _ in range(2))
    moves = [(search(Game(5, 0.5), 1e9), search.tree[2][0].tolist()) for search in (one, two)]
    assert moves[0] == moves[1]


@pytest.mark.parametrize("letters", LETTERS)
def test_every_variant_plays_by_the_rules_to_the_end(letters: str) -> None:
    player, game = Search(nets(1), 3, 20, letters, 2), Game(3, 0.5)
    while not game.over:
        game.play(game.to_move, player(game, 1e9))
    assert game.result()


def test_what_is_not_used_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """λ = 1 asks no value network, λ = 0 plays no rollout."""
    def never(*_: Any) -> float:
        raise AssertionError("asked")

    monkeypatch.setattr(apv, "policy_playout", never)
    search = Search(nets(), 3, 30, "vp", 1)
    search(Game(3, 0.5), 1e9)
    assert search.tree[4].sum() > 0  # values were told
    monkeypatch.undo()
    asked: Any = never  # a network that must not be asked
    Search((nets()[0], asked, nets()[2]), 3, 30, "rp", 1)(Game(3, 0.5), 1e9)
    Search((asked, nets()[1], nets()[2]), 3, 30, "rv", 1)(Game(3, 0.5), 1e9)
    never.shape = (ALPHAGO, 1, 8)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="asked"):
        Search((nets()[0], asked, nets()[2]), 3, 30, "rvp", 1)(Game(3, 0.5), 1e9)


@pytest.mark.parametrize("simulations", [2, 7, 8])
def test_few_simulations_and_no_time_are_enough_for_a_move(simulations: int) -> None:
    search = Search(nets(), 3, simulations, "vp", 8)
    search(Game(3, 0.5), 1e9)
    assert search.made > 1 and search.tree[4].sum() > 0  # the value network was asked
    game = Game(3, 0.5)
    for _ in range(2):
        game.play(game.to_move, search(game, 0.0))
    assert np.isfinite(search.value)


@pytest.mark.parametrize("letters", ["r", "rp"])
def test_rollouts_find_the_move_that_takes(letters: str) -> None:
    """White's chain in the middle has one liberty, E3; if Black leaves it, it grows out there."""
    black, white = "A3 B4 C4 D4 B2 C2 D2".split(), "B3 C3 D3 A5 E1".split()
    set_up = [(board.BLACK, cell_of(name, 5)) for name in black]
    set_up += [(board.WHITE, cell_of(name, 5)) for name in white]
    game = Game(5, 7.5, set_up=set_up)
    search = Search(nets(), 5, 2000, letters, 1)
    assert search(game, 1e9) == cell_of("E3", 5)


def test_the_networks_answer_those_who_wait_together_as_alone() -> None:
    policy, value, _ = nets(2)
    games = [Game(5, 0.5) for _ in range(6)]
    for number, game in enumerate(games):
        for name in "C3 B2 D4 A1 E5".split()[:number]:
            game.play(game.to_move, cell_of(name, 5))
    alone = [Networks(policy, value).ask(*game.arrays) for game in games]
    shared = Networks(policy, value)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda game: shared.ask(*game.arrays), games))
    for (p, v), (q, w) in zip(alone, together, strict=True):
        assert np.allclose(p, q, atol=1e-5) and abs(v - w) < 1e-5 and abs(p.sum() - 1) < 1e-5
    game, likely = games[3], alone[3][0][:-1]
    may = [game.legal(game.to_move, int(cell)) for cell in board.points(5)]
    assert ((likely > 0) == may).all()


def test_an_unknown_variant_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="no variant 'x'") as caught:
        Search(nets(), 3, 10, "x")
    assert "rvp" in str(caught.value.hint)
