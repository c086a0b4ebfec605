"""What Spark writes about a job (spark.eventLog.enabled), as the same facts as our engine's.

A log is JSON, a line an event; one that was cut short is read as far as it goes.
"""

import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import zstandard

from tuti.run import UserError
from tuti.systems.spark.doctor.facts import Facts, Level, Stage, Task, rewritten
from tuti.systems.spark.doctor.trail import Call, made_by, read

Event = dict[str, Any]
Peaks = Counter[tuple[str, str]]
"""(driver or executor, Spark's name of a metric) → the most of it"""
MB = 2**20
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
    broadcast: int = 0
    """Bytes of the largest table that was sent to every executor"""


@dataclass
class Log:
    """What has been read so far. Events of the kind X are read by the method `on_X`, others by none."""

    settings: dict[str, str] = field(default_factory=dict[str, str])
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    stages: dict[int, Event] = field(default_factory=dict[int, Event])
    tasks: dict[int, list[Event]] = field(default_factory=dict[int, list[Event]])
    moves: dict[int, str] = field(default_factory=dict[int, str])
    """Accumulator of bytes → the exchange, or the Python step, that it belongs to, as the plan writes it"""
    cores: int = 0
    jobs: dict[int, Group] = field(default_factory=dict[int, Group])
    blocks: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Of each cached block: bytes in memory, bytes on disk"""
    peaks: defaultdict[int, Peaks] = field(default_factory=lambda: defaultdict[int, Peaks](Counter))
    """Of each stage; nothing of processes that no poll caught, whose metrics are 0"""

    def take(self, event: Event) -> None:
        kind = str(event.get("Event", "")).rpartition(".")[2].removeprefix("SparkListener")
        if reader := getattr(self, f"on_{kind}", None):
            reader(event)

    def on_EnvironmentUpdate(self, event: Event) -> None:
        self.settings |= event["Spark Properties"]

    def on_ExecutorAdded(self, event: Event) -> None:
        self.cores += event["Executor Info"]["Total Cores"]

    def on_JobStart(self, event: Event) -> None:
        about: dict[str, str] = event.get("Properties") or {}
        query = about.get("spark.sql.execution.id")
        name = f"query {query}" if query is not None else f"job {event['Job ID']}"
        group = self.groups.setdefault(name, Group())
        last = max(event["Stage Infos"], key=lambda stage: stage["Stage ID"])
        group.what = group.what or last["Stage Name"].partition(" at ")[0]
        group.call, _, line = about.get("callSite.short", "").partition(" at ")
        group.line = group.line or short(line)
        self.jobs[event["Job ID"]] = group
        group.stages += [one for one in event["Stage IDs"] if one not in group.stages]

    def on_JobEnd(self, event: Event) -> None:
        memory, disk = (sum(block[way] for block in self.blocks.values()) for way in (0, 1))
        self.jobs[event["Job ID"]].cached = (memory, disk)

    def on_StageCompleted(self, event: Event) -> None:
        self.stages[event["Stage Info"]["Stage ID"]] = event["Stage Info"]

    def on_TaskEnd(self, event: Event) -> None:
        if event.get("Task Metrics"):
            self.tasks.setdefault(event["Stage ID"], []).append(event)
            executor = event.get("Task Info", {}).get("Executor ID", "")
            self._peaks(event["Stage ID"], executor, event.get("Task Executor Metrics") or {})

    def on_StageExecutorMetrics(self, event: Event) -> None:
        self._peaks(event["Stage ID"], event["Executor ID"], event["Executor Metrics"])

    def _peaks(self, stage: int, executor: str, metrics: dict[str, int]) -> None:
        who = "driver" if executor == "driver" else "executor"
        self.peaks[stage] |= Counter({(who, metric): value for metric, value in metrics.items()})

    def on_BlockUpdated(self, event: Event) -> None:
        about = event["Block Updated Info"]
        if about["Block ID"].startswith("rdd_"):
            self.blocks[about["Block ID"]] = (about["Memory Size"], about["Disk Size"])

    def on_UnpersistRDD(self, event: Event) -> None:
        mine = f"rdd_{event['RDD ID']}_"
        self.blocks = {name: sizes for name, sizes in self.blocks.items() if not name.startswith(mine)}

    def on_SQLExecutionStart(self, event: Event) -> None:
        group = self.groups.setdefault(f"query {event['executionId']}", Group())
        group.what, _, line = event["description"].partition(" at ")
        group.line = short(line)
        if trail := read(event.get("details", "")):
            group.trail, group.line = trail, trail[-1][2]
        self._plan(event["sparkPlanInfo"])
        group.needless = list(needless(event["sparkPlanInfo"]))
        group.rewritten = optimised_in(event.get("physicalPlanDescription", ""))

    def on_SQLAdaptiveExecutionUpdate(self, event: Event) -> None:
        self._plan(event["sparkPlanInfo"])

    def _plan(self, node: Event) -> None:
        for metric in node["metrics"]:
            if node["nodeName"] in PYTHON or metric["name"] in ("shuffle bytes written", "data size"):
                self.moves[metric["accumulatorId"]] = node["simpleString"]
        for inner in node["children"]:
            self._plan(inner)

    def on_DriverAccumUpdates(self, event: Event) -> None:
        for number, value in event["accumUpdates"]:
            if self.moves.get(number, "").startswith("BroadcastExchange"):
                group = self.groups.setdefault(f"query {event['executionId']}", Group())
                group.broadcast = max(value, group.broadcast)

    def facts(self) -> Iterator[Facts]:
        """One for each query or action that ran tasks."""
        for group in self.groups.values():
            stages: list[Stage] = []
            for number in filter(self.tasks.__contains__, group.stages):
                stages.append(self._stage(number, group, first=not any(stage.wide for stage in stages)))
            if not stages:
                continue
            brought = group.call.startswith(("collect", "toPandas", "toArrow"))
            results = self.tasks.get(group.stages[-1], []) if brought else []
            collected = sum(task["Task Metrics"]["Result Size"] for task in results)
            peaks = Peaks()
            for number in group.stages:
                peaks |= self.peaks[number]
            levels = levels_of_spark(self.settings, peaks)
            caps = {level.name: level.cap for level in levels}
            yield Facts(
                f"{group.what} ({group.line})" if group.line else group.what, stages, self.cores or 1,
                caps["executor: execution"], collected, levels[0].cap, *group.cached, group.broadcast,
                levels, group.rewritten,
            )

    def _stage(self, number: int, group: Group, first: bool) -> Stage:
        """A stage that ran tasks; `first`: no earlier one of the group ended in a shuffle."""
        about = self.stages.get(number, {"RDD Info": []})
        scopes = [json.loads(rdd["Scope"])["name"] for rdd in about["RDD Info"] if rdd.get("Scope")]
        steps = list(dict.fromkeys(reversed(scopes)))
        tasks = [_task(event) for event in self.tasks[number]]
        counted = (one["ID"] for one in about.get("Accumulables", []))
        texts = [self.moves[key] for key in counted if key in self.moves]
        shuffled = any(task.shuffled for task in tasks)
        written = next((text for text in texts if shuffled and text.startswith("Exchange")), "")
        calls = {name: text for text in texts if (name := text.partition(" ")[0]) in PYTHON}
        asked = {s: made_by(group.trail, calls.get(s, "")) or group.line for s in steps if s in PYTHON}
        functions = [f"{PYTHON[step]} ({line})" for step, line in asked.items()]
        idle = group.needless if first and shuffled and "Exchange" in steps else []
        lines = {text: made_by(group.trail, text) for text in idle}
        moved = [f"{text} ({line})" if line else text for text, line in lines.items()]
        needs, planned = about.get("Parent IDs", []), about.get("Number of Tasks", len(tasks))
        wide = (plain(written) or "exchange") if shuffled else ""
        line = made_by(group.trail, written) or group.line
        return Stage(number, steps, wide, line, tasks, functions, moved, needs, planned)


def levels_of_spark(settings: Mapping[str, str], peaks: Peaks) -> list[Level]:
    """Memory by level, from Spark's settings and the metrics in its log (peaks between polls are missed).

    By its "Memory Management Overview": of a heap 300 MB are reserved; of the rest .6 is shared by execution
    and storage, half of which is safe for storage, and the remainder is the user's.
    """
    local = settings.get("spark.master", "").startswith("local")
    driver = bytes_of(settings.get("spark.driver.memory", "1g"))
    heap = driver if local else bytes_of(settings.get("spark.executor.memory", "1g"))
    where, reserved = "driver" if local else "executor", 300 * MB
    pool = int(float(settings.get("spark.memory.fraction", ".6")) * max(0, heap - reserved))
    factor = float(settings.get("spark.executor.memoryOverheadFactor", ".1"))
    asked = settings.get("spark.executor.memoryOverhead")
    overhead = bytes_of(asked) if asked else max(int(factor * heap), 384 * MB)
    safe = float(settings.get("spark.memory.storageFraction", ".5"))
    workers = bytes_of(settings.get("spark.executor.pyspark.memory", "0"))

    def used(who: str, metric: str) -> int:
        return peaks.get((who, metric), 0 if (who, "JVMHeapMemory") in peaks else -1)

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


def bytes_of(text: str) -> int:
    """`1g`, `512mb`, or a number of megabytes, as Spark reads settings of memory."""
    [(number, unit)] = re.findall(r"^(\d+)([bkmgt]?)b?$", text.strip().lower())
    return int(number) * 1024 ** "bkmgt".index(unit or "m")


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
        found = list(log.facts())
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{path}: {at} is not as Spark writes it, or what it needs is missing ({error!r})"
        raise UserError(what, hint="the log is damaged, or of a Spark older than 3") from error
    if not at:
        what = f"{path} is no event log of Spark: it has no event in it"
        raise UserError(what, hint="spark.eventLog.enabled=true makes one; plain or zstd")
    return found


def _events(files: Iterable[Path]) -> Iterator[Event]:
    for path in files:
        raw: Any = open(path, "rb")
        if path.suffix == ".zstd":  # Spark compresses its logs so unless told otherwise
            raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True)
        with io.TextIOWrapper(raw, encoding="utf-8", errors="replace") as file:
            try:
                for line in file:
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield cast(Event, found)
            except (ValueError, zstandard.ZstdError):  # a log that was cut short, or no log at all
                return
