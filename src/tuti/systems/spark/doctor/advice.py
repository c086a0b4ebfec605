"""What to change in a job: a sentence for each fault, with the setting or the line.

The bounds are those of Spark's tuning guide where it has one (128 MB for a partition), else chosen so that
what costs less than a second is left in peace.
"""

from collections.abc import Iterator

from tuti.systems.spark.doctor.facts import Facts, Stage

PARTITION = 128 * 2**20
"""Bytes of a partition at most"""
ADAPTIVE = 64 * 2**20
"""Bytes to which Spark, left to choose while it runs, fills a partition: few of them are few on purpose"""
SKEW = 4.0
"""Largest partition ÷ median one, beyond which one key has too much"""
SLOW = 0.2
"""Seconds of a task that are worth saving"""
TINY = 0.03
"""Seconds of a task below which starting it costs as much as it does"""
ROWS = 20_000
"""Rows for which calling Python is worth avoiding"""
DRIVER = 64 * 2**20
"""Bytes that a driver takes without harm"""
BROADCAST = 40 * 2**20
"""Bytes that may be sent to every executor (Spark counts 32 MB for the smallest table)"""


def advice(facts: Facts) -> list[str]:
    """What to change, the most costly kinds of fault first; nothing for a job that is well."""
    found = [line for stage in facts.stages for line in _of_stage(facts, stage)]
    if facts.collected > (facts.driver // 16 if facts.driver else DRIVER):
        brought = size(facts.collected)
        found.append(f"{brought} came to the driver ({facts.what}): save them, or take, count or sum first")
    if facts.evicted:
        found.append(
            f"of the cached tables {size(facts.evicted)} did not fit in memory and went to disk: give more "
            f"memory than {size(facts.memory)} for each executor, or cache fewer columns"
        )
    if facts.broadcast > BROADCAST:
        found.append(
            f"a table of {size(facts.broadcast)} was sent to every executor: "
            "spark.sql.autoBroadcastJoinThreshold, or no broadcast() hint, so that both sides are shuffled"
        )
    return found


def _of_stage(facts: Facts, stage: Stage) -> Iterator[str]:
    if not stage.tasks:
        return
    yield from _skewed(facts, stage)
    for step in stage.needless:
        yield f"stage {stage.number}: {step} moves rows that the next shuffle moves again: leave it out"
    rows = int(stage.total(lambda task: task.rows))
    for step in stage.functions:
        if rows >= ROWS:
            yield (
                f"stage {stage.number}: {step} calls Python for each of {rows:,} rows: write it as an "
                "expression, or over whole batches"
            )
    yield from _partitions(facts, stage)


def _skewed(facts: Facts, stage: Stage) -> Iterator[str]:
    """One partition that has most of the rows keeps one core busy while the others wait."""
    most, rows = max(task.rows for task in stage.tasks), stage.total(lambda task: task.rows)
    slowest = max(task.seconds for task in stage.tasks)
    alone = slowest > 1.5 * stage.total(lambda task: task.seconds) / min(facts.cores, len(stage.tasks))
    uneven = stage.skew(lambda task: task.rows) > SKEW and most * len(stage.tasks) > SKEW * rows / 2
    if len(stage.tasks) > 2 and uneven and slowest > SLOW and (alone or most > rows / 2):
        came = f" (made by {stage.came_from})" if stage.came_from else ""
        yield (
            f"stage {stage.number}: one of {len(stage.tasks)} partitions has {most / rows:.0%} of the "
            f"rows{came}: take that key apart, or add a second column to the keys"
        )


def _partitions(facts: Facts, stage: Stage) -> Iterator[str]:
    """Too few, so that they are large or cores wait; or too many, so that starting them costs most."""
    count, cores = len(stage.tasks), facts.cores
    seconds, spilled = stage.total(lambda t: t.seconds), stage.total(lambda t: t.spilled)
    largest = max(max(t.shuffled, t.read) for t in stage.tasks)
    wanted = max(cores, int(count * largest / PARTITION) + 1)
    chosen = "AQEShuffleRead" in stage.steps and largest < ADAPTIVE
    if count < cores and seconds > SLOW * 5 and not chosen:
        waiting = f"{count} partition(s) for {cores} cores: {cores - count} wait"
        yield f"stage {stage.number}: {waiting}; make {2 * cores}"
    elif spilled:
        yield (
            f"stage {stage.number}: {size(spilled)} did not fit in {size(facts.memory)} of memory and went "
            f"to disk and back: more memory, or {2 * max(wanted, count)} partitions in place of {count}"
        )
    elif largest > PARTITION:
        yield f"stage {stage.number}: a partition has {size(largest)}, 128 MB are good: make {wanted}"
    elif count > 8 * cores and seconds / count < TINY:
        yield (
            f"stage {stage.number}: {count} tasks of {1000 * seconds / count:.0f} ms, which is what "
            f"starting one costs: {4 * cores} partitions are enough"
        )


def size(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**20:,.0f} MB" if count >= 2**20 else f"{count / 2**10:,.0f} KB"
