"""A PySpark program of planted faults and clean jobs, each under its name: `faults_on_spark.py SIZE`."""

import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

size = int(sys.argv[1])
builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "800m")
builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "8")
spark = builder.config("spark.sql.adaptive.enabled", "false").getOrCreate()


def rows(count=size, skewed=False):
    """`k` has a thousand values; skewed: nine rows in ten have the same."""
    frame = spark.range(0, count, 1, 8).withColumn("k", (f.xxhash64("id") % 1000).cast("long"))
    if skewed:
        often = f.xxhash64("id", "k") % 10 != 0
        frame = frame.withColumn("k", f.when(often, 7).otherwise(f.col("k")))
    return frame.withColumn("text", f.sha2(f.col("id").cast("string"), 256))


def slowly(frame):
    def work(batches):
        for batch in batches:
            time.sleep(1e-5 * batch.num_rows)
            yield batch

    return frame.mapInArrow(work, frame.schema)


def written(frame):
    frame.write.format("noop").mode("overwrite").save()


def run(name, job):
    spark.sparkContext.setJobDescription(name)
    job()


even = f.udf(lambda n: n % 2 == 0, "boolean")
names = spark.range(1000).select(f.col("id").alias("k"), f.concat(f.lit("name "), "id").alias("name"))
wide = rows(900_000 + size).select("id", f.col("text").alias("a"), f.concat("text", "text").alias("b"))
kept = rows(5_000_000 + 2 * size).cache()
run("skewed key", lambda: written(slowly(rows(skewed=True).repartition("k"))))
run("needless shuffle", lambda: written(rows().repartition("k").filter("id > 5").groupBy("id").count()))
run("python function", lambda: written(rows().filter(even("id"))))
run("too few", lambda: written(slowly(rows().coalesce(1))))
run("too many", lambda: written(rows(10_000).repartition(200 + size // 1000)))
run("broadcast", lambda: written(rows(2000).join(f.broadcast(rows(500_000 + size)), "id")))
run("fetched", lambda: wide.collect())
run("cached", lambda: kept.count())
kept.unpersist(blocking=True)
run("clean figures", lambda: rows(skewed=True).groupBy("k").agg(f.count("*"), f.max("text")).collect())
run("clean join", lambda: rows().join(names, "k").orderBy("name", "id").limit(20).collect())
run("clean distinct", lambda: written(rows().select("k").distinct()))
spark.stop()
