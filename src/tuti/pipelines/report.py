"""One self-contained page about a run, from what lies on disk: a pipeline's run or a single stage's.

`report.jinja` says what the sections look like; here is what they are made of.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, Template, TemplateError

from tuti import ui
from tuti.run import Run, UserError, atomic_write, finished, read_events, read_json, read_toml
from tuti.run.directory import read_config
from tuti.systems.spark.card import data_card

Json = dict[str, Any]
PEAK = "peak memory, MB"
LARGE = 60_000_000
"""Parameters from which a model is described as a large one"""
SECTIONS = ("plan", "curves", "samples", "evaluation", "data", "tokenizer", "cost", "lineage", "config")
HEADINGS = {"data": "Data card", "config": "Configuration"}
"""Of sections whose heading is not their name"""
FILES = {"evaluation": "evaluation.json", "cost": "lineage.json", "lineage": "lineage.json"}
"""What a section is made from, where not from events.jsonl"""
_ABILITIES = read_toml(__file__, "abilities.toml")


class Stage:
    """One run as found on disk: its name, config, events and lineage (empty while unfinished)."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder, self.about = name, folder, read_config(folder)
        self.events = [event for event in read_events(folder) if isinstance(event.get("time"), (int, float))]
        self.lineage = read_json(folder / "lineage.json") if finished(folder) else {}

    def of(self, event: str) -> list[Json]:
        """Its events of one kind, oldest first."""
        return [found for found in self.events if found["event"] == event]


def write_report(run: Run) -> Path:
    """Writes RUN/report.html whole or not at all, and returns its path; absent parts are left out."""
    path = run.path("report.html")
    atomic_write(path, report_page(run.folder))
    return path


def report_page(folder: Path) -> str:
    """The page of the run in this folder; a damaged file is refused by its name, a torn event passed over."""
    whole = Stage(folder, folder.resolve().name)
    stages = [Stage(path.parent, path.parent.name) for path in folder.glob("stages/*/config.json")]
    stages.sort(key=lambda s: (float(s.events[0]["time"]) if s.events else 0.0, s.name))  # as they began
    everything = [whole, *stages]
    room, stage = whole.about["room"], whole.about["stage"]
    title = f"{room if room == stage else f'{room} {stage}'}: {folder.resolve().name}"
    made = {"curves": ui.charts({stage.name: stage.events for stage in everything})}
    for name in ("lead", *SECTIONS):
        if name not in made:
            shown = (stages or [whole]) if name == "cost" else everything
            try:
                made[name] = str(getattr(_template().module, name)(shown)).strip()
            except (AttributeError, KeyError, TypeError, RecursionError, TemplateError) as error:
                told = f"{FILES.get(name, 'events.jsonl')} below {folder} is damaged: {error}"
                raise UserError(told, hint="make it again") from error
    sections = [ui.Section(n, HEADINGS.get(n, n.capitalize()), made[n]) for n in SECTIONS]
    return ui.page(title, made["lead"], sections)


@cache
def _template() -> Template:
    """The macros of report.jinja, which call what stands here; all but markup is escaped where it enters."""
    environment = Environment(autoescape=True, trim_blocks=True)
    return environment.from_string(Path(__file__).with_name("report.jinja").read_text("utf-8"), globals())


def abilities(parameters: int, language: str = "en") -> tuple[str, str]:
    """What a model of this size can do, and what it cannot."""
    told = _ABILITIES["small" if parameters < LARGE else "large"]
    return told["can"][language], told["cannot"][language]


def named(table: Mapping[str, Json], key: str) -> list[Json]:
    """An object of objects as rows, each with its name under `key`."""
    return [{key: name} | row for name, row in table.items()]


def worded(fields: Json, without: Sequence[str] = ()) -> Json:
    """The fields under their names in plain words."""
    return {k.replace("_", " "): v for k, v in fields.items() if k not in without}


def tell(event: Json, without: Sequence[str] = ()) -> str:
    """The fields of an event in one line."""
    told = worded(event, ("event", "time", *without))
    return "; ".join(f"{name} {ui.figure(value)}" for name, value in told.items())


def as_json(value: Any) -> str:
    """The value as it stands in a file."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def rows_table(title: str, rows: Sequence[Json]) -> str:
    """Rows under the names of all their fields; nothing for no fields."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    headers = [name.replace("_", " ") for name in names]
    return ui.table(title, headers, [[row.get(name) for name in names] for row in rows]) if names else ""


def evaluations(stages: Sequence[Stage]) -> Iterator[Json]:
    """What each evaluation left."""
    for stage in stages:
        path = stage.folder / "artifacts" / "evaluation" / "evaluation.json"
        if path.exists():
            yield read_json(path)


def data_cards(stages: Sequence[Stage]) -> list[str]:
    """The card of every prepared corpus; a promoted one counts once."""
    found = [path.parent for s in stages for path in sorted(s.folder.glob("artifacts/[!.]*/drops.json"))]
    return [data_card(folder) for folder in {path.resolve(): path for path in found}.values()]


def cost_rows(stages: Sequence[Stage]) -> list[Json]:
    """What each finished stage cost and, of several, what they cost in all."""
    rows: list[Json] = []
    for stage in stages:
        keys = ("seconds", "flops", "peak_memory_bytes", "money")
        seconds, flops, peak, money = (ui.number(stage.lineage["cost"].get(key)) or 0.0 for key in keys)
        row = {"stage": stage.name, "seconds": seconds, "FLOPs": flops, PEAK: peak / 1e6, "money": money}
        rows.append(row)
    names = ["seconds", "FLOPs", PEAK, *(["money"] if any(row["money"] for row in rows) else [])]
    if len(rows) > 1:
        totals = {name: (max if name == PEAK else sum)(row[name] for row in rows) for name in names}
        rows.append({"stage": "all"} | totals)
    return [{name: row[name] for name in ("stage", *names)} for row in rows]
