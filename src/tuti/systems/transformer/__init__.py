"""The card of room `transformer`."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.transformer"

CARD = Card(
    title="The Transformer, from one-hot and BPE to a full decoder",
    paper="Vaswani et al. 2017, Attention Is All You Need; Touvron et al. 2023, Llama",
    stages={
        "tokenizer": Entry(f"{_HERE}.tokenizer:tokenizer", "train a byte-level BPE on word counts"),
        "pretrain": Entry(f"{_HERE}.pretrain:pretrain", "train a decoder on packed tokens"),
    },
    presets={"pretrain": {"tiny": f"{_HERE}.pretrain:tiny"}},
    claims=_HERE,
)
