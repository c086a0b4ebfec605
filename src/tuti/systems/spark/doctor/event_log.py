"""What Spark writes about a job (spark.eventLog.enabled), as the same facts as our engine's.

A log is JSON, a line an event; one that was cut short is read as far as it goes.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO, cast

import zstandard

from tuti.run import UserError
from tuti.systems.spark.doctor.facts import Facts, Stage, Task
from tuti.systems.spark.doctor.levels import bytes_of, levels_of_spark, pool_of
from tuti.systems.spark.doctor.trail import Call, made_by, read
from tuti.systems.spark.query.rewritten import rewritten

Event = dict[str, Any]
Most = dict[tuple[str, str], int]
"""(driver or executor, metric) → the most of it"""
PYTHON = {"BatchEvalPython": "Python UDF", "ArrowEvalPython": "Python UDF over Arrow"}
WRAPPERS = ("WholeStageCodegen", "InputAdapter", "ColumnarToRow", "AdaptiveSparkPlan", "ShuffleQueryStage")
PASSING = ("Project", "Filter", "Sort", "HashAggregate", "ObjectHashAggregate", "AQEShuffleRead", *WRAPPERS)
"""Operators that do not care where a row lies, and wrappers"""


@dataclass
class Group:
    """The jobs of one query or one action."""

    what: str = ""
    line: str = ""
    call: str = ""
    """The method that began it: collect, count …"""
    stages: list[int] = field(default_factory=list[int])
    needless: list[str] = field(default_factory=list[str])
    rewritten: list[str] = field(default_factory=list[str])
    trail: list[Call] = field(default_factory=list[Call])
    """The calls that it came from, of a program that `trail.py` ran"""
    cached: tuple[int, int] = (0, 0)
    """Bytes of cached tables in memory and on disk when it ended"""


@dataclass
class Log:
    """What has been read so far."""

    settings: dict[str, str] = field(default_factory=dict[str, str])
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    stages: dict[int, Event] = field(default_factory=dict[int, Event])
    tasks: dict[int, list[Event]] = field(default_factory=dict[int, list[Event]])
    metrics: dict[int, str] = field(default_factory=dict[int, str])
    """Accumulator → the operator and figure that it counts"""
    moves: dict[int, str] = field(default_factory=dict[int, str])
    """Accumulator → the exchange, or the Python step, that it belongs to, as the plan writes it"""
    broadcast: dict[str, int] = field(default_factory=dict[str, int])
    cores: int = 0
    jobs: dict[int, str] = field(default_factory=dict[int, str])
    blocks: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Of each cached block: bytes in memory, bytes on disk"""
    peaks: dict[int, Most] = field(default_factory=dict[int, Most])
    """Of each stage, by driver or executor and metric: the most of it"""

    def take(self, event: Event) -> None:
        """One event; those of other kinds are passed over."""
        kind = str(event.get("Event", "")).rpartition(".")[2].removeprefix("SparkListener")
        if kind in READERS:
            READERS[kind](self, event)

    def environment_update(self, event: Event) -> None:
        self.settings |= event["Spark Properties"]

    def executor_added(self, event: Event) -> None:
        self.cores += event["Executor Info"]["Total Cores"]

    def job_start(self, event: Event) -> None:
        about: dict[str, str] = event.get("Properties") or {}
        query = about.get("spark.sql.execution.id")
        name = f"query {query}" if query is not None else f"job {event['Job ID']}"
        group = self.groups.setdefault(name, Group())
        last = max(event["Stage Infos"], key=lambda stage: stage["Stage ID"])
        group.what = group.what or last["Stage Name"].partition(" at ")[0]
        group.call, _, line = about.get("callSite.short", "").partition(" at ")
        group.line = group.line or short(line)
        self.jobs[event["Job ID"]] = name
        group.stages += [one for one in event["Stage IDs"] if one not in group.stages]

    def job_end(self, event: Event) -> None:
        memory, disk = (sum(block[way] for block in self.blocks.values()) for way in (0, 1))
        self.groups[self.jobs[event["Job ID"]]].cached = (memory, disk)

    def stage_completed(self, event: Event) -> None:
        self.stages[event["Stage Info"]["Stage ID"]] = event["Stage Info"]

    def task_end(self, event: Event) -> None:
        if event.get("Task Metrics"):
            self.tasks.setdefault(event["Stage ID"], []).append(event)
            executor = event.get("Task Info", {}).get("Executor ID", "")
            self._peaks(event["Stage ID"], executor, event.get("Task Executor Metrics") or {})

    def stage_executor_metrics(self, event: Event) -> None:
        self._peaks(event["Stage ID"], event["Executor ID"], event["Executor Metrics"])

    def _peaks(self, stage: int, executor: str, metrics: dict[str, int]) -> None:
        known = self.peaks.setdefault(stage, {})
        for metric, value in metrics.items():
            key = ("driver" if executor == "driver" else "executor", metric)
            known[key] = max(value, known.get(key, -1))

    def block_updated(self, event: Event) -> None:
        about = event["Block Updated Info"]
        if about["Block ID"].startswith("rdd_"):
            self.blocks[about["Block ID"]] = (about["Memory Size"], about["Disk Size"])

    def unpersist_rdd(self, event: Event) -> None:
        mine = f"rdd_{event['RDD ID']}_"
        self.blocks = {name: sizes for name, sizes in self.blocks.items() if not name.startswith(mine)}

    def sql_execution_start(self, event: Event) -> None:
        group = self.groups.setdefault(f"query {event['executionId']}", Group())
        group.what, _, line = event["description"].partition(" at ")
        group.line = short(line)
        if trail := read(event.get("details", "")):
            group.trail, group.line = trail, trail[-1][2]
        self._plan(event["sparkPlanInfo"])
        group.needless = list(needless(event["sparkPlanInfo"]))
        group.rewritten = optimised_in(event.get("physicalPlanDescription", ""))

    def sql_adaptive_execution_update(self, event: Event) -> None:
        self._plan(event["sparkPlanInfo"])

    def _plan(self, node: Event) -> None:
        for metric in node["metrics"]:
            self.metrics[metric["accumulatorId"]] = f"{node['nodeName']}: {metric['name']}"
            if node["nodeName"] in PYTHON or "shuffle bytes written" in metric["name"]:
                self.moves[metric["accumulatorId"]] = node["simpleString"]
        for inner in node["children"]:
            self._plan(inner)

    def driver_accum_updates(self, event: Event) -> None:
        for number, value in event["accumUpdates"]:
            if self.metrics.get(number) == "BroadcastExchange: data size":
                name = f"query {event['executionId']}"
                self.broadcast[name] = max(value, self.broadcast.get(name, 0))

    def facts(self) -> list[Facts]:
        """One for each query or action that ran tasks."""
        found: list[Facts] = []
        driver = bytes_of(self.settings.get("spark.driver.memory", "1g"))
        memory = bytes_of(self.settings.get("spark.executor.memory", "1g"))
        if self.settings.get("spark.master", "").startswith("local"):
            memory = driver  # one process is both
        for name, group in self.groups.items():
            stages = _measured([self._stage(n, group) for n in group.stages if n in self.tasks])
            if not stages:
                continue
            brought = group.call.startswith(("collect", "toPandas", "toArrow"))
            results = [task for number in group.stages[-1:] for task in self.tasks.get(number, [])]
            collected = sum(task["Task Metrics"]["Result Size"] for task in results if brought)
            found.append(
                Facts(
                    f"{group.what} ({group.line})" if group.line else group.what, stages, self.cores or 1,
                    pool_of(self.settings, memory), collected, driver, *group.cached,
                    self.broadcast.get(name, 0), levels_of_spark(self.settings, self._most(group)),
                    group.rewritten,
                )
            )
        return found

    def _most(self, group: Group) -> Most:
        """The peaks of a group's stages, of processes that a poll caught."""
        found: Most = {}
        for number in group.stages:
            for key, value in self.peaks.get(number, {}).items():
                found[key] = max(value, found.get(key, 0))
        polled = {who for (who, metric), value in found.items() if metric == "JVMHeapMemory" and value}
        return {key: value for key, value in found.items() if key[0] in polled}

    def _stage(self, number: int, group: Group) -> Stage:
        about = self.stages.get(number, {"RDD Info": [], "Stage Name": ""})
        scopes = [json.loads(rdd["Scope"])["name"] for rdd in about["RDD Info"] if rdd.get("Scope")]
        steps = list(dict.fromkeys(reversed(scopes)))
        tasks = [_task(event) for event in self.tasks[number]]
        counted = [one["ID"] for one in about.get("Accumulables", [])]
        texts = [self.moves[key] for key in counted if key in self.moves]
        shuffled = any(task.shuffled for task in tasks)
        written = next((text for text in texts if shuffled and text.startswith("Exchange")), "")
        calls = {name: text for text in texts if (name := text.partition(" ")[0]) in PYTHON}
        functions = [
            f"{PYTHON[step]} ({made_by(group.trail, calls.get(step, '')) or group.line})"
            for step in steps
            if step in PYTHON
        ]
        first = shuffled and "Exchange" in steps and number == self._first_wide(group)
        lines = {text: made_by(group.trail, text) for text in group.needless if first}
        moved = [f"{text} ({line})" if line else text for text, line in lines.items()]
        needs, planned = about.get("Parent IDs", []), about.get("Number of Tasks", len(tasks))
        wide = (plain(written) or "exchange") if shuffled else ""
        line = made_by(group.trail, written) or group.line
        return Stage(number, steps, wide, line, tasks, "", functions, moved, needs, planned)

    def _first_wide(self, group: Group) -> int:
        """The first stage that writes a shuffle."""
        for number in group.stages:
            written = [t["Task Metrics"]["Shuffle Write Metrics"] for t in self.tasks.get(number, [])]
            if any(one["Shuffle Bytes Written"] for one in written):
                return number
        return -1


