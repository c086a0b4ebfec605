"""Which line of a PySpark program made a shuffle: by what the plan writes, and of programs that ran."""

import shutil
from pathlib import Path

import pytest

from tuti.systems.spark.doctor.trail import Call, made_by, read
from tuti.systems.spark.explain import run_program

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")
TRAIL: list[Call] = [
    ("withColumn", ["k", "(id % 100)"], "a.py:1"),
    ("join", ["k"], "a.py:2"),
    ("withColumn", ["r", "row_number() OVER (PARTITION BY town ORDER BY id)"], "a.py:3"),
    ("repartition", ["5"], "a.py:4"),
    ("groupBy", ["j"], "a.py:5"),
    ("count", [], "a.py:5"),
    ("orderBy", ["n"], "a.py:6"),
    ("count", [], "a.py:7"),
]


@pytest.mark.parametrize(
    ("exchange", "line"),
    [
        ("Exchange hashpartitioning(k#3L, 8), ENSURE_REQUIREMENTS, [plan_id=9]", "a.py:2"),
        ("Exchange hashpartitioning(j#30L, 8), ENSURE_REQUIREMENTS, [plan_id=9]", "a.py:5"),
        ("Exchange hashpartitioning(town#4, 8), ENSURE_REQUIREMENTS, [plan_id=9]", "a.py:3"),
        ("Exchange RoundRobinPartitioning(5), REPARTITION_BY_NUM, [plan_id=9]", "a.py:4"),
        ("Exchange rangepartitioning(n#7L ASC NULLS FIRST, 4), ENSURE_REQUIREMENTS", "a.py:6"),
        ("Exchange SinglePartition, ENSURE_REQUIREMENTS, [plan_id=9]", "a.py:5"),
    ],
)
def test_an_exchange_is_matched_with_the_call_that_asked_for_it(exchange: str, line: str) -> None:
    assert made_by(TRAIL, exchange) == line


def test_what_nobody_asked_for_has_no_line() -> None:
    assert made_by(TRAIL[:1], "Exchange hashpartitioning(k#3L, 8), ENSURE_REQUIREMENTS") == ""
    assert made_by([], "Exchange SinglePartition") == "" == made_by(TRAIL, "")


@pytest.mark.parametrize("details", ["", "org.apache.spark.sql.Dataset.count", "[1]", '[["a"'])
def test_another_call_site_is_no_trail(details: str) -> None:
    assert read(details) == []


PROGRAM = """\
from pyspark.sql import SparkSession, Window, functions as f
spark = SparkSession.builder.master("local[2]").config("spark.sql.shuffle.partitions", 4).getOrCreate()
spark.conf.set("spark.sql.autoBroadcastJoinThreshold", -1)
frame = spark.range(20000).withColumn("k", f.col("id") % 100).withColumn("j", f.col("id") % 7)
other = spark.range(100).withColumnRenamed("id", "k")
even = f.udf(lambda n: n % 2 == 0, "boolean")
joined = frame.join(other, "k")
counts = joined.groupBy("j").agg(f.count("*").alias("n"))
counts.orderBy("n").write.format("noop").mode("overwrite").save()
# a line without a call
ranked = frame.withColumn("r", f.row_number().over(Window.partitionBy("j").orderBy("id")))
assert ranked.filter("r < 3").count() == 14
chosen = frame.filter(even("id"))
chosen.select("k").dropDuplicates(["k"]).toPandas()
frame.createOrReplaceTempView("t")
spark.sql("select k, count(*) n from t group by k").collect()
assert frame.agg(f.max("id")).first()[0] == 19999
spark.stop()
"""
SQL = """\
create or replace temp view t as select id, id % 10 k from range(1000);

select k, count(*) from t group by k;
select distinct k
from t;
"""


@needs_java
@pytest.mark.cluster
def test_every_shuffle_of_a_program_has_its_line(tmp_path: Path) -> None:
    program = tmp_path / "mine.py"
    program.write_text(PROGRAM)
    found = run_program(program)
    whats = [facts.what for facts in found]
    assert whats == [
        *("save (mine.py:9)", "count (mine.py:12)", "toPandas (mine.py:14)", "collect (mine.py:16)"),
        "first (mine.py:17)",
    ]
    lines = [{(s.wide.partition("(")[0], s.line) for s in facts.stages if s.wide} for facts in found]
    by_hash, single = "exchange by hashpartitioning", ("exchange by SinglePartition", "mine.py:12")
    assert lines[0] == {
        (by_hash, "mine.py:7"),
        (by_hash, "mine.py:8"),
        ("exchange by rangepartitioning", "mine.py:9"),
    }
    assert lines[1] == {(by_hash, "mine.py:11"), single}
    assert lines[2] == {(by_hash, "mine.py:14")}
    assert lines[3] == {(by_hash, "mine.py:16")}
    assert lines[4] == {("exchange by SinglePartition", "mine.py:17")}
    functions = [step for stage in found[2].stages for step in stage.functions]
    assert len(functions) == 1 and "(mine.py:13)" in functions[0]


@needs_java
@pytest.mark.cluster
def test_a_statement_of_sql_has_its_line(tmp_path: Path) -> None:
    program = tmp_path / "mine.sql"
    program.write_text(SQL)
    found = run_program(program)
    assert {s.line for facts in found for s in facts.stages if s.wide} == {"mine.sql:3", "mine.sql:4"}
