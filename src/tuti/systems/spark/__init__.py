"""Room `spark`: raw folders → clean, deduplicated shards; an engine in small, and Apache Spark."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.spark"

CARD = Card(
    title="Spark: corpus preparation",
    paper="Zaharia et al. 2012, Resilient Distributed Datasets (NSDI)",
    stages={
        "prepare": Entry(
            f"{_HERE}.prepare:prepare",
            "folders of text → clean, deduplicated documents and their word counts",
        ),
        "pack": Entry(f"{_HERE}.pack:pack", "documents + tokenizer → token shards"),
    },
    views={
        "card": Entry(f"{_HERE}.card:card", "what a corpus holds, and what was left out of it"),
        "why": Entry(f"{_HERE}.why:why", "every stage that a document met, and the rule that dropped it"),
        "explain": Entry(f"{_HERE}.explain:explain", "what a Spark job did, and what to change in it"),
        "idioms": Entry(f"{_HERE}.idioms:idioms", "twenty pandas idioms in pandas, PySpark and our engine"),
    },
    checks={"Spark": f"{_HERE}.java:check"},
    pages={"/": f"{_HERE}.doctor.picture:page"},
    presets={"prepare": {size: f"{_HERE}.prepare:{size}" for size in ("tiny", "small")}},
    claims=_HERE,
)
