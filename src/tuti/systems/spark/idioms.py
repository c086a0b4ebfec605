"""View `tuti spark idioms`: twenty pandas idioms in pandas, PySpark and our engine, with time and memory.

Each engine is a process of its own, which does what it is told and is watched from here.
"""

import multiprocessing
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, cast

import psutil
from pydantic import Field

from tuti.run import UserError
from tuti.systems.spark.engine import Frame, Session
from tuti.systems.spark.engine_spark import session
from tuti.systems.spark.idiom_table import IDIOMS, NAMES, READING, Idiom, evaluated, tables
from tuti.systems.spark.query.arrow import Table, pa, pq

WORKERS, MEMORY, FILES = 2, "2g", 4
"""Tasks at once and the cap of Spark and of our engine (pandas has neither), and files of the sales"""
Ways = tuple[Callable[[str], Any], Callable[[Any], Any], Callable[[Any], Table]]
"""Of an engine: a table by its name; all rows computed; a result as Arrow"""


@dataclass(frozen=True)
class Idioms:
    """Times twenty pandas idioms in pandas, PySpark and our engine, or shows their programs."""

    rows: Annotated[int, Field(ge=100)] = 50_000
    """Sales to make the table of"""
    repeats: Annotated[int, Field(ge=1)] = 2
    """Timed runs of each program, of which the best counts"""
    show: str = ""
    """Print the programs of the idioms that have this in their names, or of `all`, and time nothing"""


def idioms(config: Idioms) -> None:
    """Two lines for each idiom: milliseconds and megabytes of each engine, and what is shuffled."""
    if config.show:
        return print("\n\n".join(shown(config.show)))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuti-idioms-")))
        write(folder, config.rows)
        engines = [stack.enter_context(Engine(name, folder)) for name in ENGINES]
        print("checking that all engines make the same rows", file=sys.stderr)
        for idiom in IDIOMS:
            check(idiom, engines)
        print(f"{config.rows:,} rows in {FILES} parquet files; all engines made the same rows of them")
        print(f"ms: best of {config.repeats}, reading included")
        print("MB: most at once above the start (Spark's JVM keeps much of what it once took)\n")
        print(" " * 36, *(f"{engine.name:>10} ms     MB" for engine in engines))
        for idiom in (READING, *IDIOMS):
            print(f"{idiom.name:36}", *(measured(e, idiom, config.repeats) for e in engines))
            print(f"    {idiom.shape}", flush=True)
        for e in engines:
            held = "" if e.absent else f"{e.at_start / 1e6:,.0f} MB at first, {e.held() / 1e6:,.0f} at last"
            print(f"{e.name}: {e.absent or held}")


def shown(words: str) -> list[str]:
    """Of each idiom with these words in its name the three programs that are run."""
    found = [idiom for idiom in IDIOMS if words == "all" or words in idiom.name]
    if not found:
        there = "; ".join(idiom.name for idiom in IDIOMS)
        raise UserError(f"no idiom has {words!r} in its name", hint=f"all, or some of: {there}")
    texts = ["\n".join(f"{name:8}{getattr(idiom, name)}" for name in ENGINES) for idiom in found]
    programs = (textwrap.indent(text, "  ") for text in texts)
    return [f"{idiom.name}: {idiom.shape}\n{text}" for idiom, text in zip(found, programs, strict=True)]


