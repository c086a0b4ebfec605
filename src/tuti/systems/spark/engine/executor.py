"""An executor: a process that works on one partition at a time, in its share of the memory.

It is forked from the driver when a job begins, so it has the plan, functions included, without anything
being sent; what goes through the pipe is which task to do, as JSON, and what became of it.
"""

import itertools
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tuti.run import UserError
from tuti.run.machine import peak_memory_bytes
from tuti.systems.spark.engine import operators, shuffle
from tuti.systems.spark.engine.blocks import Store
from tuti.systems.spark.engine.hashing import hash_rows
from tuti.systems.spark.engine.operators import Means
from tuti.systems.spark.query import plan
from tuti.systems.spark.query.arrow import Batch, ipc, pa, pieces, pq, size_of
from tuti.systems.spark.query.expressions import evaluate
from tuti.systems.spark.query.grouping import grouping
from tuti.systems.spark.query.stages import Stage, partitions


@dataclass
class Work:
    """A task at work: its stage, its means, and where its inputs lie."""

    stage: Stage
    means: Means
    store: Store
    outputs: dict[int, list[Path]]
    """Of each stage that is needed: the folder of each map task's output"""
    read: int = 0
    read_bytes: int = 0

    def rows(self, node: plan.Node, index: int) -> Iterator[Batch]:
        """The batches of one partition of a step: each step draws from the one below, batch by batch."""
        if isinstance(node, plan.Exchange):
            number = self.stage.needs.get(node)
            if number is None:  # it lies behind a cache that was whole when the job began
                raise shuffle.Lost(-1, index)
            return self._counted(shuffle.read(self.outputs[number], number, index))
        if isinstance(node, plan.Scan):
            return self._counted(node.read(node.items[index], node.schema.names))
        if isinstance(node, plan.Union):
            return self._union(node, index)
        if isinstance(node, plan.Cache):
            return self._cached(node, index)
        if isinstance(node, plan.Join):
            left, right = (pieces(self.rows(side, index)) for side in node.inputs)
            return operators.join(left, right, node, self.means)
        return self._over(node, self.rows(node.inputs[0], index))

    def _over(self, node: plan.Node, below: Iterator[Batch]) -> Iterator[Batch]:
        """A step that makes a partition from one partition."""
        if isinstance(node, plan.Select):
            made = [expression for _, expression in node.columns]
            return (
                pa.RecordBatch.from_arrays([evaluate(m, b) for m in made], schema=node.schema) for b in below
            )
        if isinstance(node, plan.Filter):
            return (batch.filter(evaluate(node.condition, batch)) for batch in below)
        if isinstance(node, plan.Map):
            return node.function(below)
        if isinstance(node, (plan.Partial, plan.Final)):
            group = operators.group_partly if isinstance(node, plan.Partial) else operators.group_finally
            return group(pieces(below), grouping(node.of), self.means)
        assert isinstance(node, plan.Sort)
        return operators.sort(pieces(below), node.by, node.schema, self.means)

    def _union(self, node: plan.Union, index: int) -> Iterator[Batch]:
        if node.aligned:
            return itertools.chain.from_iterable(self.rows(inner, index) for inner in node.inputs)
        for inner in node.inputs:
            if index < partitions(inner):
                return self.rows(inner, index)
            index -= partitions(inner)
        raise IndexError(index)

    def _cached(self, node: plan.Cache, index: int) -> Iterator[Batch]:
        name = f"{node.name}-{index}"
        return self.store.read(name) or self.store.write(
            name, self.rows(node.inputs[0], index), node.schema, self.means.pool
        )

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.read += batch.num_rows
            self.read_bytes += size_of(batch)
            yield batch


@dataclass
class Executor:
    """What the process knows for the length of a job."""

    stages: list[Stage]
    store: Store
    pool: Any
    folder: Path
    """What it writes lies here, and is lost with it"""

    def serve(self, connection: Connection) -> None:
        """Does what it is told until the driver hangs up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
        while True:
            try:
                order = json.loads(connection.recv_bytes())
            except EOFError:
                return
            connection.send_bytes(json.dumps(self.obey(order)).encode())

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """One task; the reply tells what it did, or what stood in its way."""
        self.pool.peak, self.pool.held = self.pool.storage, 0
        began, known = time.monotonic(), {name: b.path for name, b in self.store.blocks.items()}
        scratch = self.folder / "scratch"
        outputs = {int(k): [Path(p) for p in paths] for k, paths in order["outputs"].items()}
        work = Work(self.stages[int(order["stage"])], Means(self.pool, scratch), self.store, outputs)
        reply: dict[str, Any] = {"stage": order["stage"], "task": order["task"]}
        try:
            reply |= self._do(work, order)
        except shuffle.Lost as lost:
            reply["lost"] = [lost.stage, lost.task]
        except MemoryError:
            reply["error"] = "out of memory"
        except UserError as error:
            reply["error"], reply["hint"] = error.what, error.hint
        except Exception as error:  # a person's function may raise anything; the driver tells it
            reply["error"] = f"{type(error).__name__}: {error}"
            reply["errno"] = getattr(error, "errno", None)
            reply["trace"] = traceback.format_exc()
        self.pool.execution = 0
        shutil.rmtree(scratch, ignore_errors=True)
        changed = {n: asdict(b) for n, b in self.store.blocks.items() if known.get(n) != b.path}
        reply |= {"blocks": changed, "read": work.read, "read_bytes": work.read_bytes}
        reply |= {"spilled": work.means.spilled, "rss": peak_memory_bytes(), "storage": self.pool.storage}
        return reply | {"seconds": time.monotonic() - began, "peak": self.pool.peak, "held": self.pool.held}

    def _do(self, work: Work, order: dict[str, Any]) -> dict[str, Any]:
        root, task = work.stage.root, int(order["task"])
        if order["what"] == "sample":
            assert isinstance(root, plan.Exchange) and isinstance(root.layout, plan.Ranged)
            found = operators.sample(work.rows(root.inputs[0], task), root.layout.by, 1024, root.schema)
            with ipc.new_stream(order["to"], found.schema) as stream:
                stream.write_table(found)
            return {"rows": len(found)}
        if isinstance(root, plan.Exchange):
            return self._shuffle(work, root, task, order)
        if order["what"] == "count":
            return {"rows": sum(batch.num_rows for batch in work.rows(root, task))}
        count = 0
        partial = Path(order["to"]).with_name(f".{task}-{os.getpid()}")
        kind = pq.ParquetWriter if order["what"] == "save" else ipc.new_stream
        with kind(str(partial), root.schema) as file:
            for batch in work.rows(root, task):
                file.write_batch(batch)
                count += batch.num_rows
                if count >= order["limit"] >= 0:
                    break
        os.replace(partial, order["to"])
        return {"rows": count}

    def _shuffle(self, work: Work, root: plan.Exchange, task: int, order: dict[str, Any]) -> dict[str, Any]:
        folder = self.folder / str(work.stage.number)
        writer = shuffle.Writer(folder, task, root.count, root.schema, self.pool)
        bounds = ipc.open_stream(order["bounds"]).read_all() if order["bounds"] else None
        count = 0
        for batch in pieces(work.rows(root.inputs[0], task)):
            if isinstance(root.layout, plan.Ranged):
                places = (operators.ranges_of(batch, bounds, root.layout.by) + 1) // 2
            else:
                hashes = hash_rows(batch, list(root.layout.keys))
                places = (hashes % np.uint64(root.count)).astype(np.int64)
            writer.add(batch, places)
            count += batch.num_rows
        return {"rows": count, "bytes": writer.close(), "folder": str(folder)}
