"""An executor: a process that works on one partition at a time, in its share of the memory.

It is forked from the driver when a job begins, so it has the plan, functions included, without anything
being sent; what goes through the pipe is which task to do, as JSON, and what became of it.
"""

import itertools
import json
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuti.run import UserError
from tuti.run.machine import peak_memory_bytes
from tuti.systems.spark.engine import operators, shuffle
from tuti.systems.spark.engine.memory import Pool
from tuti.systems.spark.engine.operators import Means
from tuti.systems.spark.query import plan
from tuti.systems.spark.query.arrow import Batch, ipc, pa, pieces, pq
from tuti.systems.spark.query.expressions import evaluate
from tuti.systems.spark.query.grouping import grouping
from tuti.systems.spark.query.stages import Stage, partitions

if TYPE_CHECKING:
    from tuti.systems.spark.engine.scheduler import Job


def serve(connection: Connection, job: "Job", number: int, folder: Path) -> None:
    """Does what it is told until the driver hangs up; its output lies in `folder`, and is lost with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    session = job.session
    with suppress(EOFError):
        while True:
            order: dict[str, Any] = json.loads(connection.recv_bytes())
            pool = Pool(session.pool, number, session.blocks, session.shared, session.scratch)
            work = Work(job, order, job.stages[int(order["stage"])], Means(pool, folder / "scratch"), folder)
            connection.send_bytes(json.dumps(work.obey()).encode())


@dataclass
class Work:
    """A task at work: its job, its order, its stage and its means."""

    job: "Job"
    order: dict[str, Any]
    """`what` is to be done, the number of its `task`, and by stage the folders of `outputs` that it reads"""
    stage: Stage
    means: Means
    folder: Path
    """Where its own output goes"""
    read: int = 0
    read_bytes: int = 0

    def rows(self, node: plan.Node, index: int) -> Iterator[Batch]:
        """The batches of one partition of a step: each step draws from the one below, batch by batch."""
        if isinstance(node, plan.Exchange):
            number = self.stage.needs.get(node)
            if number is None:  # it lies behind a cache that was whole when the job began
                raise shuffle.Lost(-1, index)
            return self._counted(shuffle.read(self.order["outputs"][str(number)], number, index))
        if isinstance(node, plan.Scan):
            return self._counted(node.read(node.items[index], node.schema.names))
        if isinstance(node, plan.Union) and node.aligned:
            return itertools.chain.from_iterable(self.rows(inner, index) for inner in node.inputs)
        if isinstance(node, plan.Union):
            places = [(inner, number) for inner in node.inputs for number in range(partitions(inner))]
            return self.rows(*places[index])
        if isinstance(node, plan.Cache):
            name, pool = f"{node.name}-{index}", self.means.pool
            return pool.read(name) or pool.write(name, self.rows(node.inputs[0], index), node.schema)
        if isinstance(node, plan.Join):
            left, right = (pieces(self.rows(side, index)) for side in node.inputs)
            return operators.join(left, right, node, self.means)
        return self._over(node, self.rows(node.inputs[0], index))

    def _over(self, node: plan.Node, below: Iterator[Batch]) -> Iterator[Batch]:
        """A step that makes a partition from one partition."""
        if isinstance(node, plan.Select):
            made, batch_of = [expression for _, expression in node.columns], pa.RecordBatch.from_arrays
            return (batch_of([evaluate(m, b) for m in made], schema=node.schema) for b in below)
        if isinstance(node, plan.Filter):
            return (batch.filter(evaluate(node.condition, batch)) for batch in below)
        if isinstance(node, plan.Map):
            return node.function(below)
        if isinstance(node, (plan.Partial, plan.Final)):
            group = operators.group_partly if isinstance(node, plan.Partial) else operators.group_finally
            return group(pieces(below), grouping(node.of), self.means)
        assert isinstance(node, plan.Sort)
        return operators.sort(pieces(below), node.by, node.schema, self.means)

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.read += batch.num_rows
            self.read_bytes += batch.nbytes
            yield batch

    def obey(self) -> dict[str, Any]:
        """The task; the reply tells what it did, or what stood in its way."""
        pool, reply = self.means.pool, dict[str, Any]()
        began, known = time.monotonic(), {name: b.path for name, b in pool.blocks.items()}
        try:
            reply = self._do(self.stage.root, self.order["task"], self.order["what"])
        except shuffle.Lost as lost:
            reply["lost"] = lost.args
        except MemoryError:
            reply["error"] = "out of memory"
        except UserError as error:
            reply["error"], reply["hint"] = error.what, error.hint
        except Exception as error:  # a person's function may raise anything; the driver tells it
            reply["error"] = f"{type(error).__name__}: {error}"
            reply["errno"] = getattr(error, "errno", None)
            reply["trace"] = traceback.format_exc()
        shutil.rmtree(self.means.scratch, ignore_errors=True)
        changed = {n: asdict(b) for n, b in pool.blocks.items() if known.get(n) != b.path}
        reply |= {"blocks": changed, "read": self.read, "read_bytes": self.read_bytes}
        reply |= {"spilled": self.means.spilled, "rss": peak_memory_bytes(), "storage": pool.storage}
        return reply | {"seconds": time.monotonic() - began, "peak": pool.peak, "held": pool.held}

    def _do(self, root: plan.Node, task: int, what: str) -> dict[str, Any]:
        if isinstance(root, plan.Exchange):
            return self._sample(root, task) if what == "sample" else self._shuffle(root, task)
        if what == "count":
            return {"rows": sum(batch.num_rows for batch in self.rows(root, task))}
        count, path = 0, self.job.result(task)
        partial = self.folder / path.name
        kind = pq.ParquetWriter if what == "save" else ipc.new_stream
        with kind(str(partial), root.schema) as file:
            for batch in self.rows(root, task):
                file.write_batch(batch)
                count += batch.num_rows
                if count >= self.job.limit >= 0:
                    break
        partial.rename(path)
        return {"rows": count}

    def _sample(self, root: plan.Exchange, task: int) -> dict[str, Any]:
        found = operators.sample(self.rows(root.inputs[0], task), root.layout.by, 1024, root.schema)
        with ipc.new_stream(self.job.beside("sample", self.stage.number, task), found.schema) as stream:
            stream.write_table(found)
        return {"rows": len(found)}

    def _shuffle(self, root: plan.Exchange, task: int) -> dict[str, Any]:
        number, layout = self.stage.number, root.layout
        bounds = ipc.open_stream(self.job.beside("bounds", number)).read_all() if layout.by else None

        def places(batch: Batch) -> shuffle.Places:
            if layout.by:
                return (operators.ranges_of(batch, bounds, layout.by) + 1) // 2
            return (shuffle.hash_rows(batch, list(layout.keys)) % np.uint64(root.count)).astype(np.int64)

        batches, folder = pieces(self.rows(root.inputs[0], task)), self.folder / str(number) / str(task)
        told = shuffle.write(folder, batches, places, root.count, root.schema, self.means.pool)
        return dict(zip(("rows", "bytes", "folder"), told, strict=True))
