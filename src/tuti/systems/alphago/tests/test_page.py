"""The page without a browser: a network has its own board and komi; addresses that mean nothing are told."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tuti.run import Run, RunOptions
from tuti.systems.alphago.net import Net, save_net
from tuti.systems.alphago.page import page
from tuti.systems.alphago.planes import PLANES
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
