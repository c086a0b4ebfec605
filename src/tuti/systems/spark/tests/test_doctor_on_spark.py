"""The plan doctor on PySpark: the same faults, and some that only Spark can have, from its event log."""

import shutil
from pathlib import Path

import pytest

from tuti.systems.spark.doctor.advice import advice
from tuti.systems.spark.doctor.event_log import MB
from tuti.systems.spark.doctor.facts import Facts, Level, predictions
from tuti.systems.spark.explain import run_program, told

PROGRAM = Path(__file__).with_name("faults_on_spark.py")
FAULTS = {
    "skewed key": "take that key apart",
    "needless shuffle": "moves rows that the next shuffle moves again",
    "python function": "calls Python for each of",
    "too few": "1 partition(s) for 2 cores",
    "too many": "partitions are enough",
    "broadcast": "was sent to every executor",
    "fetched": "came to the driver",
    "cached": "did not fit in memory",
}
needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")


@needs_java
@pytest.mark.cluster  # two sessions of Spark, a dozen jobs each: minutes
@pytest.mark.parametrize("size", [120_000, 300_000])
def test_planted_faults_are_found_and_clean_jobs_left_alone(size: int) -> None:
    found: dict[str, list[str]] = {}
    jobs: dict[str, Facts] = {}
    for facts in run_program(PROGRAM, str(size)):
        name = facts.what.partition(" (")[0]
        found.setdefault(name, []).extend(advice(facts))
        jobs[name] = facts
        assert list(told(1, facts))
    assert found.keys() == {*FAULTS, "clean figures", "clean join", "clean distinct"}
    for name, lines in found.items():
        wanted = FAULTS.get(name)
        assert bool(lines) == bool(wanted) and all(wanted in line for line in lines), (name, lines)
    check_plans(jobs)
    check_memory(jobs)
    check_predictions(jobs, size)


def check_plans(jobs: dict[str, Facts]) -> None:
    """The optimiser's work is told where there is some."""
    pruned = [line for line in jobs["clean distinct"].rewritten if " AS text" in line]
    assert pruned and all(line.startswith("- Project") for line in pruned)
    pushed = jobs["needless shuffle"].rewritten
    assert (pushed[0], pushed[-1]) == ("- Filter (id > cast(5 as bigint))", "+ Filter (id > 5)")


def check_memory(jobs: dict[str, Facts]) -> None:
    """Every level that Spark measures was measured, below its cap."""
    for facts in jobs.values():
        levels = levels_of(facts)
        heap = levels["driver and executor: heap"]
        assert heap.cap == 800 * MB and 20 * MB < heap.used < heap.cap
        pool = levels["executor: execution"]
        assert pool.cap == facts.memory == 300 * MB and 0 <= pool.used <= pool.cap
    assert 100 * MB < levels_of(jobs["cached"])["executor: storage"].used <= 300 * MB
    assert levels_of(jobs["python function"])["Python workers"].used > 20 * MB


def levels_of(facts: Facts) -> dict[str, Level]:
    return {level.name: level for level in facts.levels}


def check_predictions(jobs: dict[str, Facts], size: int) -> None:
    """Bytes follow from the first task."""
    [skewed] = predictions(jobs["skewed key"])
    assert 0.8 < skewed.ratio < 1.25 and skewed.measured > 20 * size
    [figures] = predictions(jobs["clean figures"])
    assert 0.5 < figures.ratio < 2
