"""The schedulers: which stages must run (`Job`), and which executor does which task (`Job.run`).

A task that is lost with its executor is done again, and so is the output of any earlier task that lay there:
what a partition is made of is known, so nothing is copied for safety (Zaharia et al. 2012, section 2).
"""

import ctypes
import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuti.run import UserError
from tuti.systems.spark.engine.executor import serve
from tuti.systems.spark.engine.memory import Block
from tuti.systems.spark.engine.operators import bounds_of
from tuti.systems.spark.query.arrow import ipc, pa
from tuti.systems.spark.query.plan import Exchange, Node
from tuti.systems.spark.query.stages import Stage

if TYPE_CHECKING:
    from tuti.systems.spark.engine.session import Session

ATTEMPTS = 4
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Order = dict[str, Any]


class Replan(Exception):
    """A cached partition that the plan relied on is gone."""


@dataclass
class Worker:
    """The driver's end of an executor."""

    number: int
    process: Any
    connection: Connection
    folder: Path
    doing: tuple[int, int, str] | None = None


@dataclass
class Job(AbstractContextManager["Job"]):
    """One action: its stages, its executors, and what is done so far."""

    session: "Session"
    asked: Node
    """The plan before it was optimised"""
    what: str
    scratch: Path
    limit: int = -1
    """Rows that are enough (-1: all)"""
    report: list[Order] = field(default_factory=list[Order])
    """What each task that ended did"""

    def __post_init__(self) -> None:
        self.stages: list[Stage] = self.session.stages(self.asked)
        self.outputs: dict[int, list[str | None]] = {s.number: [None] * s.tasks for s in self.stages}
        """Of each stage's tasks, the folder of what it wrote (None: it is not done)"""
        self.sampled: set[tuple[int, int]] = set()
        self.failures: Counter[tuple[int, int, str]] = Counter()
        self.workers: list[Worker] = []
        self.last, self.results = self.stages[-1], self.scratch / "results"
        self.results.mkdir()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        if isinstance(error, OSError) and error.errno in FULL:
            hint = "free some space, or name a folder on another disk (--out; Session(folder=…)); "
            hint += "a run goes on with --resume"
            raise UserError(f"no space left while writing {self.scratch}", hint) from error

    def result(self, task: int) -> Path:
        """Where the result stage's task writes."""
        return self.results / f"part-{task:05d}.{'parquet' if self.what == 'save' else 'arrows'}"

    def beside(self, kind: str, *numbers: int) -> str:
        """Where a task's sample lies, and a stage's bounds."""
        return str(self.scratch / "-".join([kind, *map(str, numbers)]))

    def run(self) -> None:
        """Has the last stage's tasks done; with a limit as few as it takes, four times as many each time."""
        begin, end = 0, self.last.tasks if self.limit < 0 else 1
        while begin < self.last.tasks:
            rows = sum(done["rows"] for done in self.report if done["stage"] == self.last.number)
            if 0 <= self.limit <= rows:
                break
            self._do(range(begin, min(end, self.last.tasks)))
            begin, end = end, 4 * end

    def _do(self, wanted: Sequence[int]) -> None:
        """Has these tasks of the last stage done, and whatever they need."""
        while any(self.outputs[self.last.number][t] is None for t in wanted):
            while len(self.workers) < self.session.executors:
                self.workers.append(self._fork(len(self.workers)))
            for worker in self.workers:
                if worker.doing is None and (order := next(self._open(wanted), None)):
                    worker.doing = (order["stage"], order["task"], order["what"])
                    worker.connection.send_bytes(json.dumps(order).encode())
            busy = {worker.connection: worker for worker in self.workers if worker.doing}
            assert busy, "no task can begin, and none is at work"
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    reply = json.loads(worker.connection.recv_bytes())
                except (EOFError, ConnectionError):
                    self._bury(worker)
                else:
                    self._note(worker, reply)

    def _fork(self, number: int) -> Worker:
        ours, theirs = multiprocessing.Pipe()
        folder = Path(tempfile.mkdtemp(prefix=f"executor-{number}-", dir=self.scratch))
        others = [ours, *(worker.connection for worker in self.workers)]
        driver = os.getpid()

        def main() -> None:
            # it ends with its driver, even one that is killed: else it would write into a resumed run
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != driver:
                os._exit(1)
            for connection in others:  # else a driver that dies would not be noticed
                connection.close()
            pa.set_cpu_count(1)
            serve(theirs, self, number, folder)

        process = multiprocessing.get_context("fork").Process(target=main, daemon=True)
        process.start()
        theirs.close()
        return Worker(number, process, ours, folder)

    def _open(self, wanted: Sequence[int]) -> Iterator[Order]:
        """Tasks that could begin now, the earliest stage first."""
        running = {worker.doing for worker in self.workers}
        for stage in self.stages:
            number, root = stage.number, stage.root
            inputs = {need: self.outputs[need] for need in stage.needs.values()}
            if any(folder is None for folders in inputs.values() for folder in folders):
                continue
            what, tasks = (self.what, wanted) if stage is self.last else ("shuffle", range(stage.tasks))
            todo = [t for t in tasks if self.outputs[number][t] is None]
            if todo and isinstance(root, Exchange) and root.layout.by:
                todo, what = self._sampling(stage, root, todo)
            for task in todo:
                if (number, task, what) not in running:
                    yield {"stage": number, "task": task, "what": what, "outputs": inputs}

    def _sampling(self, stage: Stage, root: Exchange, todo: list[int]) -> tuple[list[int], str]:
        """A sort's rows can be sent when the bounds of its ranges are known: all partitions are sampled."""
        number, tasks, path = stage.number, range(stage.tasks), self.beside("bounds", stage.number)
        if unknown := [task for task in tasks if (number, task) not in self.sampled]:
            return unknown, "sample"
        if not os.path.exists(path):
            samples = [ipc.open_stream(self.beside("sample", number, task)).read_all() for task in tasks]
            bounds = bounds_of(pa.concat_tables(samples), root.layout.by, root.count)
            with ipc.new_stream(path, bounds.schema) as stream:
                stream.write_table(bounds)
        return todo, "shuffle"

    def _note(self, worker: Worker, reply: Order) -> None:
        stage, task, what = doing = worker.doing or (-1, -1, "")
        worker.doing = None
        self.session.blocks |= {name: Block(**block) for name, block in reply["blocks"].items()}
        if "lost" in reply:
            lost, of = reply["lost"]
            if lost < 0:
                raise Replan
            self.outputs[lost][of] = None
            self._again(doing, "its input was lost again and again")
        elif "hint" in reply:
            raise UserError(reply["error"], hint=reply["hint"])
        elif reply.get("errno") in FULL:
            raise OSError(reply["errno"], reply["error"])
        elif "error" in reply:
            told = f"task {task} of stage {stage} failed: {reply['error']}\n{reply.get('trace', '')}"
            raise UserError(told.rstrip(), hint=f"the stage: {'; '.join(self.stages[stage].steps())}")
        elif what == "sample":
            self.sampled.add((stage, task))
        else:
            self.outputs[stage][task] = reply.get("folder", "")
            self.report.append(reply | {"stage": stage, "what": what})
            self.session.told(self)

    def _again(self, doing: tuple[int, int, str], why: str) -> None:
        self.failures[doing] += 1
        if self.failures[doing] >= ATTEMPTS:
            what = f"task {doing[1]} of stage {doing[0]} failed {ATTEMPTS} times: {why}"
            hint = "more memory for the session, or more partitions, so that each is smaller"
            raise UserError(what, hint)

    def _bury(self, worker: Worker) -> None:
        """An executor died: what it held is lost, another takes its place."""
        doing = worker.doing
        worker.process.join()
        worker.connection.close()
        shutil.rmtree(worker.folder, ignore_errors=True)
        for folders in self.outputs.values():
            for task, folder in enumerate(folders):
                if folder and worker.folder in Path(folder).parents:
                    folders[task] = None
        blocks = self.session.blocks
        for name in [name for name, block in blocks.items() if block.keeper == worker.number]:
            Path(blocks.pop(name).path).unlink(missing_ok=True)
        self.workers[worker.number] = self._fork(worker.number)
        if doing is not None:
            self._again(doing, "its executor died")
