"""How `--memory` is divided on Spark, so that all processes together keep to it.

    local[N]    cap  = this process + one JVM (heap and what it needs beside it) + N Python workers
    a cluster   cap  = this process + the driver's JVM; and again for each executor: a JVM + one Python worker

Spark's own spark.driver.memory and spark.executor.memory are heaps alone.
"""

import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

import psutil

from tuti.run import UserError
from tuti.run.machine import cores
from tuti.systems.spark.engine.session import bytes_of
from tuti.systems.spark.frames import Function

LINES = 150
"""MB of this process beyond what it has now (lines on their way to disk), and of what workers fork from"""
JVM = 400
"""MB of a JVM beside its heap: classes, compiled code, threads, buffers of Arrow and of the network"""
BUFFERS = 96
"""MB of those that may be buffers; Java's own limit is another heap's worth"""
HEAP = 500
"""MB below which Spark does not start"""
WORKER = 180
"""MB of a Python worker"""
ADDRESSES = 250
"""MB that a worker maps without touching them: the limit that a process can have counts them"""
LIMIT = "TUTI_WORKER_MB"
"""Where a worker reads it: spark.executor.pyspark.memory does the same, but prints two lines for each task"""


def shares(master: str, memory: str) -> dict[str, str]:
    """Spark's settings for a cap ("": half of what is free; on a cluster 2g)."""
    local = master.startswith("local")
    if not memory:
        memory = f"{psutil.virtual_memory().available // 2**21}m" if local else "2g"
    cap, workers = bytes_of(memory) // 2**20, threads(master) if local else 1
    here = int(psutil.Process().memory_info().rss) // 2**20 + LINES
    least = here + JVM + HEAP + (workers * WORKER if local else 0)
    if cap < least:
        of = f"{workers} Python workers of {WORKER}" if local else "each executor's the same"
        raise UserError(
            f"{memory} are too little for {master}: {here} MB for this process, {JVM + HEAP} for Java, {of}",
            hint=f"--memory {least}m" + ("; or fewer workers" if workers > 1 else ""),
        )
    worker = WORKER + (cap - least) // 2 // workers
    buffers = f"-XX:MaxDirectMemorySize={BUFFERS}m"
    settings = {
        "spark.driver.memory": f"{cap - here - JVM - (workers * worker if local else 0)}m",
        "spark.driver.extraJavaOptions": buffers,
        f"spark.executorEnv.{LIMIT}": str(worker + ADDRESSES),
        "spark.executorEnv.ARROW_DEFAULT_MEMORY_POOL": "system",  # the other ones map a GB at once
        "spark.executorEnv.MALLOC_ARENA_MAX": "2",
    }
    if not local:
        settings |= {
            "spark.executor.cores": "1",  # as many Python workers has an executor as it has cores
            "spark.executor.memory": f"{cap - JVM - worker}m",
            "spark.executor.memoryOverhead": f"{JVM + worker}m",
            "spark.executor.extraJavaOptions": buffers,
            "spark.network.maxRemoteBlockSizeFetchToMem": f"{BUFFERS // 2}m",  # larger: by way of a disk
        }
    return settings


def limited(function: Function) -> Function:
    """The function in a worker that cannot have more memory than its share."""

    def run(batches: Iterator[Any]) -> Iterator[Any]:
        if sys.platform == "linux" and (megabytes := int(os.environ.get(LIMIT, "0"))):
            resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
        yield from function(batches)

    return run


def threads(master: str) -> int:
    """N of local[N]."""
    wanted = master.removeprefix("local").strip("[]").partition(",")[0] or "1"
    return cores() if wanted == "*" else int(wanted)
