"""The page without a browser: a network has its own board and komi; addresses that mean nothing are told."""

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from tuti.run import Run, RunOptions
from tuti.systems.alphago.board import BLACK, PASS
from tuti.systems.alphago.net import Net, load_net, save_net
from tuti.systems.alphago.page import page
from tuti.systems.alphago.planes import PLANES, draw, may
from tuti.systems.alphago.sgf import read_game
from tuti.systems.alphago.train import Train


def with_network(runs: Path, size: int, komi: float) -> None:
    config = Train(size=size, komi=komi, blocks=1, channels=4)
    run = Run.create("alphago", "train", config, RunOptions(out=runs / "net"))
    save_net(Net(PLANES, 1, 4), run, size=size, komi=komi)


def chosen(markup: str, name: str) -> str:
    options = re.search(rf'<select name="{name}">(.*?)</select>', markup, re.DOTALL)
    assert options
    return re.findall(r'value="([^"]*)" selected', options[1])[0]


def test_a_network_plays_its_own_board_with_its_own_komi(tmp_path: Path) -> None:
    with_network(tmp_path, 6, 1.5)
    made = "".join(page(tmp_path, {"lang": "en", "moves": "C3"}))
    assert (chosen(made, "with"), chosen(made, "size"), chosen(made, "you")) == ("net", "6", "black")
    assert "I played" in made and "My chances:" in made
    assert len(re.findall('circle class="(?:black|white)"', made)) == 2
    data = re.search(r"data:application/x-go-sgf,([^&\"]*)", made)
    assert data
    record = read_game(unquote(data[1]).encode())
    assert (record.game.size, record.game.komi, len(record.game.moves)) == (6, 1.5, 2)
    asked = {"lang": "en", "with": "net", "you": "white"}
    assert len(re.findall('circle class="black"', "".join(page(tmp_path, asked)))) == 1  # it begins
    assert page(tmp_path, {"lang": "en", "moves": "C3"}) == page(tmp_path, {"lang": "en", "moves": "C3"})


@pytest.mark.parametrize(
    "query",
    [{"moves": "Z9"}, {"moves": "C3 C3"}, {"moves": "<b>"}, {"moves": "C3 " * 2000}],
)
def test_moves_that_mean_nothing_are_told(tmp_path: Path, query: dict[str, str]) -> None:
    made = "".join(page(tmp_path, {"lang": "en", "size": "5", **query}))
    assert 'class="bad"' in made and "<svg" not in made and "<b>" not in made and "New game" in made


@pytest.mark.parametrize(
    "query", [{"with": "../../etc"}, {"with": "gnugo:10"}, {"size": "400"}, {"you": "both", "size": "5"}]
)
def test_what_is_not_offered_is_not_taken(tmp_path: Path, query: dict[str, str]) -> None:
    made = "".join(page(tmp_path, {"lang": "en", **query}))
    assert "<svg" in made and chosen(made, "with") == "playouts:3000"
    assert chosen(made, "size") == ("5" if query.get("size") == "5" else "9")


def test_the_network_that_ships_plays_where_nothing_was_trained(tmp_path: Path) -> None:
    made = "".join(page(tmp_path, {"lang": "xx", "moves": "E5"}))
    assert chosen(made, "with") == "tuti" and chosen(made, "size") == "9" and "My chances:" in made
    assert len(re.findall('circle class="(?:black|white)"', made)) == 2
    for own in ({}, {"with": "tuti"}):
        asked = "".join(page(tmp_path, {"lang": "en", "size": "5", "moves": "C3", **own}))
        assert (chosen(asked, "with"), chosen(asked, "size")) == ("playouts:3000", "5")  # it knows one board