def write(folder: Path, rows: int) -> None:
    """The tables as parquet files."""
    for name, table in tables(rows).items():
        (folder / name).mkdir()
        step = -(-len(table) // (FILES if name == "t" else 1))
        for start in range(0, len(table), step):
            pq.write_table(table.slice(start, step), folder / name / f"{start:012}.parquet")


def check(idiom: Idiom, engines: "Sequence[Engine]") -> None:
    """Refuses an idiom of which the engines make different rows (sums of this data are exact)."""
    results = {engine.name: engine.ask("rows", idiom.name)[0] for engine in engines if not engine.absent}
    first = next(iter(results))
    for name, rows in results.items():
        if not rows.equals(results[first]):
            raise UserError(f"{idiom.name}: {name} makes other rows than {first}", hint="a bug of ours")


def measured(engine: "Engine", idiom: Idiom, repeats: int) -> str:
    """Milliseconds and megabytes."""
    if engine.absent:
        return f"{'not installed':>20}"
    _, peak = engine.ask("memory", idiom.name)  # the warm-up, too
    best = min(engine.ask("time", idiom.name)[0] for _ in range(repeats))
    return f"{best * 1e3:13,.0f} {peak / 1e6:6,.0f}"


def _pandas(folder: Path) -> Ways:
    if NAMES["pd"] is None:
        raise UserError("pandas is not installed", hint="pip install 'tuti[spark]'")

    def arrow(frame: Any) -> Table:
        return pa.Table.from_pandas(frame, preserve_index=False)

    return lambda name: NAMES["pd"].read_parquet(folder / name), lambda frame: frame, arrow


def _spark(folder: Path) -> Ways:
    spark = cast(Any, session(f"local[{WORKERS}]", MEMORY))
    spark.conf.set("spark.sql.shuffle.partitions", str(4 * WORKERS))  # as many as our engine has

    def force(frame: Any) -> None:
        frame.write.format("noop").mode("overwrite").save()

    made = {name: spark.read.parquet(str(folder / name)) for name in ("t", "shops")}
    return made.__getitem__, force, lambda frame: frame.toArrow()


def _ours(folder: Path) -> Ways:
    ours = Session(executors=WORKERS, memory=MEMORY, folder=folder)

    def arrow(found: Any) -> Table:  # `take` gives a list
        return found.collect() if isinstance(found, Frame) else pa.Table.from_pylist(found)

    made = {name: ours.parquet(sorted((folder / name).iterdir())) for name in ("t", "shops")}
    return made.__getitem__, lambda f: isinstance(f, Frame) and f.count(), arrow


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
            pipe.send(answer(programs[idiom], ways, what))
    except UserError as error:
        pipe.send(str(error))
    except EOFError:
        return


def answer(program: str, ways: Ways, what: str) -> Any:
    """The rows of a program, or the seconds that it takes to compute them."""
    read, force, arrow = ways
    began = time.perf_counter()
    found = evaluated(program, read("t"), read("shops"))
    if what == "rows":
        return in_order(pq.read_table(found) if isinstance(found, Path) else arrow(found))
    if not isinstance(found, Path):
        force(found)
    return time.perf_counter() - began


def in_order(table: Table) -> Table:
    """The rows in order, and numbers as floats, so that results of different engines can be compared."""
    by = sorted(table.schema.names)
    kinds = [pa.types.is_primitive(table.schema.field(name).type) for name in by]
    plain = [(name, pa.float64() if number else pa.string()) for name, number in zip(by, kinds, strict=True)]
    return table.select(by).cast(pa.schema(plain)).sort_by([(name, "ascending") for name in by])


class Engine:
    """An engine in a process of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(name, folder, theirs))
        self.process.start()
        theirs.close()
        self.name = name

    @cached_property
    def absent(self) -> str:
        """Why it could not start, or nothing, as soon as that is known; it has read nothing then."""
        why = self.told()
        self.at_start = 0 if why else self.held()
        return why

    def ask(self, what: str, idiom: str) -> tuple[Any, int]:
        """The answer (`rows`; or seconds), and for `memory` the bytes at most above those at the start."""
        assert not self.absent
        self.pipe.send((what, idiom))
        peak = self.at_start
        while what == "memory" and not self.pipe.poll(0.02):
            peak = max(peak, self.held())
        return self.told(), peak - self.at_start

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
        except (EOFError, ConnectionError):
            hint = "fewer --rows, if memory was short"
            raise UserError(f"the process of {self.name} died", hint=hint) from None

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()
