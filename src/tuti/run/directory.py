"""A run is a directory; a `Run` has six verbs: path, log, show, save, load, resume. `execute` runs a stage.

    runs/<room>-<stage>-<time>/
      config.json      what was asked, in full; from here on no clock changes what is computed
      events.jsonl     append-only; terminal, web page and report render this one stream
      artifacts/NAME/  what later stages read: a folder with a kind (`tuti.json`)
      checkpoints/     where an interrupted run goes on
      lineage.json     hashes, versions, hardware and the cost
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, cast

from tuti.run import files, machine
from tuti.run.errors import UserError
from tuti.run.lineage import Json, code_commit, config_to_json

VERSION = 1
CONFIG = ("room", "stage", "config")  # what config.json has at least
MADE_BY: dict[str, str] = files.read_toml(__file__, "kinds.toml")


@dataclass(frozen=True)
class RunOptions:
    """What every stage takes beside its own config."""

    out: Path | None = None
    """The run's directory (default: runs/<room>-<stage>-<time>)"""
    seed: int = 0
    """Seed of everything random"""
    device: str = "auto"
    """auto, cpu or cuda"""
    threads: int = 0
    """Processor threads (0: all)"""
    resume: bool = False
    """Go on with the run in --out (or the newest unfinished run of this stage)"""
    scale: Literal["tiny", "small", "paper"] | None = None
    """Start from the preset of this size"""


class Run:
    """One directory, its event stream and its artifacts."""

    def __init__(self, folder: Path, options: RunOptions) -> None:
        self.folder = Path(folder)
        self.options = options
        self.inputs: dict[str, str] = {}
        self._passing = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def path(self, *parts: str) -> Path:
        """A path inside the run's directory; its parent exists."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, event: str, **fields: Any) -> None:
        """Appends one event, a JSON line, and hands it to the operating system at once."""
        line = json.dumps({"event": event, "time": round(time.time(), 3)} | fields, ensure_ascii=False)
        path = self.path("events.jsonl")
        with files.disk_errors(path), open(path, "a+b") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read() != b"\n":
                    stream.write(b"\n")  # a line torn by a kill stays behind as a line of its own
            stream.write(line.encode() + b"\n")

    def show(self, text: str, *, passing: bool = False) -> None:
        """Tells the person, on stderr; a passing line is overwritten, and silent when piped."""
        tty = sys.stderr.isatty()
        if self._scratch is not None or (passing and not tty):
            return
        start = "\r\x1b[2K" if self._passing and tty else ""
        print(start + text, end="" if passing else "\n", file=sys.stderr, flush=True)
        self._passing = passing

    @contextmanager
    def save(self, name: str, kind: str, **known: Any) -> Generator[Path]:
        """A temporary folder to fill; it becomes `artifacts/<name>` whole, or not at all."""
        with files.atomic_folder(self.folder / "artifacts" / name) as folder:
            yield folder
            digest = describe(folder, kind, **known)
        self.log("artifact", name=name, kind=kind, sha256=digest)

    def load(self, path: Path | str, kind: str) -> Path:
        """The checked folder of an artifact; its hash goes into this run's lineage."""
        folder = find_artifact(Path(path), kind)
        known = (_about(folder) or {}).get("sha256")  # a foreign folder is hashed now
        self.inputs[f"{kind}:{folder.name}"] = str(known) if known else files.hash_folder(folder)
        return folder

    def resume(self) -> Path | None:
        """The newest whole checkpoint, or None; half-written leftovers are swept away."""
        checkpoints = self.folder / "checkpoints"
        if not checkpoints.is_dir():
            return None
        files.sweep(checkpoints)
        return max((p for p in checkpoints.iterdir() if p.name.startswith("step-")), default=None)

    @classmethod
    def create(cls, room: str, stage: str, config: Any, options: RunOptions) -> "Run":
        """A fresh directory with its config written; an existing one is replaced only if it was refused."""
        folder = options.out or _fresh(Path("runs"), f"{room}-{stage}" if stage != room else room)
        run, told = cls(folder, replace(options, out=folder)), [one["event"] for one in read_events(folder)]
        if (folder / "config.json").exists():
            if told != ["start", "stopped"] or sum(path.is_file() for path in folder.rglob("*")) > 2:
                what = f"{folder} already holds a run"
                raise UserError(what, hint="--resume goes on with it; --out NEW starts another")
            shutil.rmtree(folder)  # before it had made anything: the command, mended, may be given again
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        except OSError as error:
            reason = f"no run can be made at {folder}: {error.strerror or error}"
            raise UserError(reason, hint="--out NEW, another place") from error
        if there:
            what = f"{folder} is no run, and not empty: {', '.join(there[:3])}"
            raise UserError(what, hint=f"--out {folder / 'run'}, or another folder that is new or empty")
        run.write_config(room, stage, config)
        return run

    @classmethod
    def follow(cls, options: RunOptions) -> "Run":
        """The run of a process that only computes beside the one that writes (torchrun's rank > 0).

        It tells the person nothing, and its directory goes when it goes.
        """
        scratch = tempfile.TemporaryDirectory(prefix="tuti-follows-")
        run = cls(Path(scratch.name), replace(options, out=Path(scratch.name)))
        run._scratch = scratch
        return run

    def write_config(self, room: str, stage: str, config: Any) -> None:
        """Writes config.json: the one description from which the run can be made again."""
        plain = replace(self.options, resume=False)
        about = {"room": room, "stage": stage, "version": VERSION}
        about |= {"config": config_to_json(config), "options": config_to_json(plain)}
        files.atomic_write(self.path("config.json"), json.dumps(about, indent=1, ensure_ascii=False))


