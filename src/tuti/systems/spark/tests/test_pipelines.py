"""Forty random pipelines: the same rows as PySpark, and the same shuffles."""

import re
import shutil
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from tuti.systems.spark import engine_spark
from tuti.systems.spark.engine import Session
from tuti.systems.spark.query.optimise import optimise
from tuti.systems.spark.query.plan import Exchange, drawn
from tuti.systems.spark.tests.pipelines import Drawn, tables

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")
LEFT_OUT = (
    "org.apache.spark.sql.catalyst.optimizer.PushDownLeftSemiAntiJoin",  # below a union: more shuffles
    "org.apache.spark.sql.execution.planmerging.MergeSubplans",  # the same figure computed once
    "org.apache.spark.sql.catalyst.optimizer.EliminateSorts",
    "org.apache.spark.sql.catalyst.optimizer.RemoveRedundantAggregates",
    "org.apache.spark.sql.catalyst.optimizer.RemoveNoopUnion",
)
PLAIN = {
    "spark.sql.optimizer.excludedRules": ",".join(LEFT_OUT),
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.exchange.reuse": "false",
    "spark.sql.shuffle.partitions": "4",
}
"""Nothing is changed while it runs, nothing depends on how large files are, and no part is computed once for
two readers, which our engine does not do either"""


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """Our session and Spark's, each with the two tables from the same files."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name, table in tables(0).items():
        for part in range(3):
            size = -(-len(table) // 3)
            (folder / name).mkdir(exist_ok=True)
            pq.write_table(table.slice(part * size, size), folder / name / f"{part}.parquet")
    spark = engine_spark.session("local[2]", "6g")  # this process, pytest, counts
    before = {key: spark.conf.get(key, None) for key in PLAIN}
    for key, value in PLAIN.items():
        spark.conf.set(key, value)
    with Session(executors=2, memory="1g", partitions=4) as session:
        yield [
            (session.parquet(sorted((folder / n).iterdir())), spark.read.parquet(str(folder / n)))
            for n in ("left", "right")
        ]
    for key, value in before.items():
        spark.conf.unset(key) if value is None else spark.conf.set(key, value)


def shuffles_of(plan: str) -> Counter[str]:
    """Kinds of the exchanges in Spark's physical plan."""
    return Counter(re.findall(r"Exchange (hash|range|Single)", plan.replace("SinglePartition", "Single")))


@needs_java
@pytest.mark.parametrize(
    "seed",
    range(int(__import__("os").environ.get("SEEDS0", "0")), int(__import__("os").environ.get("SEEDS", "40"))),
)
def test_a_random_pipeline_gives_what_spark_gives(seed: int, systems) -> None:
    pipeline = Drawn(seed, *systems)
    plan = pipeline.theirs._jdf.queryExecution().executedPlan().toString()
    stages = pipeline.ours.session.stages(pipeline.ours.node)
    ours = Counter[str]()
    for stage in stages:
        if isinstance(stage.root, Exchange):
            layout = str(stage.root.layout).split()[0]
            ours["Single" if layout == "all" else layout] += 1
    asked = pipeline.ours.node
    told = "\n".join([*pipeline.names, plan, *drawn(asked), "optimised:", *drawn(optimise(asked))])
    assert ours == shuffles_of(plan), told
    table = pipeline.ours.collect()
    assert table.schema.names == pipeline.theirs.columns, told
    rows = [tuple(row.values()) for row in table.to_pylist()]
    theirs = [tuple(row) for row in pipeline.theirs.collect()]
    assert counted(rows) == counted(theirs), told
    if pipeline.names[-1].startswith("sort"):
        names = re.findall(r"'(\w+)'", pipeline.names[-1])
        places = [table.schema.names.index(name) for name in names]
        assert [[r[p] for p in places] for r in rows] == [[r[p] for p in places] for r in theirs], told


def counted(rows: list[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """Rows as a multiset; means may differ in their last bits."""
    return Counter(tuple(round(v, 9) if isinstance(v, float) else v for v in row) for row in rows)
