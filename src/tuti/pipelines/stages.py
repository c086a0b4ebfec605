"""A run as found on disk: itself and the stages inside it, damaged or half-written files passed over."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tuti import run
from tuti.run import UserError, read_events
from tuti.run.directory import read_config

Json = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One run as found on disk: its name, config, events and lineage (empty while unfinished)."""

    name: str
    folder: Path
    about: Json
    events: list[Json]
    lineage: Json

    def of(self, event: str) -> list[Json]:
        """Its events of one kind, oldest first."""
        return [found for found in self.events if found["event"] == event]


def read_stages(folder: Path) -> tuple[Stage, list[Stage]]:
    """The run itself, and the stages inside it in the order in which they began."""
    whole = _stage(folder, folder.resolve().name)
    inner = [path.parent for path in folder.glob("stages/*/config.json")]
    stages = [_stage(path, path.name) for path in inner]
    return whole, sorted(stages, key=lambda s: (float(s.events[0]["time"]) if s.events else 0.0, s.name))


def _stage(folder: Path, name: str) -> Stage:
    lineage = read_json(folder / "lineage.json")
    events = [event for event in read_events(folder) if isinstance(event.get("time"), (int, float))]
    return Stage(name, folder, read_config(folder), events, as_object(lineage))


def read_json(path: Path) -> Json | None:
    """The object that a JSON file holds; None where it is absent or damaged."""
    try:
        return run.read_json(path)
    except UserError:
        return None


def as_object(value: Any) -> Json:
    """The value where it is a JSON object, else an empty one."""
    return cast(Json, value) if isinstance(value, dict) else {}
