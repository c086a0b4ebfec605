"""The card of room `mixtral`."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.mixtral"

CARD = Card(
    title="Mixtral: a sparse mixture of experts",
    paper="Jiang et al. 2024, Mixtral of Experts; Shazeer et al. 2017; Fedus et al. 2022, Switch",
    stages={"train": Entry(f"{_HERE}.train:train", "train experts, or their dense twin, on packed tokens")},
    views={
        "size": Entry(f"{_HERE}.size:size", "parameters, active ones, and what weights and cache take"),
        "twins": Entry(f"{_HERE}.twins:twins", "experts against their dense twin, by update and by clock"),
        "routes": Entry(f"{_HERE}.routes:routes", "which expert takes which token, layer by layer"),
    },
    pages={"/": f"{_HERE}.page:page"},
    presets={"train": {"tiny": f"{_HERE}.train:tiny"}},
    claims=_HERE,
)
