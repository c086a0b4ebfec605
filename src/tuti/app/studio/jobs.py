"""Stages started from a page: each in a process group of its own, its output kept in the run's log."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuti.run import Run, RunOptions, UserError
from tuti.run.directory import read_config

LOG = "studio.log"
TAIL = 20_000
"""Bytes of a log that a page shows."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Job:
    """One process and the run that it writes."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    def log(self) -> str:
        """The end of what it printed."""
        return read_tail(self.folder / LOG)

    def stop(self) -> None:
        """As Ctrl-C would: the run stays resumable."""
        _signal(self.process, signal.SIGINT)

    def end(self, patience: float = 5.0) -> None:
        """Interrupts, then kills what has not gone."""
        self.stop()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            _signal(self.process, signal.SIGKILL)
            self.process.wait()


class Jobs:
    """The processes that this server started, at most `limit` at a time, by the run's folder."""

    def __init__(self, limit: int = 2) -> None:
        self.limit = limit
        self.started: dict[Path, Job] = {}

    def start(self, room: str, stage: str, config: Any, options: RunOptions) -> Job:
        """Writes the run's config and starts its stage; the command line does the rest."""
        self._check_free()
        run = Run.create(room, stage, config, options)
        return self.resume(run.folder)

    def resume(self, folder: Path) -> Job:
        """Goes on with the run in this folder (or begins it, when it only has its config)."""
        about = read_config(folder)
        room, stage = str(about["room"]), str(about["stage"])
        verb = [stage] if room == stage else [room, stage]
        return self.run([*verb, "--resume", "--out", str(folder)], folder)

    def run(self, words: list[str], folder: Path) -> Job:
        """Starts `tuti WORDS…`, which writes the run in this folder."""
        folder = folder.resolve()
        if (known := self.started.get(folder)) and known.is_running:
            raise UserError(f"{folder.name} is running already", hint="wait for it, or stop it")
        self._check_free()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tuti", *words]
        with open(folder / LOG, "ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            )
        job = self.started[folder] = Job(folder, process)
        return job

    def find(self, folder: Path) -> Job | None:
        """The job that writes this run, if this server started one."""
        return self.started.get(folder.resolve())

    def end(self) -> None:
        """Interrupts all; called when the server stops."""
        running = [job for job in self.started.values() if job.is_running]
        for job in running:
            job.stop()
        until = time.monotonic() + 8
        for job in running:
            job.end(max(0.1, until - time.monotonic()))

    def _check_free(self) -> None:
        running = sum(job.is_running for job in self.started.values())
        if running >= self.limit:
            raise UserError(
                f"{running} stages are running already, this server starts at most {self.limit}",
                hint="wait until one has finished, or stop one",
            )


def read_tail(path: Path, size: int = TAIL) -> str:
    """The last lines of a text file, without colours; a line that overwrites itself as it ended."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - size))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return _CONTROL.sub("", "\n".join(lines)).strip("\n")


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """To the whole group; a process that has been waited for has none any more."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