def test_hints_grow_while_somebody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the network that plays; the board shows their share, the table the lines; then they stay."""
    monkeypatch.setattr("tuti.systems.alphago.page.GLANCE", 0.05)
    monkeypatch.setattr("tuti.systems.alphago.page.LOOKS", 3)
    asked = {"lang": "en", "with": "tuti", "size": "9", "moves": "E5 C3", "hints": "yes"}
    tried = list[int]()
    for _ in range(4):
        made = page(tmp_path, asked)
        numbers = [int(n) for n in re.findall(r'<text x="\d" y="[\d.]+">(\d+)</text>', made[2])]
        assert 1 <= len(numbers) <= 5 and 0 < sum(numbers) <= 102  # of what was tried most, in percent
        assert made[2].count('class="heat"') >= len(numbers)
        tried.append(sum(int(n.replace(",", "")) for n in re.findall(r"<td[^>]*>([\d,]+)</td>", made[3])))
    assert tried[0] < tried[1] < tried[2] == tried[3]
    assert "Your chances" in made[3] and "hints=&" in made[2]  # the link that ends them
    assert made[2].count('class="mine"') + made[2].count('class="theirs"') >= 70
    nothing = page(tmp_path, {**asked, "with": "playouts:3000"})  # it tells no thoughts
    assert "heat" not in nothing[2] and not nothing[3] and 'class="mine"' in nothing[2]
    assert 'class="mine"' not in page(tmp_path, {**asked, "hints": ""})[2]
    assert not page(tmp_path, {**asked, "moves": "pass pass"})[3]


def test_a_network_foretells_whose_the_points_will_be(tmp_path: Path) -> None:
    """Its own forecast, whoever is to move; the squares are as dark as it is sure."""
    with_network(tmp_path, 4, 0.5)
    net = load_net(tmp_path / "net")[0]
    for moves in ("", "B2", "B2 C3"):
        made = page(tmp_path, {"lang": "en", "with": "net", "you": "black", "moves": moves, "hints": "yes"})
        data = made[2].split("x-go-sgf,")[1].split('"')[0]
        game = read_game(unquote(data).encode()).game
        allowed, planes = np.empty(17, np.bool_), np.empty((1, PLANES, 16), np.float32)
        may(*game.arrays, allowed)
        draw(game.arrays[0], allowed, game.komi, planes[0])
        told = net(torch.from_numpy(planes).unflatten(-1, (4, 4))).owner.detach().flatten().numpy()
        told = told if game.to_move == BLACK else -told
        found = re.findall(r'class="(mine|theirs)" opacity="([\d.]+)"', made[2])
        drawn = [float(sure) * (1 if whose == "mine" else -1) for whose, sure in found]
        assert np.allclose(drawn, 0.8 * told, atol=0.006)


def test_the_chances_of_each_turn_become_a_curve(tmp_path: Path) -> None:
    with_network(tmp_path, 5, 0.5)
    asked = {"lang": "en", "with": "net", "moves": "C3", "chances": "40 61"}
    made = page(tmp_path, asked)
    assert "<svg" in made[4]
    kept = re.search(r"moves=C3\+\w+\+pass", unquote(made[2]))
    assert kept and re.search(r"chances=40\+61\+\d+&", made[2].replace("&amp;", "&"))
    undone = re.search(r'href="([^"]*)">Take back', made[2])
    assert undone and "chances=40+61&" in undone[1].replace("&amp;", "&")
    assert not page(tmp_path, {**asked, "chances": ""})[4]
    for wrong in ("x", "<b>", "1 2 nan 4e"):
        assert 'class="bad"' in page(tmp_path, {**asked, "chances": wrong})[1]
    assert "<svg" in page(tmp_path, {**asked, "chances": "nan inf -9 1e9"})[4]


def test_a_record_is_gone_on_with(tmp_path: Path) -> None:
    """Its moves stand on the board, the opponent answers; what is no even game on the board is told."""
    game = "(;FF[4]GM[1]SZ[5];B[cc];W[bb];B[dd])"
    made = "".join(page(tmp_path, {"lang": "en", "size": "5", "with": "playouts:3000", "sgf": game}))
    assert len(re.findall('circle class="(?:black|white)"', made)) == 4
    for wrong in ("(", "x" * 100, "(;SZ[9];B[cc])", "(;SZ[5]HA[2]AB[aa][bb];W[cc])", "(;SZ[5];B[cc];B[bb])"):
        told = page(tmp_path, {"lang": "en", "size": "5", "sgf": wrong})
        assert 'class="bad"' in told[1] and "<svg" not in told[2]


def test_nobody_watches_a_player_against_itself(tmp_path: Path) -> None:
    """A move a look, the same game for all; after its end another begins."""
    with_network(tmp_path, 2, 0.5)
    seen = list[int]()
    while seen.count(0) < 2 and len(seen) < 200:
        made = page(tmp_path, {"lang": "en", "with": "net", "size": "2", "you": "nobody"})
        assert "plays itself" in made[2] and 'class="free"' not in made[2] and "Pass" not in made[2]
        moves = read_game(unquote(made[2].split("x-go-sgf,")[1].split('"')[0]).encode()).game.moves
        seen.append(len(moves))
        over = [cell for _, cell in moves[-2:]] == [PASS, PASS]
        assert ("The game is over" in made[1]) == over
    end = seen.index(0)
    assert seen[:end] == list(range(1, end + 1)) and seen[end + 1] == 1
