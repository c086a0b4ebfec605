"""What is known of a job, of our engine or of Spark: stages, their tasks, and what each took."""

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from tuti.run import atomic_write, read_events
from tuti.run.machine import peak_memory_bytes
from tuti.systems.spark.engine.memory import REGION
from tuti.systems.spark.engine.scheduler import Job
from tuti.systems.spark.engine.session import FRACTION, RESERVED
from tuti.systems.spark.query import stages as plan_stages
from tuti.systems.spark.query.optimise import optimise
from tuti.systems.spark.query.plan import Exchange, Filter, Map, Partial, Select, Sort, drawn

AT_WORK = "job-at-work.json"
TOLD = ("seconds", "read", "bytes", "spilled", "peak", "read_bytes", "rows")
"""What an executor tells of a task, in the order of the fields of `Task`"""
PASSING = (Select, Filter, Sort, Partial)
"""Steps that do not care where a row lies"""
LINES, WIDTH, LONG = 40, 160, 1_000_000
"""Of lines that differ, at most so many, so wide; and pairs of lines beyond which plans are not compared"""
NAMES = ("SubqueryAlias", "View", "OverwriteBy", "AppendData", "InsertInto")
"""Lines of Spark's plans that compute no rows"""


@dataclass(frozen=True)
class Task:
    """One partition's work."""

    seconds: float
    rows: int
    """Rows that it read"""
    shuffled: int = 0
    """Bytes that it wrote for the next stage"""
    spilled: int = 0
    """Bytes that did not fit in memory and went to disk"""
    peak: int = 0
    """Most bytes of memory that it held"""
    read: int = 0
    """Bytes that it read, where that is known"""
    made: int = 0
    """Rows that it wrote for the next stage"""


@dataclass(frozen=True)
class Stage:
    """Tasks without a shuffle between them."""

    number: int
    steps: list[str]
    wide: str
    """What moves rows at its end (nothing at the end of a job)"""
    line: str
    """FILE:LINE that made it so, where that is known"""
    tasks: list[Task]
    functions: list[str] = field(default_factory=list[str])
    """Steps that call Python for every row, each with its line"""
    needless: list[str] = field(default_factory=list[str])
    """Shuffles that change nothing for what follows, each with its line"""
    needs: list[int] = field(default_factory=list[int])
    """The stages whose shuffles it reads"""
    planned: int = 0
    """Its tasks, also those that have not ended yet"""

    def total(self, of: Callable[[Task], float]) -> float:
        return sum(map(of, self.tasks))

    def skew(self, of: Callable[[Task], float]) -> float:
        """The largest task against the median one."""
        values = list(map(of, self.tasks))
        return max(values, default=0) / max(1e-9, statistics.median(values or [0]))


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


@dataclass(frozen=True)
class Facts:
    """A job that ran."""

    what: str
    """collect, count, save …"""
    stages: list[Stage]
    cores: int
    """Tasks that ran at once"""
    memory: int
    """Bytes of an executor's pool"""
    collected: int = 0
    """Bytes that came to the driver"""
    driver: int = 0
    """Bytes that the driver may hold (0: not known)"""
    cached: int = 0
    """Bytes of cached tables in memory"""
    evicted: int = 0
    """Bytes of cached tables that did not fit and went to disk"""
    broadcast: int = 0
    """Bytes of the largest table that was sent to every executor"""
    levels: list[Level] = field(default_factory=list[Level])
    rewritten: list[str] = field(default_factory=list[str])
    """What the optimiser changed in the plan"""


def facts_of(job: Job) -> Facts:
    """The facts of a job of our engine."""
    kept = list(job.session.blocks.values())
    brought = job.results.iterdir() if job.what == "collect" else ()
    return Facts(
        job.what, [_stage(job, stage) for stage in job.stages], job.session.executors, job.session.pool,
        sum(path.stat().st_size for path in brought), cached=sum(block.size for block in kept),
        evicted=sum(Path(block.path).stat().st_size for block in kept if not block.size),
        levels=levels_of(job), rewritten=rewritten(drawn(job.asked), drawn(optimise(job.asked))),
    )


