"""Cluster mode: the driver runs in a process of its own, and whoever submitted it may go home.

In client mode the driver is the process that a person sits at: a `Session` in their program. Here the whole
program is handed over. It runs in a session of its own with its output in files; how it ended is written
down by a process that waits for it, so any process may ask later.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, call
from typing import Any, Literal

import psutil

from tuti.run import UserError
from tuti.run.files import atomic_write


@dataclass(frozen=True)
class Driver:
    """A driver that was submitted."""

    folder: Path

    def state(self) -> Literal["running", "finished", "failed", "lost"]:
        """How it is; lost: it is gone and nobody saw how it ended."""
        about = self._read("driver")
        try:
            runs = about is not None and _begun(about["pid"]) == about["begun"]
        except psutil.NoSuchProcess:
            runs = False
        if ended := self._read("ended"):  # looked for last: it is written before the process goes
            return "failed" if ended["code"] else "finished"
        return "running" if runs else "lost"

    def wait(self, seconds: float = 600) -> str:
        """The state once it no longer runs, or after so many seconds."""
        until = time.monotonic() + seconds
        while self.state() == "running" and time.monotonic() < until:
            time.sleep(0.05)
        return self.state()

    def printed(self) -> str:
        """What it has printed so far, errors included."""
        return (self.folder / "printed").read_text("utf-8", "replace")

    def stop(self) -> None:
        """Ends it, and the executors with it."""
        if self.state() == "running" and (about := self._read("driver")):
            os.killpg(about["pid"], signal.SIGTERM)

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None


def submit(program: Path, arguments: Sequence[str], folder: Path) -> Driver:
    """Starts a Python program as a driver that outlives this process; its files go to `folder`."""
    if not program.is_file():
        raise UserError(f"{program} is no file", hint="give the Python program whose session is the driver")
    if folder.exists():
        raise UserError(f"{folder} exists", hint="name another folder: each driver has its own")
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", __name__, str(folder), str(program), *arguments]
    with open(folder / "printed", "wb") as printed:
        process = Popen(command, stdin=DEVNULL, stdout=printed, stderr=STDOUT, start_new_session=True)
    about = {"pid": process.pid, "begun": _begun(process.pid), "program": str(program)}
    atomic_write(folder / "driver.json", json.dumps(about))
    return Driver(folder)


def _begun(pid: int) -> float:
    """When a process began: another one may have its number later."""
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    return process.create_time()


def main(folder: str, *command: str) -> None:
    """Runs the program and writes down how it ended."""
    code = call([sys.executable, *command])
    atomic_write(Path(folder) / "ended.json", json.dumps({"code": code}))


if __name__ == "__main__":
    main(*sys.argv[1:])
