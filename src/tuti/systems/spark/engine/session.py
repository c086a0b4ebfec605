"""The session that computes frames: nothing runs until rows are asked for."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import psutil

from tuti.run import UserError
from tuti.systems.spark.engine.memory import Block
from tuti.systems.spark.engine.scheduler import Job, Replan
from tuti.systems.spark.query.arrow import LINE, Array, Batch, Schema, pa, pc, pieces, pq
from tuti.systems.spark.query.frame import Frame
from tuti.systems.spark.query.optimise import optimise
from tuti.systems.spark.query.plan import Node, Scan
from tuti.systems.spark.query.stages import Stage, cut, with_exchanges

RESERVED = 150_000_000
"""Bytes of a process that nobody counts: Python, Arrow, a batch or two on their way"""
ENOUGH = 80_000_000
"""Bytes beyond them with which an executor works well"""
LARGEST = 2**31
"""Bytes of an executor's pool at most: an Arrow array of strings holds no more"""
FRACTION = 0.5
"""Share of the rest that the pool grants: an operator's work needs room beside what it holds"""


def bytes_of(text: str) -> int:
    """`512m` or `4g` in bytes."""
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    if not (text[:-1].isdigit() and text[-1:].lower() in units):
        raise UserError(f"a memory of {text!r} cannot be read", hint="write 512m or 4g")
    wanted, there = int(text[:-1]) * units[text[-1].lower()], psutil.virtual_memory().total
    if wanted > there:
        what = f"a memory of {text} is more than the {there // 2**20:,} MB of this machine"
        raise UserError(what, hint=f"{there // 2**21}m, half of it, leaves room for others")
    return wanted


def fitting(executors: int, memory: str = "") -> tuple[int, str]:
    """As many executors, at most as asked for, as the memory carries ("": half of what is free now)."""
    given = bytes_of(memory) if memory else psutil.virtual_memory().available // 2
    carried = int(given // (RESERVED + ENOUGH)) - 1
    return max(1, min(executors, carried)), memory or f"{given // 2**20}m"


class Session(AbstractContextManager["Session"]):
    """The driver: it plans, and has `executors` processes work, one partition each at a time.

    `memory` is for all processes together; `partitions`, how many a shuffle makes (four an executor).
    """

    def __init__(
        self, *, executors: int = 2, memory: str = "1g", partitions: int = 0, folder: Path | None = None,
        told: Callable[[Job], None] = lambda job: None, ended: Callable[[Job], None] | None = None,
    ) -> None:
        share = bytes_of(memory) // (executors + 1) - RESERVED
        if share < 20_000_000:
            least = (executors + 1) * (RESERVED + 20_000_000) // 2**20 + 1
            what = f"{memory} are too little for a driver and {executors} executors"
            raise UserError(what, hint=f"memory={least}m, or fewer executors")
        self.executors, self.pool = executors, int(min(FRACTION * share, LARGEST))
        self.told, self.ended = told, ended or _written
        self.partitions = partitions or 4 * executors
        self.scratch = Path(mkdtemp(prefix="tuti-spark-", dir=folder))
        self.shared = _in_memory(executors * self.pool) or self.scratch / "blocks"
        self.blocks: dict[str, Block] = {}
        pa.array([0])  # with the first array Arrow imports pandas: once here, not in every executor

    def __exit__(self, *_: object) -> None:
        for folder in (self.scratch, self.shared):
            shutil.rmtree(folder, ignore_errors=True)

    def items(
        self, items: Iterable[Any], read: Callable[[Any, Sequence[str]], Iterator[Batch]], schema: Schema,
        label: str = "items",
    ) -> Frame:
        """A partition for each item; `read(item, columns)` makes its batches, once a task asks for them."""
        return Frame(self, Scan((), tuple(items), read, label, made=schema.remove_metadata()))

    def parquet(self, paths: Sequence[Path]) -> Frame:
        """A partition for each file; only columns that are asked for are read."""
        if not paths:
            hint = "a folder's: sorted(Path(folder).glob('*.parquet'))"
            raise UserError("no parquet files to read", hint)
        return self.items(
            paths, lambda path, columns: pq.ParquetFile(path).iter_batches(columns=columns),
            pq.read_schema(paths[0]), f"{len(paths)} parquet files",
        )

    def text(self, paths: Sequence[Path], block: int = 4_000_000) -> Frame:
        """Lines of files as the column `line`, a partition for each `block` of bytes of a file."""
        spans = [(path, start) for path in paths for start in range(0, max(1, path.stat().st_size), block)]
        return self.items(
            spans, lambda at, _: pieces(pa.table([lines_of(at[0], at[1], block)], schema=LINE).to_batches()),
            LINE, f"{len(paths)} text files",
        )

    def stages(self, node: Node) -> list[Stage]:
        """The stages of a plan, without those behind caches that are whole."""
        whole, _ = with_exchanges(optimise(node), self.partitions)
        return cut(whole, self.blocks)

    @contextmanager
    def run(self, node: Node, what: str, limit: int = -1, beside: Path | None = None) -> Generator[Job]:
        """Rows of a plan, there until the context ends; anew from the start where a cached one was lost."""
        while True:
            with TemporaryDirectory(prefix=".tuti-spark-", dir=beside or self.scratch) as scratch:
                try:
                    with Job(self, node, what, Path(scratch), limit) as job:
                        job.run()
                        self.ended(job)
                except Replan:
                    continue
                yield job
                return


def lines_of(path: Path, start: int, block: int) -> Array:
    """The lines that begin in [start, start + block) of a file; bytes that are not UTF-8 become U+FFFD."""
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()  # it began before
        data = file.read(max(0, start + block - file.tell()))
        if data and not data.endswith(b"\n"):
            data += file.readline()
    if not data:
        return pa.array([], pa.string())
    text = data.removesuffix(b"\n").decode("utf-8", "replace")
    return pc.utf8_rtrim(pc.split_pattern(pa.array([text]), "\n").flatten(), "\r")


def _written(job: Job) -> None:
    """What became of a job, for `tuti spark explain`, where that has started this program."""
    if path := os.environ.get("TUTI_SPARK_FACTS"):
        from tuti.systems.spark.doctor.facts import facts_of

        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(facts_of(job)), ensure_ascii=False) + "\n")


def _in_memory(size: int) -> Path | None:
    """A name for a folder in memory that has so much room (a container's has 64 MB, whatever its memory).

    What a session that was killed left there is removed.
    """
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        return None
    for left in shared.glob("tuti-spark-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(shared).free < size:
        return None
    return shared / f"tuti-spark-{os.getpid()}-{uuid.uuid4().hex}"
