"""View `tuti spark idioms`: twenty pandas idioms in pandas, PySpark and our engine, with time and memory."""

import inspect
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from tuti.run import UserError
from tuti.systems.spark.idiom_engines import ENGINES, MEMORY, WORKERS, Engine
from tuti.systems.spark.idiom_table import IDIOMS, READING, Idiom, Program, tables
from tuti.systems.spark.query.arrow import Table, ipc, pa, pq

FILES = 4
"""Parquet files of the sales"""


@dataclass(frozen=True)
class Idioms:
    """Times twenty pandas idioms in pandas, PySpark and our engine, or shows their programs."""

    rows: Annotated[int, Field(ge=100)] = 200_000
    """Sales to make the table of"""
    repeats: Annotated[int, Field(ge=1)] = 3
    """Timed runs of each program, of which the best counts"""
    show: str = ""
    """Print the programs of the idioms that have this in their names, or of `all`, and time nothing"""


def idioms(config: Idioms) -> None:
    """Two lines for each idiom: milliseconds and megabytes of each engine, and what is shuffled."""
    if config.show:
        print("\n\n".join(map(shown, named(config.show))))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuti-idioms-")))
        write(folder, config.rows)
        started = [stack.enter_context(Engine(name, folder)) for name in ENGINES]
        engines = {engine: engine.why_not() for engine in started}
        ready = [engine for engine, why in engines.items() if not why]
        for idiom in IDIOMS:
            check(idiom, ready)
        for line in _table(config, engines):
            print(line, flush=True)


def named(words: str) -> list[Idiom]:
    """The idioms with these words in their names."""
    found = [idiom for idiom in IDIOMS if words == "all" or words in idiom.name]
    if not found:
        there = "; ".join(idiom.name for idiom in IDIOMS)
        raise UserError(f"no idiom has {words!r} in its name", hint=f"all, or some of: {there}")
    return found


def shown(idiom: Idiom) -> str:
    """The three programs, as they stand in the file that is run."""
    programs = [f"{name:8}{source(getattr(idiom, name))}" for name in ENGINES]
    return "\n".join([f"{idiom.name}: {idiom.shape}", *(textwrap.indent(text, "  ") for text in programs)])


def source(program: Program) -> str:
    """The expression that a program is."""
    return textwrap.dedent(inspect.getsource(program)).strip().rstrip(",").partition(": ")[2]


def write(folder: Path, rows: int) -> None:
    """The tables as parquet files."""
    for name, table in tables(rows).items():
        (folder / name).mkdir()
        step = -(-len(table) // (FILES if name == "t" else 1))
        for start in range(0, len(table), step):
            pq.write_table(table.slice(start, step), folder / name / f"{start:012}.parquet")


def check(idiom: Idiom, engines: Sequence[Engine]) -> None:
    """Refuses an idiom of which the engines make different rows."""
    first: Table = None
    for engine in engines:
        engine.ask("rows", idiom.name)
        with pa.OSFile(str(engine.rows)) as file:
            rows = ipc.open_file(file).read_all()
        first = rows if first is None else first
        if not same(first, rows):
            raise UserError(
                f"{idiom.name}: {engine.name} makes other rows than {engines[0].name}",
                hint="a bug of ours, or a version of pandas or pyspark that computes differently",
            )


def same(left: Table, right: Table) -> bool:
    """Equal rows; floats may differ by a billionth."""
    if left.schema != right.schema or len(left) != len(right):
        return False
    pairs = zip(left.columns, right.columns, strict=True)
    return all(
        a.equals(b)
        or (pa.types.is_floating(a.type) and np.allclose(a.to_numpy(), b.to_numpy(), 1e-9, 0, equal_nan=True))
        for a, b in pairs
    )


def _table(config: Idioms, engines: dict[Engine, str]) -> Iterator[str]:
    yield f"{config.rows:,} rows in {FILES} files; all results are equal; ms: best of {config.repeats}, reading in it"
    yield "MB: most at once above what the processes held before"
    yield " " * 36 + "".join(f"{engine.name:>12} ms     MB" for engine in engines)
    for idiom in (READING, *IDIOMS):
        print(f"\r{idiom.name:36}", end="\r", file=sys.stderr)
        cells = "".join(f"{'not installed' if why else _cell(e, idiom, config.repeats):>22}" for e, why in engines.items())
        yield f"{idiom.name:36}{cells}"
        yield f"    {idiom.shape}"
    for engine, why in engines.items():
        yield f"{engine.name}: {why}" if why else f"{engine.name}: its processes hold {engine.held() / 1e6:,.0f} MB at rest"


def _cell(engine: Engine, idiom: Idiom, repeats: int) -> str:
    _, peak = engine.ask("memory", idiom.name)  # also the warm-up
    best = min(engine.ask("time", idiom.name)[0] for _ in range(repeats))
    return f"{best * 1e3:,.0f} {peak / 1e6:6,.0f}"
