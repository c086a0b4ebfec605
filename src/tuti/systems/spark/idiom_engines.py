"""The processes that run the idioms, one for each engine, and what is measured of them from outside."""

import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import psutil

from tuti.run import UserError
from tuti.systems.spark.engine import Frame, Session
from tuti.systems.spark.engine_spark import session
from tuti.systems.spark.idiom_table import IDIOMS, READING, Program, pd
from tuti.systems.spark.query.arrow import Table, pa, pq

WORKERS, MEMORY = 2, "2g"
"""Tasks at once, and the cap, of Spark and of our engine; pandas has neither"""
Ways = tuple[Callable[[str], Any], Callable[[Any], Any], Callable[[Any], Table], Callable[[], Any]]
"""Of an engine: a table by its name; all rows computed; a result as Arrow; garbage thrown away"""


def _pandas(folder: Path) -> Ways:
    if pd is None:
        raise UserError("not installed: pandas", hint="pip install 'tuti[spark]'")
    arrow: Callable[[Any], Table] = lambda frame: pa.Table.from_pandas(frame, preserve_index=False)  # noqa: E731
    return lambda name: pd.read_parquet(folder / name), lambda frame: frame, arrow, gc.collect


def _spark(folder: Path) -> Ways:
    spark = cast(Any, session(f"local[{WORKERS}]", MEMORY))
    spark.conf.set("spark.sql.shuffle.partitions", str(4 * WORKERS))  # as many as our engine has
    tables = {name: spark.read.parquet(str(folder / name)) for name in ("t", "shops")}

    def force(frame: Any) -> None:
        frame.write.format("noop").mode("overwrite").save()

    return tables.__getitem__, force, lambda frame: frame.toArrow(), spark._jvm.System.gc


def _ours(folder: Path) -> Ways:
    ours = Session(executors=WORKERS, memory=MEMORY, folder=folder)
    tables = {name: ours.parquet(sorted((folder / name).iterdir())) for name in ("t", "shops")}

    def force(found: Any) -> Any:
        return found.count() if isinstance(found, Frame) else found

    def arrow(found: Any) -> Table:
        return found.collect() if isinstance(found, Frame) else pa.Table.from_pylist(found)

    return tables.__getitem__, force, arrow, gc.collect


ENGINES = {"pandas": _pandas, "spark": _spark, "ours": _ours}


def work(name: str, folder: Path, pipe: Connection) -> None:
    """What an engine's process does: as it is told, until there is nobody to tell it."""
    tempfile.tempdir = str(folder)
    programs = {idiom.name: getattr(idiom, name) for idiom in (READING, *IDIOMS)}
    try:
        ways = ENGINES[name](folder)
        pipe.send("")
        while True:
            what, idiom = pipe.recv()
            ways[3]()
            pipe.send("rested")
            pipe.send(_run(programs[idiom], ways, what))
    except UserError as error:
        pipe.send(str(error))
    except EOFError:
        return


def _run(program: Program, ways: Ways, what: str) -> Any:
    read, force, arrow, _ = ways
    began = time.perf_counter()
    found = program(read("t"), read("shops"))
    if what == "rows":
        return in_order(pq.read_table(found) if isinstance(found, Path) else arrow(found))
    if not isinstance(found, Path):
        force(found)
    return time.perf_counter() - began


def in_order(table: Table) -> Table:
    """The rows in order, and numbers as floats, so that results of different engines can be compared."""
    by = sorted(table.schema.names)
    kinds = [table.schema.field(name).type for name in by]
    plain = [pa.float64() if pa.types.is_primitive(kind) else pa.string() for kind in kinds]
    return table.select(by).cast(pa.schema(zip(by, plain))).sort_by([(name, "ascending") for name in by])


class Engine:
    """An engine in a process of its own; `absent` is why it could not start, or nothing."""

    def __init__(self, name: str, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(name, folder, theirs))
        self.process.start()
        theirs.close()
        self.absent: str = self.told()

    def ask(self, what: str, idiom: str) -> tuple[Any, int]:
        """The answer (`rows`, or else seconds); of `memory`, bytes at most above those before it too."""
        self.pipe.send((what, idiom))
        self.told()
        before = peak = self.held()
        while what == "memory" and not self.pipe.poll(0.01):
            peak = max(peak, self.held())
        return self.told(), peak - before

    def held(self) -> int:
        """Bytes of its processes; pages that they share count once, where the system says so."""
        total, root = 0, psutil.Process(self.process.pid)
        for process in (root, *root.children(recursive=True)):
            try:
                info = process.memory_full_info()
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile
                continue
            total += int(getattr(info, "pss", info.rss))
        return total

    def told(self) -> Any:
        """What its process says next."""
        try:
            return self.pipe.recv()
        except EOFError:
            raise UserError(f"{self.name}: its process died", hint="fewer --rows, if memory was short") from None

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()
