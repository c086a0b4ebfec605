"""What a Studio has at hand: models of runs, loaded when asked, and stages, each a process of its own."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuti.app.api import Served
from tuti.app.studio.stream import list_runs, model_of
from tuti.infer import Busy, Engine, Finish, Request, Sampling, load_model
from tuti.run import Run, RunOptions, UserError, find_artifact
from tuti.run.directory import read_config

KEPT = 3
"""Models held in memory at once."""
SLOTS = 4
"""Answers of one model at once."""
LOG = "studio.log"
TAIL = 20_000
"""Bytes of a log that a page shows."""
Job = subprocess.Popen[bytes]


def interrupt(job: Job, number: int = signal.SIGINT) -> None:
    """As Ctrl-C would: the run stays resumable. A process that has been waited for has no group."""
    if job.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, number)


class Jobs:
    """The processes that this server started, at most `limit` at a time, by the run's folder."""

    def __init__(self, limit: int = 2) -> None:
        self.limit = limit
        self.started: dict[Path, Job] = {}

    def start(self, room: str, stage: str, config: Any, options: RunOptions) -> Job:
        """Writes the run's config and starts its stage; the command line does the rest."""
        self._check_free()
        return self.resume(Run.create(room, stage, config, options).folder)

    def resume(self, folder: Path) -> Job:
        """Goes on with the run in this folder (or begins it, when it only has its config)."""
        folder, about = folder.resolve(), read_config(folder)
        verb = dict.fromkeys([str(about["room"]), str(about["stage"])])  # one word where they are one
        if (known := self.started.get(folder)) and known.poll() is None:
            raise UserError(f"{folder.name} is running already", hint="wait for it, or stop it")
        self._check_free()
        with open(folder / LOG, "ab") as log:
            self.started[folder] = subprocess.Popen(
                [sys.executable, "-m", "tuti", *verb, "--resume", "--out", str(folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            )
        return self.started[folder]

    def find(self, folder: Path) -> Job | None:
        """The job that writes this run, if this server started one."""
        return self.started.get(folder.resolve())

    def end(self) -> None:
        """Interrupts all, and kills what has not gone in time; called when the server stops."""
        until = time.monotonic() + 8
        for job in (running := self._running()):
            interrupt(job)
        for job in running:
            try:
                job.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                interrupt(job, signal.SIGKILL)
                job.wait()

    def _running(self) -> list[Job]:
        return [job for job in self.started.values() if job.poll() is None]

    def _check_free(self) -> None:
        if (running := len(self._running())) >= self.limit:
            what = f"{running} stages are running already, this server starts at most {self.limit}"
            raise UserError(what, hint="wait until one has finished, or stop one")


class Voices:
    """Models that can be talked with: served ones, and of those from runs the last used ones are kept."""

    def __init__(self, runs: Path, served: Mapping[str, Served]) -> None:
        """`served`: their engines are used, and never ended."""
        self.runs, self.served = runs, served
        self.loaded: dict[str, Served] = {}
        self.loading = asyncio.Lock()

    def names(self) -> list[str]:
        """Models that can be asked, loaded or not: served ones, then those of the runs, the newest first."""
        found = [run.folder.name for run in list_runs(self.runs) if model_of(run.folder) is not None]
        return list(dict.fromkeys([*self.served, *found]))

    async def prepare(self, name: str) -> bool:
        """Loads a model if need be; whether it has learnt to answer (else it continues)."""
        return (await self._load(name)).loaded.template is not None

    async def _load(self, name: str) -> Served:
        if name in self.served:
            return self.served[name]
        async with self.loading:
            if name not in self.names():
                raise UserError(f"no model is called {name!r}", hint="choose one in the list")
            path = self.runs / name
            real = find_artifact(path, "LanguageModel").resolve()
            identity = real, real.stat().st_mtime_ns
            spoken = held = self.loaded.get(name)
            if spoken is None or spoken.identity != identity:  # a pipeline promotes a better one later on
                spoken = await asyncio.to_thread(_open, path, identity)
            self.loaded.pop(name, None)
            self.loaded[name] = spoken  # the last one used stands last
            idle = [other for other, one in self.loaded.items() if other != name and not one.users]
            for other in idle[: max(0, len(self.loaded) - KEPT)]:
                await self._leave(self.loaded.pop(other))
            await self._leave(held)
            return spoken

    async def _leave(self, spoken: Served | None) -> None:
        """Ends the engine of a model that nobody can ask any more, after its last answer."""
        if spoken is not None and not spoken.users and spoken not in self.loaded.values():
            await asyncio.to_thread(spoken.engine.close)

    async def speak(
        self, name: str, messages: Sequence[Mapping[str, str]], temperature: float, max_tokens: int
    ) -> AsyncGenerator[str]:
        """The answer's pieces as they come; closing the generator frees the slot at once."""
        spoken = await self._load(name)
        model = spoken.loaded
        spoken.users += 1
        try:
            ids = await asyncio.to_thread(model.prompt, list(messages), max_tokens)
            rule = Sampling(temperature, top_p=0.95, max_tokens=max_tokens)
            ticket = spoken.engine.submit(Request(ids, rule, model.ends))
            async with contextlib.aclosing(ticket.events()) as events:
                async for event in events:
                    if isinstance(event, Finish) and event.reason == "error":
                        raise UserError("the engine failed", hint="look at what the server printed")
                    if event.text:
                        yield event.text
        except Busy as error:
            raise UserError("the queue is full", hint="try again in 1 s") from error
        finally:
            spoken.users -= 1
            await self._leave(spoken)


def _open(path: Path, identity: tuple[Path, int]) -> Served:
    model = load_model(path)
    return Served(model, Engine(model.model, model.tokenizer, slots=SLOTS), users=0, identity=identity)


@dataclass(frozen=True)
class Place:
    """One Studio."""

    runs: Path
    folders: tuple[Path, ...]
    """Where forms may read, that of the runs among them"""
    jobs: Jobs
    voices: Voices


def read_tail(path: Path) -> str:
    """The end of a text file; nothing where there is none. It may hold anything: show it made `printable`."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - TAIL))
            return file.read().decode("utf-8", "replace").strip("\n")
    except OSError:
        return ""
