"""The card of room `alphago`."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.alphago"

CARD = Card(
    title="AlphaGo: a network and a tree, from games against itself",
    paper="Silver et al. 2016, 2017, 2018; Danihelka et al. 2022; Wu 2019, KataGo",
    stages={
        "train": Entry(f"{_HERE}.train:train", "learn Go from nothing, by games against itself"),
        "match": Entry(f"{_HERE}.match:duel", "games of two players, with an interval and their records"),
    },
    pages={"/": f"{_HERE}.page:page"},
    presets={"train": {"tiny": f"{_HERE}.train:tiny", "small": f"{_HERE}.train:small"}},
    claims=_HERE,
)
