"""Runs as pages see them: what lies in runs/, and events read as they are appended."""

import contextlib
import os
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tuti.run import UserError, finished, read_json
from tuti.run.directory import events_in, read_config
from tuti.run.lineage import Json
from tuti.ui import number

QUIET = 60.0
"""Seconds after which a run that writes nothing is taken to be left."""


class Watch:
    """The live events of a run and of the stages inside it: of each stream how far it was read, and what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.streams: dict[Path, tuple[int, list[Json]]] = {}

    def read(self) -> bool:
        """Takes what was appended (32 MB at most, a torn line once it has its end); whether anything was."""
        known = self.streams
        self.streams = {path: known.get(path, (0, [])) for path in _streams(self.folder)}
        for path, (offset, events) in self.streams.items():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                if path.stat().st_size < offset:  # begun anew
                    offset, events = 0, []
                file.seek(offset)
                *lines, torn = file.read(1 << 25).split(b"\n")
                if lines:
                    self.streams[path] = file.tell() - len(torn), events + list(events_in(lines))
        return self.streams != known

    @property
    def stages(self) -> dict[str, list[Json]]:
        return {path.parent.name: events for path, (_, events) in self.streams.items()}

    def last(self, event: str) -> tuple[str, Json] | None:
        """The newest event of a kind, with the name of its stage."""
        found: list[tuple[str, Json]] = []
        for name, events in self.stages.items():
            found += islice(((name, each) for each in reversed(events) if each["event"] == event), 1)
        return max(found, key=lambda one: number(one[1].get("time")) or 0.0, default=None)


@dataclass(frozen=True)
class Listed:
    """One line in the list of runs."""

    folder: Path
    room: str
    stage: str
    state: str
    changed: float

    @property
    def when(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.changed))


def list_runs(runs: Path) -> list[Listed]:
    """All runs in a folder, the newest first; what is damaged is passed over."""
    found: list[Listed] = []
    for path in runs.glob("*/config.json"):
        try:
            about = read_config(path.parent)
            changed = max(p.stat().st_mtime for p in (path, path.with_name("events.jsonl")) if p.exists())
        except (UserError, OSError, ValueError):
            continue
        room, stage = str(about["room"]), str(about["stage"])
        found.append(Listed(path.parent, room, stage, state_of(path.parent), changed))
    return sorted(found, key=lambda run: -run.changed)


def state_of(folder: Path) -> str:
    """finished, stopped, running (something was written within a minute) or unfinished."""
    if finished(folder):
        return "finished"
    with contextlib.suppress(OSError), open(folder / "events.jsonl", "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
        ends = [e for e in events_in(file) if e["event"] in ("start", "stopped", "finish")]
        if ends and ends[-1]["event"] == "stopped":
            return "stopped"
    newest = max((p.stat().st_mtime for p in _streams(folder)), default=0.0)
    return "running" if time.time() - newest < QUIET else "unfinished"


def _streams(folder: Path) -> list[Path]:
    inner = sorted(folder.glob("stages/*/events.jsonl"))
    return [path for path in (folder / "events.jsonl", *inner) if path.exists()]


def find_run(runs: Path, name: str) -> Path:
    """The folder of a run by its name alone: no separators, no way out of runs/."""
    folder = runs / name
    is_plain = bool(name) and Path(name).name == name and name not in (".", "..") and "\0" not in name
    if not is_plain or not folder.resolve().is_relative_to(runs.resolve()):
        raise UserError(f"{name!r} is no name of a run", hint="choose one in the list of runs")
    read_config(folder)
    return folder


def model_of(folder: Path) -> Path | None:
    """The folder of a run's language model, when it has one."""
    for about in sorted(folder.glob("artifacts/*/tuti.json")):  # a damaged one hides no other
        with contextlib.suppress(UserError):
            if read_json(about, "kind")["kind"] == "LanguageModel":
                return about.parent
    return None
