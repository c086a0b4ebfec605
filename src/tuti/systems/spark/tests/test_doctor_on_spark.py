"""The plan doctor on PySpark: the same faults, and some that only Spark can have, from its event log."""

import shutil
from pathlib import Path

import pytest

from tuti.systems.spark.doctor.advice import advice
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
@pytest.mark.parametrize("size", [120_000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_planted_faults_are_found_and_clean_jobs_left_alone(size: int) -> None:
    found: dict[str, list[str]] = {}
    for facts in run_program(PROGRAM, str(size)):
        name = facts.what.partition(" (")[0]
        found.setdefault(name, []).extend(advice(facts))
        assert told(1, facts)
    assert found.keys() == {*FAULTS, "clean figures", "clean join", "clean distinct"}
    for name, lines in found.items():
        wanted = FAULTS.get(name)
        assert bool(lines) == bool(wanted) and all(wanted in line for line in lines), (name, lines)
