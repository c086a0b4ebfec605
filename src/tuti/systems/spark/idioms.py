"""View `tuti spark idioms`: twenty pandas idioms in pandas, PySpark and our engine, with time and memory."""

import inspect
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tuti.run import UserError
from tuti.systems.spark.idiom_engines import ENGINES, Engine
from tuti.systems.spark.idiom_table import IDIOMS, READING, Idiom, Program, tables
from tuti.systems.spark.query.arrow import pq

FILES = 4
"""Parquet files of the sales"""
HEAD = """{rows:,} rows in {files} files. All results were equal, then each was computed whole and left where it is
ms: best of {repeats}, reading the files counted in   MB: most at once above what the processes held before
"""


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
        return print("\n\n".join(map(shown, named(config.show))))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuti-idioms-")))
        write(folder, config.rows)
        engines = [stack.enter_context(Engine(name, folder)) for name in ENGINES]
        for idiom in IDIOMS:
            print(f"\rchecked: {idiom.name:40}", end="\r", file=sys.stderr)
            check(idiom, engines)
        print(HEAD.format(rows=config.rows, files=FILES, repeats=config.repeats))
        print(" " * 36, *(f"{engine.name:>10} ms     MB" for engine in engines))
        for idiom in (READING, *IDIOMS):
            print(f"{idiom.name:36}", *(measured(e, idiom, config.repeats) for e in engines))
            print(f"    {idiom.shape}", flush=True)
        for e in engines:
            print(f"{e.name}:", e.absent or f"its processes hold {e.held() / 1e6:,.0f} MB at rest")


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
    """Refuses an idiom of which the engines make different rows (sums of this data are exact)."""
    results = {engine.name: engine.ask("rows", idiom.name)[0] for engine in engines if not engine.absent}
    first = next(iter(results))
    for name, rows in results.items():
        if not rows.equals(results[first]):
            raise UserError(
                f"{idiom.name}: {name} makes other rows than {first}",
                hint="a bug of ours, or a version of pandas or pyspark that computes otherwise",
            )


def measured(engine: Engine, idiom: Idiom, repeats: int) -> str:
    """Milliseconds and megabytes."""
    if engine.absent:
        return f"{'not installed':>20}"
    _, peak = engine.ask("memory", idiom.name)  # the warm-up, too
    best = min(engine.ask("time", idiom.name)[0] for _ in range(repeats))
    return f"{best * 1e3:13,.0f} {peak / 1e6:6,.0f}"
