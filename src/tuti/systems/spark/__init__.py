"""Room `spark`: raw folders → clean, deduplicated shards; an engine in small, and Apache Spark."""

from tuti.run import Card, Entry

CARD = Card(
    title="Spark: corpus preparation",
    paper="Zaharia et al. 2012, Resilient Distributed Datasets (NSDI)",
    stages={
        "prepare": Entry(
            "tuti.systems.spark.prepare:prepare",
            "folders of text → clean, deduplicated documents and their word counts",
        ),
        "pack": Entry("tuti.systems.spark.pack:pack", "documents + tokenizer → token shards"),
    },
    views={
        "card": Entry("tuti.systems.spark.card:card", "what a corpus holds, and what was left out of it"),
        "why": Entry(
            "tuti.systems.spark.why:why", "every stage that a document met, and the rule that dropped it"
        ),
        "explain": Entry(
            "tuti.systems.spark.explain:explain", "what a Spark job did, and what to change in it"
        ),
        "idioms": Entry(
            "tuti.systems.spark.idioms:idioms", "twenty pandas idioms in pandas, PySpark and our engine"
        ),
    },
    checks={"Spark": "tuti.systems.spark.java:check"},
    pages={"/": "tuti.systems.spark.doctor.picture:page"},
    presets={
        "prepare": {
            "tiny": "tuti.systems.spark.presets:tiny",
            "small": "tuti.systems.spark.presets:small",
        }
    },
    claims="tuti.systems.spark",
)