READERS: dict[str, Callable[[Log, Event], None]] = {
    "EnvironmentUpdate": Log.environment_update,
    "ExecutorAdded": Log.executor_added,
    "JobStart": Log.job_start,
    "JobEnd": Log.job_end,
    "StageCompleted": Log.stage_completed,
    "TaskEnd": Log.task_end,
    "StageExecutorMetrics": Log.stage_executor_metrics,
    "BlockUpdated": Log.block_updated,
    "UnpersistRDD": Log.unpersist_rdd,
    "SQLExecutionStart": Log.sql_execution_start,
    "SQLAdaptiveExecutionUpdate": Log.sql_adaptive_execution_update,
    "DriverAccumUpdates": Log.driver_accum_updates,
}
"""What is done with each kind of event"""


def short(line: str) -> str:
    """FILE:LINE without the folder; what is inside Spark itself is no line of the program."""
    return "" if line.startswith("NativeMethodAccessor") else line.rpartition("/")[2]


def plain(text: str) -> str:
    """An exchange as a person would write it, without the plan's numbers."""
    kept = re.sub(r"#\d+L?", "", text).partition(", ENSURE")[0].partition(", REPARTITION")[0]
    return f"exchange by {kept.removeprefix('Exchange ')}" if kept else ""


def needless(node: Event, above: bool = False) -> Iterator[str]:
    """Repartitions whose rows go, past steps that do not care where they lie, into another shuffle."""
    name = node["nodeName"]
    if name.startswith("Exchange"):
        if above and "REPARTITION_BY" in node["simpleString"]:
            yield node["simpleString"].partition(", REPARTITION")[0]
        above = True
    elif not name.startswith(PASSING):
        above = False
    for inner in node["children"]:
        yield from needless(inner, above)