def levels_of(job: Job) -> list[Level]:
    """Our engine: the driver, the largest of the executors, and the regions of its pool.

    Pages that an executor shares with the driver since it was forked count in both.
    """
    pool = job.session.pool
    share = int(pool / FRACTION)
    most = {name: max((done[name] for done in job.report), default=0) for name in ("rss", "held", "storage")}
    return [
        Level("driver: process", RESERVED + share, peak_memory_bytes()),
        Level("executor: process (Python itself)", RESERVED + share, most["rss"]),
        Level("executor: reserved", RESERVED), Level("executor: user", share - pool),
        Level("executor: execution", pool, most["held"]),
        Level("executor: storage", pool, most["storage"], int(REGION * pool)),
    ]


def _stage(job: Job, stage: plan_stages.Stage) -> Stage:
    done = [order for order in job.report if order["stage"] == stage.number]
    root, steps = stage.root, stage.within()
    moved = isinstance(root, Exchange) and all(isinstance(s, (Exchange, *PASSING)) for s in steps)
    return Stage(
        stage.number, stage.steps(), str(root) if isinstance(root, Exchange) else "", root.line,
        [Task(*(order.get(key, 0) for key in TOLD)) for order in done],
        [f"{step} ({step.line})" for step in steps if isinstance(step, Map) and step.by_row],
        [f"{read} ({read.line})" for read in stage.needs if read.asked and moved],
        sorted(stage.needs.values()), stage.tasks,
    )


def _steps(lines: Sequence[str]) -> list[str]:
    """The steps of a drawn plan; numbers that Spark gives to columns are taken off."""
    texts = (re.sub(r"#\d+L?", "", line.lstrip(" :+-")).strip() for line in lines)
    return [text for text in texts if text and not text.startswith(NAMES)]


def rewritten(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Lines that went (-) and came (+); nothing for a plan that was left as it is."""
    old, new = _steps(before), _steps(after)
    if len(old) * len(new) > LONG:
        return []
    changes = list(unified_diff(old, new, n=0, lineterm=""))[2:]  # two lines name what is compared
    lines = [f"{line[0]} {line[1:]}" for line in changes if not line.startswith("@@")]
    more = [f"… {len(lines) - LINES} more lines"] if len(lines) > LINES else []
    return [line[:WIDTH] for line in (*lines[:LINES], *more)]


def facts_in(folder: Path) -> list[Facts]:
    """The jobs of a run, from its events."""
    return list(map(facts_from, read_events(folder, "job")))


facts_from = TypeAdapter(Facts).validate_python
"""What `dataclasses.asdict` made of facts; those of earlier versions lack some"""


class Prediction(NamedTuple):
    """Of one stage's shuffle: predicted and measured bytes (0: not known)."""

    stage: int
    predicted: int
    measured: int

    @property
    def ratio(self) -> float:
        return self.predicted / max(1, self.measured)


def predictions(facts: Facts) -> Iterator[Prediction]:
    """How much each stage of several tasks will shuffle, told when the first has ended, and how much it did.

    The first task is the sample. What it wrote grows with the rows that are known to come: those that earlier
    stages wrote, or, at the leaves, as many times as there are tasks.
    """
    written = {s.number: int(s.total(lambda task: task.made)) for s in facts.stages}
    for stage in facts.stages:
        count = stage.planned or len(stage.tasks)
        if not stage.wide or not stage.tasks or count < 2:
            continue
        first = stage.tasks[0]
        come = sum(written.get(number, 0) for number in stage.needs)
        times = max(1.0, come / first.rows) if come and first.rows else count
        total = int(stage.total(lambda task: task.shuffled)) if len(stage.tasks) == count else 0
        yield Prediction(stage.number, int(first.shuffled * times), total)


class Follower:
    """Writes the facts so far of the job at work, for who watches; called whenever a task has ended."""

    def __init__(self, folder: Path) -> None:
        self.path, self.next = folder / AT_WORK, 0.0

    def __call__(self, job: Job) -> None:
        began = time.monotonic()
        if began >= self.next:
            atomic_write(self.path, json.dumps(asdict(facts_of(job))).encode())
            took = time.monotonic() - began
            self.next = began + max(1.0, 20 * took)  # writing takes no more than a twentieth of the time

    def end(self) -> None:
        """The job has ended; the next one is told of at once."""
        self.path.unlink(missing_ok=True)
        self.next = 0.0


def at_work(folder: Path) -> tuple[Facts, float] | None:
    """The facts of the job in a folder that a Follower writes to, and when they were so."""
    try:
        with open(folder / AT_WORK, "rb") as file:
            return facts_from(json.load(file)), os.fstat(file.fileno()).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
