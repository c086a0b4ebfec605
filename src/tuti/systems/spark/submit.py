"""Cluster mode: the driver runs in a process of its own, and whoever submitted it may go home.

In client mode the driver is the process that a person sits at: a `Session` in their program. Here the whole
program is handed over. It runs in a session of its own with its output in files; how it ended is written
down by a process that waits for it, so any process may ask later.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, call
from typing import Literal

import psutil

from tuti.run import UserError
from tuti.run.files import atomic_write


@dataclass(frozen=True)
class Driver:
    """A driver that was submitted."""

    folder: Path

    def state(self) -> Literal["running", "finished", "failed"]:
        """How it is; one that is gone before anybody saw how it ended has failed, too."""
        try:
            pid = int((self.folder / "pid").read_text())
            runs = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, FileNotFoundError):
            runs = False
        ended = self.folder / "ended"  # looked for last: it is written before the process goes
        code = ended.read_text() if ended.exists() else ""
        return "finished" if code == "0" else "running" if runs and not code else "failed"


def submit(program: Path, arguments: Sequence[str], folder: Path) -> Driver:
    """Starts a Python program as a driver that outlives this process; what it prints goes to `folder`."""
    if not program.is_file():
        raise UserError(f"{program} is no file", hint="give the Python program whose session is the driver")
    if folder.exists():
        raise UserError(f"{folder} exists", hint="name another folder: each driver has its own")
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", __name__, str(folder), str(program), *arguments]
    with open(folder / "printed", "wb") as printed:
        process = Popen(command, stdin=DEVNULL, stdout=printed, stderr=STDOUT, start_new_session=True)
    atomic_write(folder / "pid", str(process.pid))
    return Driver(folder)


def main(folder: str, *command: str) -> None:
    """Runs the program and writes down how it ended."""
    atomic_write(Path(folder) / "ended", str(call([sys.executable, *command])))


if __name__ == "__main__":
    main(*sys.argv[1:])
