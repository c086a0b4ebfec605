"""The card of room `alphago`."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.alphago"

CARD = Card(
    title="AlphaGo: a network and a tree, from games against itself",
    paper="Silver et al. 2016, 2017, 2018; Danihelka et al. 2022; Wu 2019, KataGo",
    stages={
        "train": Entry(f"{_HERE}.train:train", "learn Go from nothing, by games against itself"),
        "rollout": Entry(f"{_HERE}.rollout:rollout", "the fast policy of playouts, from records of games"),
        "match": Entry(f"{_HERE}.match:duel", "games of two players, with an interval and their records"),
    },
    pages={"/": f"{_HERE}.page:page"},
    presets={
        "train": {"tiny": f"{_HERE}.train:tiny", "small": f"{_HERE}.train:small"},
        "rollout": {"tiny": f"{_HERE}.rollout:tiny"},
    },
    claims=_HERE,
)
