"""View `tuti spark idioms`: twenty pandas idioms in pandas, PySpark and our engine, with time and memory.

Their programs are in `idioms.toml`. Prices are quarters and everything else is whole: sums come out the same
in whatever order they are made. Each engine is a process of its own, which is watched from here.
"""

import multiprocessing
import os
import tempfile
import textwrap
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, cast

import numpy as np
import psutil
from pydantic import Field

from tuti.run import UserError, read_toml
from tuti.systems.spark.engine import Frame, Session, col
from tuti.systems.spark.engine_spark import session
from tuti.systems.spark.query.arrow import Table, pa, pc, pq

WORKERS, MEMORY, FILES = 2, "2g", 4
"""Tasks at once and the cap of Spark and of our engine (pandas has neither), and files of the sales"""
Ways = tuple[Callable[[str], Any], Callable[[Any], Any]]
"""Of an engine: a table by its name; all rows computed"""

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WORDS = "Sugar tea Rice bread salt Milk oil figs Dates mint honey Plums walnuts saffron late paid gift of the"
NAMES: dict[str, Any] = {"col": col, "pa": pa, "zlib": zlib, "Path": Path, "mkdtemp": mkdtemp, "DAYS": DAYS}
"""What a program may name beside its tables; pandas and PySpark add their own"""


@dataclass(frozen=True)
class Idiom:
    """One thing that is done with tables, three times; each program is a Python expression."""

    name: str
    shape: str
    """Narrow (no row leaves its partition) or wide (rows are shuffled), and why"""
    pandas: str
    spark: str
    ours: str


_LISTED = read_toml(__file__, "idioms.toml")
IDIOMS = tuple(Idiom(**row) for row in _LISTED["idiom"])


@dataclass(frozen=True)
class Idioms:
    """Times twenty pandas idioms in pandas, PySpark and our engine."""

    rows: Annotated[int, Field(ge=100)] = 50_000
    """Sales to make the table of"""
    repeats: Annotated[int, Field(ge=1)] = 2
    """Timed runs of each program, of which the best counts"""


def idioms(config: Idioms) -> None:
    """For each idiom: milliseconds and megabytes of each engine, what is shuffled, and the programs."""
    if not (find_spec("pandas") and find_spec("pyspark")):
        what = "tuti spark idioms needs pandas and pyspark, which are not both installed"
        raise UserError(what, hint="pip install 'tuti[spark]'")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuti-idioms-")))
        write(folder, config.rows)
        engines = [stack.enter_context(Engine(name, folder)) for name in ENGINES]
        wait([engine.begun for engine in engines])  # none is measured while another starts
        print(f"{config.rows:,} rows in {FILES} parquet files")
        print(f"ms: best of {config.repeats}, reading included")
        print("MB: most at once above the start (Spark's JVM keeps much of what it once took)\n")
        print(" " * 36, *(f"{engine.name:>10} ms     MB" for engine in engines))
        for idiom in IDIOMS:
            print(f"{idiom.name:36}", *(measured(e, idiom, config.repeats) for e in engines))
            programs = (textwrap.indent(getattr(idiom, name), f"    {name:8}") for name in ENGINES)
            print(f"    {idiom.shape}", *programs, sep="\n", flush=True)


