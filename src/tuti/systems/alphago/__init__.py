"""The card of room `alphago`."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.alphago"

CARD = Card(
    title="AlphaGo: a network and a tree, from games against itself",
    paper="Silver et al. 2016, 2017, 2018; Danihelka et al. 2022; Wu 2019, KataGo",
    stages={
        "train": Entry(f"{_HERE}.train:train", "learn Go from nothing, by games against itself"),
        "sl": Entry(f"{_HERE}.policy:sl", "2016, first: a policy that moves as experts do"),
        "rollout": Entry(f"{_HERE}.rollout:rollout", "2016, second: a policy of patterns, for rollouts"),
        "rl": Entry(f"{_HERE}.reinforce:rl", "2016, third: the policy against its past selves"),
        "value": Entry(f"{_HERE}.value:value", "2016, fourth: who wins, from one position a game"),
        "search": Entry(f"{_HERE}.apv:search", "2016, fifth: AlphaGo, put together of its parts"),
        "match": Entry(f"{_HERE}.match:duel", "games of two players, with an interval and their records"),
        "lesson": Entry(f"{_HERE}.lesson:lesson", "a game judged: chances, blunders, better moves"),
    },
    views={"gtp": Entry(f"{_HERE}.gtp:gtp", "an engine for programs that show a board")},
    pages={"/play": f"{_HERE}.page:page"},
    presets={"train": {size: f"{_HERE}.scale:{size}" for size in ("tiny", "small")}}
    | {name: {"tiny": f"{_HERE}.scale:tiny_{name}"} for name in "match sl rollout rl value search".split()},
    claims=_HERE,
)