def _task(event: Event) -> Task:
    metrics = event["Task Metrics"]
    entered, read = metrics["Input Metrics"], metrics["Shuffle Read Metrics"]
    return Task(
        metrics["Executor Run Time"] / 1000, entered["Records Read"] + read["Total Records Read"],
        metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"], metrics["Disk Bytes Spilled"],
        metrics["Peak Execution Memory"],
        entered["Bytes Read"] + read["Local Bytes Read"] + read["Remote Bytes Read"],
        metrics["Shuffle Write Metrics"].get("Shuffle Records Written", 0),
    )


def _measured(stages: list[Stage]) -> list[Stage]:
    """With the largest partition of each shuffle, where one stage reads it and nothing else."""
    alone = {stage.needs[0]: stage for stage in stages if len(stage.needs) == 1}
    found: list[Stage] = []
    for stage in stages:
        if (reads := alone.get(stage.number)) and stage.wide:
            largest = max(task.read for task in reads.tasks)
            stage = replace(stage, largest=largest, share=1 / len(reads.tasks), even=True)
        found.append(stage)
    return found


def optimised_in(text: str) -> list[str]:
    """What differs between the analysed and the optimised plan (spark.sql.ui.explainMode=extended)."""
    parts = re.split(r"^== (.+) ==$", text, flags=re.MULTILINE)
    plans = dict(zip(parts[1::2], parts[2::2], strict=False))
    if {"Analyzed Logical Plan", "Optimized Logical Plan"} <= plans.keys():
        lines = plans["Analyzed Logical Plan"].strip().splitlines()
        columns = len(lines) > 1 and not lines[1].startswith((" ", ":", "+"))  # a line before the tree
        return rewritten(lines[columns:], plans["Optimized Logical Plan"].strip().splitlines())
    return []


def read_log(path: Path) -> list[Facts]:
    """The facts of an event log: a file, or the folder that Spark makes of a long one."""
    files = sorted(path.glob("events_*")) if path.is_dir() else [path]
    log, at = Log(), ""
    try:
        for number, event in enumerate((e for e in _events(files) if "Event" in e), 1):
            at = f"event {number}, {event['Event']!r},"
            log.take(event)
        at = at and "the whole of it"
        found = log.facts()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{path}: {at} is not as Spark writes it, or what it needs is missing ({error!r})"
        raise UserError(what, hint="the log is damaged, or of a Spark older than 3") from error
    if not at:
        what = f"{path} is no event log of Spark: it has no event in it"
        raise UserError(what, hint="spark.eventLog.enabled=true makes one; plain or zstd")
    return found


def _events(files: Iterable[Path]) -> Iterator[Event]:
    for path in files:
        with _opened(path) as file:
            try:
                for line in file:
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield cast(Event, found)
            except (ValueError, zstandard.ZstdError):  # a log that was cut short, or no log at all
                return


def _opened(path: Path) -> TextIO:
    """Spark compresses its logs with zstd unless told otherwise."""
    if path.suffix != ".zstd":
        return open(path, encoding="utf-8", errors="replace")
    raw = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), read_across_frames=True, closefd=True)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace")
