"""Memory by level: what the settings grant, and what was used at most.

Spark (its "Memory Management Overview"): of a heap, 300 MB are reserved; of the rest, .6 is shared by
execution and storage, and the remainder is the user's; half of that pool is safe for storage.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tuti.run.machine import peak_memory_bytes
from tuti.systems.spark.engine.memory import REGION
from tuti.systems.spark.engine.scheduler import Job
from tuti.systems.spark.engine.session import FRACTION, RESERVED

MB = 2**20
SIZES = {"b": 1, "k": 2**10, "m": MB, "g": 2**30, "t": 2**40}
Peaks = Mapping[tuple[str, str], int]
"""(driver or executor, Spark's name of a metric) → the most of it"""


@dataclass(frozen=True)
class Level:
    """A region of memory: what it may hold and what it held at most, in bytes."""

    name: str
    cap: int
    """0: it has none of its own"""
    used: int = -1
    """-1: not measured by itself"""
    safe: int = 0
    """Of storage: what execution may not take back"""


def levels_of(job: Job) -> list[Level]:
    """Our engine: the driver, the largest of the executors, and the regions of its pool.

    Pages that an executor shares with the driver since it was forked count in both.
    """
    share = int(job.memory / FRACTION)
    names = ("rss", "held", "storage")
    most = {name: max((int(done[name]) for done in job.report), default=0) for name in names}
    return [
        Level("driver: process", RESERVED + share, peak_memory_bytes()),
        Level("executor: process (Python itself)", RESERVED + share, most["rss"]),
        Level("executor: reserved", RESERVED), Level("executor: user", share - job.memory),
        Level("executor: execution", job.memory, most["held"]),
        Level("executor: storage", job.memory, most["storage"], int(REGION * job.memory)),
    ]


def levels_of_spark(settings: Mapping[str, str], peaks: Peaks) -> list[Level]:
    """Spark: from its settings, and the metrics in its event log (peaks between two polls are missed)."""
    local = settings.get("spark.master", "").startswith("local")
    driver = bytes_of(settings.get("spark.driver.memory", "1g"))
    heap = driver if local else bytes_of(settings.get("spark.executor.memory", "1g"))
    where, reserved = "driver" if local else "executor", 300 * MB
    pool = pool_of(settings, heap)
    factor = float(settings.get("spark.executor.memoryOverheadFactor", ".1"))
    asked = settings.get("spark.executor.memoryOverhead")
    overhead = bytes_of(asked) if asked else max(int(factor * heap), 384 * MB)
    safe = float(settings.get("spark.memory.storageFraction", ".5"))
    workers = bytes_of(settings.get("spark.executor.pyspark.memory", "0"))

    def used(who: str, metric: str) -> int:
        return peaks.get((who, metric), -1)

    of = "driver and executor" if local else "driver"
    executor = [] if local else [Level("executor: heap", heap, used(where, "JVMHeapMemory"))]
    return [
        Level(f"{of}: heap", driver, used("driver", "JVMHeapMemory")), *executor,
        Level("executor: reserved", reserved), Level("executor: user", max(0, heap - reserved - pool)),
        Level("executor: execution", pool, used(where, "OnHeapExecutionMemory")),
        Level("executor: storage", pool, used(where, "OnHeapStorageMemory"), int(safe * pool)),
        Level("executor: overhead", 0 if local else overhead, used(where, "JVMOffHeapMemory")),
        Level("Python workers", workers, used(where, "ProcessTreePythonRSSMemory")),
    ]


def pool_of(settings: Mapping[str, str], heap: int) -> int:
    """Bytes that execution and storage share."""
    return int(float(settings.get("spark.memory.fraction", ".6")) * max(0, heap - 300 * MB))


def bytes_of(text: str) -> int:
    """`1g`, `512mb`, or a number of megabytes, as Spark reads settings of memory."""
    plain = text.strip().lower()
    plain = plain[:-1] if plain[-2:-1].isalpha() else plain
    unit = SIZES[plain[-1]] if plain[-1:].isalpha() else MB
    return int(plain.rstrip("bkmgt")) * unit
