"""The page `/spark` of Studio: the jobs of a run as pictures, also while they run."""

import statistics
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from tuti import ui
from tuti.run import UserError, read_toml
from tuti.run.directory import runs_of
from tuti.systems.spark.doctor.advice import advice, size
from tuti.systems.spark.doctor.event_log import read_log
from tuti.systems.spark.doctor.facts import Facts, at_work, facts_in, predictions
from tuti.ui.template import templates

CHOICE, JOB = map(templates(Path(__file__).parent).get_template, ("runs.html", "job.html"))
_TABLES = read_toml(__file__, "phrases.toml")
PHRASES = {name: (str(both["en"]), str(both["fa"])) for name, both in _TABLES["phrases"].items()}
NAMES: dict[str, str] = _TABLES["names"]
RUNS = 30
"""The newest, to choose from"""
LOGS = ("local-*", "app-*", "eventlog_v2_*")
"""As Spark names its event logs: those in the folder of the runs are read too"""


def page(runs: Path, query: Mapping[str, str]) -> list[str]:
    """The parts of the page: runs to choose from, then each job; `query` has `lang` and may have `run`."""
    told = Told(query["lang"])
    found = _runs(runs)
    name = query.get("run") or next(iter(found), "")
    parts = [CHOICE.render(told=told, found=found, name=name, lang=query["lang"])]
    if name not in found:
        return [*parts, ui.paragraph(told("none"))]
    try:
        events = found[name] / "events.jsonl"
        state = (events if events.exists() else found[name]).stat()
        jobs = _jobs(found[name], state.st_size, state.st_mtime_ns)
        working = at_work(found[name] / "scratch")
    except (UserError, LookupError, TypeError, ValueError, AttributeError) as error:
        return [*parts, ui.paragraph(error, "bad")]
    parts += [told.job(number, facts) for number, facts in enumerate(jobs, 1)]
    if working is not None:
        facts, when = working
        since = told("at work", time=time.strftime("%H:%M:%S", time.localtime(when)))
        parts.append(told.job(len(jobs) + 1, facts, since))
    return parts if len(parts) > 1 else [*parts, ui.paragraph(told("no jobs"))]


def _runs(runs: Path) -> dict[str, Path]:
    """Name → the newest runs of prepare, by themselves or inside of another, and Spark's event logs."""
    logs = (path for pattern in LOGS for path in runs.glob(pattern))
    found = [(path.stat().st_mtime, path.name, path) for path in logs]
    ours = (run for folder in (runs, *runs.glob("*/stages")) for run in runs_of(folder, "spark", "prepare"))
    found += [(run.stat().st_mtime, run.relative_to(runs).parts[0], run) for run in ours]
    return {name: path for _, name, path in sorted(found, reverse=True)[:RUNS]}


@lru_cache(maxsize=8)
def _jobs(folder: Path, size: int, modified: int) -> list[Facts]:
    """The jobs that have ended; read again when its events, or the log, are of another size or time."""
    return facts_in(folder) if (folder / "config.json").exists() else read_log(folder)


class Told:
    """Jobs in words and pictures, in one language."""

    def __init__(self, language: str) -> None:
        self.number = 1 if language == "fa" else 0
        self.direction = "rtl" if language == "fa" else "ltr"

    def __call__(self, key: str, **values: object) -> str:
        """A phrase of the page, its places filled; what has no phrase stays as it is."""
        return PHRASES.get(key, (key, NAMES.get(key, key)))[self.number].format(**values)

    def size(self, count: float) -> str:
        """Bytes; a mark keeps the unit behind its number where lines run right to left."""
        return "\u200e" * self.number + size(count)

    def job(self, number: int, facts: Facts, state: str = "") -> str:
        return JOB.render(
            told=self, number=number, facts=facts, state=state, found=[] if state else advice(facts),
            stages=ui.graph(list(self._boxes(facts)), title=self("stages"), direction=self.direction),
            memory=ui.bars(list(self._bars(facts)), title=self("memory"), direction=self.direction),
            predicted=self._predicted(facts),
        )

    def _boxes(self, facts: Facts) -> Iterator[ui.Box]:
        places = {stage.number: place for place, stage in enumerate(facts.stages)}
        costs = [stage.total(lambda task: task.seconds) for stage in facts.stages]
        slowest = costs.index(max(costs)) if len(costs) > 1 and max(costs) > 0 else -1
        for place, stage in enumerate(facts.stages):
            seconds = [task.seconds for task in stage.tasks] or [0.0]
            rows, done = f"{stage.total(lambda task: task.rows):,.0f}", len(stage.tasks)
            tasks = f"{done}/{stage.planned}" if done < stage.planned else str(done)
            times = {"sum": f"{sum(seconds):.2f}", "median": f"{statistics.median(seconds):.2f}"}
            longest = self("seconds", longest=f"{max(seconds):.2f}", **times)
            lines = [self("tasks", tasks=tasks, rows=rows), longest]
            moved = self("moved", size=self.size(stage.total(lambda task: task.shuffled)))
            leaves = [f"{moved} · {stage.line}" if stage.line else moved, stage.wide] if stage.wide else []
            reads = [places[need] for need in stage.needs if places.get(need, place) < place]
            name = self("stage", number=stage.number)
            mark = self("slowest") if place == slowest else ""
            yield ui.Box(name, lines, leaves, reads, mark)

    def _predicted(self, facts: Facts) -> str:
        rows = [
            (str(stage), size(predicted), size(measured), f"{predicted / measured:.2f}" if measured else "–")
            for stage, predicted, measured in predictions(facts)
        ]
        heads = ("stage_", "predicted", "measured", "ratio")
        return ui.table(self("shuffles"), list(map(self, heads)), rows) if rows else ""

    def _bars(self, facts: Facts) -> Iterator[ui.Bar]:
        for level in facts.levels:
            cap = self.size(level.cap) if level.cap else self("no cap")
            safe = f" ({self('safe', size=self.size(level.safe))})" if level.safe else ""
            measured = self("of", used=self.size(level.used), cap=cap) + safe
            told = measured if level.used >= 0 else self("not measured", cap=cap)
            yield ui.Bar(self(level.name), told, max(0, level.used), level.cap)
