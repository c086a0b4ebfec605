"""The processes that run the idioms, one for each engine, and what is measured of them from outside."""

import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import psutil

from tuti.run import UserError
from tuti.systems.spark.engine import Frame, Session
from tuti.systems.spark.engine_spark import session
from tuti.systems.spark.idiom_table import IDIOMS, READING, pd
from tuti.systems.spark.query.arrow import Table, ipc, pa, pq

WORKERS, MEMORY = 2, "2g"
"""Tasks at once, and the cap, of Spark and of our engine; pandas has neither"""
Opened = tuple[Callable[[str], Any], Callable[[Any], Any], Callable[[Any], Table], Callable[[], Any]]
"""Of an engine: a table by its name; all rows computed; a result as Arrow; garbage thrown away"""


@contextmanager
def _pandas(folder: Path) -> Iterator[Opened]:
    if not find_spec("pandas"):
        raise UserError("pandas is not installed", hint="pip install 'tuti[spark]'")

    def arrow(frame: Any) -> Table:
        return pa.Table.from_pandas(frame, preserve_index=False)

    yield lambda name: pd.read_parquet(folder / name), lambda frame: frame, arrow, gc.collect


@contextmanager
def _spark(folder: Path) -> Iterator[Opened]:
    spark = cast(Any, session(f"local[{WORKERS}]", MEMORY))
    spark.conf.set("spark.sql.shuffle.partitions", str(4 * WORKERS))  # as many as our engine has
    read = {name: spark.read.parquet(str(folder / name)) for name in ("t", "shops")}

    def noop(frame: Any) -> None:
        frame.write.format("noop").mode("overwrite").save()

    yield read.__getitem__, noop, lambda frame: frame.toArrow(), spark._jvm.System.gc
    spark.stop()


@contextmanager
def _ours(folder: Path) -> Iterator[Opened]:
    def arrow(found: Any) -> Table:
        return found.collect() if isinstance(found, Frame) else pa.Table.from_pylist(found)

    def counted(found: Any) -> Any:
        return found.count() if isinstance(found, Frame) else found

    with Session(executors=WORKERS, memory=MEMORY) as ours:
        yield lambda name: ours.parquet(sorted((folder / name).iterdir())), counted, arrow, gc.collect


ENGINES = {"pandas": _pandas, "spark": _spark, "ours": _ours}


def work(name: str, folder: Path, pipe: Connection) -> None:
    """What an engine's process does: as it is told, until nobody tells it any more."""
    tempfile.tempdir = str(folder)
    programs = {idiom.name: getattr(idiom, name) for idiom in (READING, *IDIOMS)}
    try:
        with ENGINES[name](folder) as (read, force, arrow, rest):
            pipe.send("")
            for what, idiom in iter(pipe.recv, None):
                rest()
                pipe.send("rested")
                began = time.perf_counter()
                found = programs[idiom](read("t"), read("shops"))
                if what == "rows":
                    table = arrow(found) if not isinstance(found, Path) else pq.read_table(found)
                    write_rows(table, folder / f"{name}.arrow")
                elif not isinstance(found, Path):
                    force(found)
                pipe.send(time.perf_counter() - began)
                del found
    except UserError as error:
        pipe.send(str(error))
    except EOFError:  # whoever asked is gone
        return


def write_rows(table: Table, path: Path) -> None:
    """The rows in order, numbers as floats, so that results of different engines can be compared."""
    names = table.schema.names
    kinds = [pa.float64() if pa.types.is_primitive(kind) else pa.string() for kind in table.schema.types]
    plain = table.cast(pa.schema(list(zip(names, kinds, strict=True))))
    with ipc.new_file(path, plain.schema) as file:
        file.write(plain.sort_by([(name, "ascending") for name in names]))


class Engine:
    """An engine in a process of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.name, self.rows = name, folder / f"{name}.arrow"
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(name, folder, theirs))
        self.process.start()
        theirs.close()

    def why_not(self) -> str:
        """Waits until it has started; why it cannot, or nothing."""
        return self._told()

    def ask(self, what: str, idiom: str) -> tuple[float, int]:
        """Seconds of one run, and the bytes of its process tree at most above those before it."""
        self.pipe.send((what, idiom))
        self._told()
        before = peak = self.held()
        while not self.pipe.poll(0.01):
            peak = max(peak, self.held()) if what == "memory" else peak  # looking on takes time too
        return self._told(), peak - before

    def held(self) -> int:
        """Bytes of the process tree; pages that forked processes share count once."""
        total, root = 0, psutil.Process(self.process.pid)
        for process in (root, *root.children(recursive=True)):
            try:
                info = process.memory_full_info()
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile
                continue
            total += int(getattr(info, "pss", info.rss))
        return total

    def _told(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            raise UserError(f"{self.name} ended unasked", hint="fewer --rows, if memory was short") from None

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join()