def read_config(folder: Path) -> Json:
    """What config.json of a run says; a directory that is no run, or a damaged one, is refused."""
    path = Path(folder) / "config.json"
    if not path.exists():
        raise UserError(f"{folder} is not a run: no config.json", hint="tuti runs ls")
    return files.read_json(path, *CONFIG)


def runs_of(folder: Path, room: str, *stages: str) -> list[Path]:
    """The runs of a room's stages in a folder, the newest first; what is damaged is passed over."""
    found: list[tuple[float, Path]] = []
    for path in folder.glob("*/config.json"):
        with suppress(UserError, OSError):
            about = read_config(path.parent)
            if about["room"] == room and about["stage"] in stages:
                found.append((path.stat().st_mtime, path.parent))
    return [run for _, run in sorted(found, reverse=True)]


def read_events(folder: Path, event: str | None = None) -> list[Json]:
    """The events of a run, oldest first: all, or those of one kind."""
    path = Path(folder) / "events.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [found for found in events_in(lines) if event in (None, found["event"])]


def events_in(lines: Iterable[bytes]) -> Iterator[Json]:
    """The events that lines of a stream hold; torn ones (a kill while writing) are passed over."""
    for line in lines:
        try:
            found = as_object(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if isinstance(found.get("event"), str):
            yield found


def as_object(value: Any) -> Json:
    """The value as a JSON object; anything else is a ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"an object was expected, found {type(value).__name__}")
    return cast(Json, value)


def describe(folder: Path, kind: str, **facts: Any) -> str:
    """Writes the `tuti.json` that makes a folder an artifact; returns its hash."""
    listed = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": files.hash_file(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    digest = files.hash_text(json.dumps(listed, sort_keys=True))
    about = {"kind": kind, "version": VERSION, "sha256": digest, "files": listed} | facts
    (folder / "tuti.json").write_text(json.dumps(about, indent=1, ensure_ascii=False))
    return digest


def find_artifact(path: Path, kind: str) -> Path:
    """The folder of an artifact of this kind: `path` itself, or inside the run at `path`."""
    path, hint = Path(path), f"make one: {MADE_BY.get(kind, 'tuti list')}"
    if not path.exists():
        raise UserError(f"{path} does not exist", hint)
    found: list[str] = []
    for folder in (path, *sorted((path / "artifacts").glob("*"))):
        if (about := _about(folder)) is None:
            continue
        if about["kind"] == kind:
            _check(folder, about)
            return folder
        found.append(str(about["kind"]))
    if kind == "LanguageModel" and (path / "config.json").exists() and list(path.glob("*.safetensors")):
        return path  # a plain Hugging Face folder
    raise UserError(f"{path} holds {', '.join(found) or 'no artifact'}, wanted: {kind}", hint)


def _about(folder: Path) -> Json | None:
    path = folder / "tuti.json"
    return files.read_json(path, "kind") if path.is_file() else None


def _check(folder: Path, about: Json) -> None:
    if about.get("version") != VERSION:
        what = f"{folder} was written in version {about.get('version')}, this Tuti reads {VERSION}"
        raise UserError(what, hint="upgrade Tuti, or make the artifact again")
    for name, facts in as_object(about.get("files", {})).items():
        file, size = folder / name, as_object(facts).get("bytes")
        if not file.is_file() or file.stat().st_size != size:
            what = f"{file} is missing or truncated (wanted {size} bytes)"
            raise UserError(what, hint=f"make it again: {MADE_BY.get(str(about['kind']), 'run its stage')}")


def _fresh(parent: Path, name: str) -> Path:
    stamped = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([stamped], (f"{stamped}-{number}" for number in count(2)))
    return next(folder for folder in map(parent.joinpath, names) if not folder.exists())


def execute(stage: Callable[[Any, Run], None], config: Any, run: Run) -> None:
    """Calls `stage(config, run)`; afterwards lineage.json holds hashes, versions, hardware and cost.

    An interrupted or failed stage leaves its checkpoints and an event that says so; the error goes on.
    """
    files.sweep(run.folder)
    files.sweep(run.folder / "artifacts")
    device = machine.choose_device(run.options.device)
    machine.pin(run.options.seed, run.options.threads)
    run.log("start", stage=stage.__name__, device=device, threads=run.options.threads)
    started = time.monotonic()
    try:
        stage(config, run)
    except BaseException as error:
        run.log("stopped", error=type(error).__name__, message=str(error)[:2000])
        raise
    run.log("finish", seconds=round(time.monotonic() - started, 3))
    write_lineage(run, config, device)


def seconds_spent(run: Run) -> float:
    """Wall seconds of all attempts, a killed one counted up to its last event."""
    total, first, last = 0.0, 0.0, 0.0
    for event in read_events(run.folder):
        if event["event"] == "start":
            total, first = total + last - first, float(event["time"])
        last = float(event["time"])
    return round(total + last - first, 3)


def write_lineage(run: Run, config: Any, device: str) -> None:
    """Writes lineage.json; its presence marks the run as finished."""
    seconds = seconds_spent(run)
    flops = sum(float(event.get("flops", 0)) for event in read_events(run.folder, "cost"))
    cost = {"seconds": seconds, "flops": flops, "peak_memory_bytes": machine.peak_memory_bytes()}
    if price := os.environ.get("TUTI_PRICE"):  # of an hour
        cost["money"] = round(float(price) * seconds / 3600, 4)
    plain = config_to_json(config)
    lineage = {
        "key": _digest([plain, run.inputs, run.options.seed]),  # what a finished stage is recognised by
        "inputs": run.inputs,
        "config_sha256": _digest(plain),
        "code_commit": code_commit(),
        "seed": run.options.seed,
        "versions": machine.versions(),
        "machine": machine.describe(device),
        "cost": cost,
    }
    files.atomic_write(run.path("lineage.json"), json.dumps(lineage, indent=1, ensure_ascii=False))


def _digest(value: Any) -> str:
    return files.hash_text(json.dumps(value, sort_keys=True))


def finished(folder: Path) -> bool:
    """Whether the stage of the run in this folder came to its end."""
    return (folder / "lineage.json").exists()


class Chain:
    """Runs stages in order inside one run, each in `stages/<name>`; a finished and unchanged one is skipped.

    Once one had to be computed, all that follow are computed too.
    """

    def __init__(self, parent: Run) -> None:
        self.parent = parent
        self.fresh = True

    def step(self, name: str, room: str, stage: Callable[[Any, Run], None], config: Any) -> Path:
        """The finished run of one stage: found, gone on with, or computed."""
        folder = self.parent.folder / "stages" / name
        options = replace(self.parent.options, out=folder, resume=True)
        run, plain = Run(folder, options), config_to_json(config)
        same = (folder / "config.json").exists() and read_config(folder)["config"] == plain
        if same and finished(folder) and self.fresh:
            self.parent.log("skipped", stage=name)
            return folder
        if not same or not self.fresh:
            if folder.exists():
                shutil.rmtree(folder)
            run.write_config(room, stage.__name__, config)
        self.fresh = False
        self.parent.log("stage", stage=name, folder=str(folder.relative_to(self.parent.folder)))
        self.parent.show(f"── {name}")
        execute(stage, config, run)
        return folder

    def promote(self, name: str, target: Path) -> None:
        """Points `artifacts/<name>` of the pipeline's run at a stage's artifact."""
        files.atomic_link(self.parent.folder / "artifacts" / name, target)
        self.parent.log("promoted", name=name, target=os.path.relpath(target, self.parent.folder))