def write(folder: Path, rows: int) -> None:
    """The tables as parquet files."""
    for name, table in tables(rows).items():
        (folder / name).mkdir()
        step = -(-len(table) // (FILES if name == "t" else 1))
        for start in range(0, len(table), step):
            pq.write_table(table.slice(start, step), folder / name / f"{start:012}.parquet")


def measured(engine: "Engine", idiom: Idiom, repeats: int) -> str:
    """Milliseconds and megabytes."""
    _, peak = engine.ask(idiom, watched=True)  # the warm-up, too
    best = min(engine.ask(idiom, watched=False)[0] for _ in range(repeats))
    return f"{best * 1e3:13,.0f} {peak / 1e6:6,.0f}"


def _pandas(folder: Path) -> Ways:
    import pandas as pd

    NAMES["pd"] = pd
    return lambda name: pd.read_parquet(folder / name), lambda frame: frame


def _spark(folder: Path) -> Ways:
    spark = cast(Any, session(f"local[{WORKERS}]", MEMORY))
    NAMES["F"] = import_module("pyspark.sql.functions")
    spark.conf.set("spark.sql.shuffle.partitions", str(4 * WORKERS))  # as many as our engine has
    made = {name: spark.read.parquet(str(folder / name)) for name in ("t", "shops")}
    return made.__getitem__, lambda f: f.write.format("noop").mode("overwrite").save()


def _ours(folder: Path) -> Ways:
    ours = Session(executors=WORKERS, memory=MEMORY, folder=folder)
    made = {name: ours.parquet(sorted((folder / name).iterdir())) for name in ("t", "shops")}
    return made.__getitem__, lambda f: isinstance(f, Frame) and f.count()  # `take` gives a list


ENGINES = {"pandas": _pandas, "spark": _spark, "ours": _ours}


MADE: list[Ways] = []
"""In an engine's process, that engine"""


def begin(name: str, folder: Path) -> int:
    """In an engine's process: makes it ready; the process's number."""
    tempfile.tempdir = str(folder)
    MADE.append(ENGINES[name](folder))
    return os.getpid()


def evaluated(program: str, ways: Ways) -> Any:
    """What a program gives: a result of its engine, or the folder that it wrote."""
    read, _ = ways
    return eval(program, NAMES | {"t": read("t"), "shops": read("shops")})


def seconds(program: str) -> float:
    """The time that this process's engine takes to compute all rows of a program."""
    began = time.perf_counter()
    found = evaluated(program, MADE[0])
    if not isinstance(found, Path):
        _, force = MADE[0]
        force(found)
    return time.perf_counter() - began


class Engine(ProcessPoolExecutor):
    """An engine in a process of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(1, multiprocessing.get_context("spawn"))
        self.name, self.begun = name, self.submit(begin, name, folder)

    @cached_property
    def process(self) -> psutil.Process:
        """As soon as its engine is ready."""
        return psutil.Process(self.begun.result())

    @cached_property
    def at_start(self) -> int:
        """Bytes before the first program."""
        return self.held()

    def ask(self, idiom: Idiom, *, watched: bool) -> tuple[float, int]:
        """Seconds; and, if watched (which takes time), the bytes at most above those at the start."""
        try:
            peak = self.at_start
            told = self.submit(seconds, getattr(idiom, self.name))
            while watched and not wait([told], 0.02).done:
                peak = max(peak, self.held())
            return told.result(), peak - self.at_start
        except (BrokenProcessPool, psutil.NoSuchProcess):
            hint = "fewer --rows, if memory was short"
            raise UserError(f"the process of {self.name} died", hint) from None

    def held(self) -> int:
        """Bytes of its processes; pages that they share count once, where the system says so."""
        total = 0
        for process in (self.process, *self.process.children(recursive=True)):
            try:
                info = process.memory_full_info()
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile
                continue
            total += int(getattr(info, "pss", info.rss))
        return total


def tables(rows: int, seed: int = 0) -> dict[str, Table]:
    """Sales (`t`), most in few shops and some without item or price; and shops, of which not all sell."""
    draw = np.random.default_rng(seed)
    words = np.array(WORDS.split())[draw.integers(0, len(WORDS.split()), (rows, 5))]
    shop, item = (draw.integers(0, n, rows) ** 2 // n for n in (40, 500))  # the first ones most often
    sales = {
        "id": np.arange(rows),
        "shop": [f"shop-{n}" for n in shop.tolist()],
        "item": pa.array([f"item-{n}" for n in item.tolist()], mask=draw.random(rows) < 0.05),
        "day": np.array(DAYS)[draw.integers(0, 7, rows)],
        "amount": draw.integers(0, 1000, rows),
        "price": pa.array(draw.integers(1, 400, rows) / 4, mask=draw.random(rows) < 0.1),
        "note": pc.binary_join_element_wise(*map(pa.array, words.T), " "),
    }
    known = [{"shop": f"shop-{n}", "city": ("Shiraz", "Tabriz", "Yazd")[n % 3]} for n in range(0, 60, 2)]
    return {"t": pa.table(sales), "shops": pa.Table.from_pylist(known)}
