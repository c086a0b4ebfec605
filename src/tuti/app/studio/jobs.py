"""What a Studio has to do with; stages started from it, each in a process group of its own and with a log."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuti.app.studio.voices import Voices
from tuti.run import Run, RunOptions, UserError
from tuti.run.directory import read_config

LOG = "studio.log"
TAIL = 20_000
"""Bytes of a log that a page shows."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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
            raise UserError(
                f"{running} stages are running already, this server starts at most {self.limit}",
                hint="wait until one has finished, or stop one",
            )


@dataclass(frozen=True)
class Place:
    """One Studio."""

    runs: Path
    folders: tuple[Path, ...]
    """Where forms may read, that of the runs among them"""
    jobs: Jobs
    voices: Voices


def read_tail(path: Path) -> str:
    """The last lines of a text file, without colours; a line that overwrites itself as it ended."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return _CONTROL.sub("", "\n".join(lines)).strip("\n")
