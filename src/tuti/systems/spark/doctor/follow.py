"""The job at work, for who watches: its facts so far in one file, which is gone when it has ended."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from tuti.run import atomic_write
from tuti.systems.spark.doctor.facts import Facts, facts_from, facts_of
from tuti.systems.spark.engine.scheduler import Job

NAME = "job-at-work.json"
SECONDS = 1.0
"""Between two writings at least; and writing takes no more than a twentieth of the time"""


class Follower:
    """Called whenever a task has ended."""

    def __init__(self, folder: Path) -> None:
        self.path, self.next = folder / NAME, 0.0

    def __call__(self, job: Job) -> None:
        began = time.monotonic()
        if began >= self.next:
            atomic_write(self.path, json.dumps(asdict(facts_of(job))).encode())
            took = time.monotonic() - began
            self.next = began + max(SECONDS, 20 * took)

    def end(self) -> None:
        """The job has ended; the next one is told of at once."""
        self.path.unlink(missing_ok=True)
        self.next = 0.0


def at_work(folder: Path) -> tuple[Facts, float] | None:
    """The facts of the job in a folder that a Follower writes to, and when they were so."""
    try:
        with open(folder / NAME, "rb") as file:
            return facts_from(json.load(file)), os.fstat(file.fileno()).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
