"""Spark's engine in small: driver, schedulers, executors on one machine, on Arrow batches, without a JVM."""

from tuti.systems.spark.engine.scheduler import Job as Job
from tuti.systems.spark.engine.session import Session as Session
from tuti.systems.spark.engine.session import fitting as fitting
from tuti.systems.spark.query.expressions import Column as Column
from tuti.systems.spark.query.expressions import col as col
from tuti.systems.spark.query.expressions import lit as lit
from tuti.systems.spark.query.frame import Frame as Frame
