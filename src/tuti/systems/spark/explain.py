"""View `tuti spark explain`: what a Spark job did, stage by stage, and what to change in it."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tuti.run import UserError, read_rows, read_toml
from tuti.systems.spark.doctor.advice import advice, size
from tuti.systems.spark.doctor.event_log import read_log
from tuti.systems.spark.doctor.facts import Facts, Level, Stage, facts_from, facts_in, predictions
from tuti.systems.spark.java import find_java

LOGGED: dict[str, str] = read_toml(__file__, "explain.toml")
"""Settings with which Spark writes down all that it can tell"""


@dataclass(frozen=True)
class Explain:
    """Tells what a Spark job did and what to change in it."""

    target: Positional[Path]
    """A run of prepare or teach; a program (.py, .sql), which is run; an event log of Spark"""


def explain(config: Explain) -> None:
    """Prints a table for each job, and advice."""
    found = facts_at(config.target)
    for number, facts in enumerate(found, start=1):
        print("\n".join(told(number, facts)), end="\n\n")
    total = sum(len(advice(facts)) for facts in found)
    print(f"{len(found)} job{'s' * (len(found) != 1)}, {total or 'nothing'} to change")


def facts_at(target: Path) -> list[Facts]:
    """The jobs of a run, a program or a log."""
    if target.suffix in (".py", ".sql"):
        return run_program(target)
    if not target.exists():
        raise UserError(f"{target} does not exist", hint="give a run, a .py, a .sql or an event log")
    for folder in (target, target / "stages" / "prepare"):
        if found := facts_in(folder):
            return found
    if (target / "events.jsonl").exists():
        hint = "give a run of tuti spark prepare, without --master"
        raise UserError(f"{target} has no jobs of our engine", hint)
    return read_log(target)


def run_program(program: Path, *arguments: str) -> list[Facts]:
    """Runs a program with everything written down that Spark, or our engine, can tell of it."""
    if not program.is_file():
        raise UserError(f"{program} is no file", hint="give a program that starts a session")
    with tempfile.TemporaryDirectory() as scratch:
        logs, ours = (Path(scratch) / name for name in ("logs", "facts"))
        logs.mkdir()
        settings = LOGGED | {"spark.eventLog.dir": f"file:{logs}"}
        words = [f"--conf {key}={value}" for key, value in settings.items()]
        named = {
            "TUTI_SPARK_FACTS": str(ours),
            "PYSPARK_SUBMIT_ARGS": " ".join([*words, os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")]),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": os.environ.get("SPARK_LOCAL_IP", "127.0.0.1"),
        }
        if java := find_java():  # a program of our engine needs none
            named["JAVA_HOME"] = str(java[0])
        command = [sys.executable, "-m", "tuti.systems.spark.doctor.trail", str(program), *arguments]
        done = subprocess.run(command, env={**os.environ, **named}, stderr=subprocess.PIPE, text=True)
        found = list(map(facts_from, read_rows(ours))) if ours.exists() else []
        for log in sorted(logs.iterdir()):
            found += read_log(log)
        if done.returncode:
            what = f"{program} ended with an error:\n{_last_error(done.stderr)}"
            raise UserError(what, hint="make it run by itself first")
        if not found:
            hint = "it needs a session, and an action: count, collect, write, save"
            raise UserError(f"{program} ran no job", hint)
        return found


def _last_error(text: str) -> str:
    """The last lines that name an error; Java's tell where it was thrown, at length."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return "\n".join((named or lines)[-3:])


def told(number: int, facts: Facts) -> Iterator[str]:
    """A job as lines: a table of its stages, its memory, and advice."""
    yield f"job {number}: {facts.what}"
    names = ("stage", "tasks", "rows", "shuffled", "spilled", "median s", "longest s", "skew of rows")
    columns = zip(names, *map(_row, facts.stages), strict=True)
    aligned = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
    yield from map("  ".join, zip(*aligned, strict=True))
    for stage in facts.stages:
        made = f" → wide: {stage.wide}, made by {stage.line}" if stage.wide else " (narrow to its end)"
        yield f"  stage {stage.number}: {'; '.join(stage.steps)}{made}"
    peak = max((task.peak for stage in facts.stages for task in stage.tasks), default=0)
    cached = f", {size(facts.cached)} cached, {size(facts.evicted)} of cache on disk"
    memory = f"{size(facts.memory)}, most at once {size(peak)}{cached}"
    yield f"  memory of an executor: {memory}; to the driver {size(facts.collected)}"
    yield from (f"  memory, {level.name}: {_level(level)}" for level in facts.levels)
    for one in predictions(facts):
        both = f"{size(one.predicted)}, measured {size(one.measured)}, ratio {one.ratio:.2f}"
        yield f"  shuffle of stage {one.stage}, predicted from its first task: {both}"
    yield from (f"  optimiser: {line}" for line in facts.rewritten)
    yield from (f"→ {line}" for line in advice(facts))


def _level(level: Level) -> str:
    used = f"{size(level.used)} at most" if level.used >= 0 else "not measured by itself"
    cap = f", of {size(level.cap)}" if level.cap else ", no cap of its own"
    return used + cap + (f" ({size(level.safe)} are safe)" if level.safe else "")


def _row(stage: Stage) -> Sequence[str]:
    seconds = [task.seconds for task in stage.tasks] or [0.0]
    return (
        str(stage.number), str(len(stage.tasks)), f"{stage.total(lambda task: task.rows):,.0f}",
        size(stage.total(lambda task: task.shuffled)), size(stage.total(lambda task: task.spilled)),
        f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}",
        f"{stage.skew(lambda task: task.rows):.1f}",
    )

