"""Which line of a PySpark program made a shuffle: what its log cannot tell, told by the program as it runs.

    python -m tuti.systems.spark.doctor.trail PROGRAM ARGUMENTS

Every frame of the program remembers the calls that it came from, each with its line. Before a call goes to
Spark, these become its call site, which Spark writes into the log beside the query.
"""

import functools
import inspect
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from traceback import walk_stack
from typing import Any, cast

Call = tuple[str, list[str], str]
"""A method, what it was given as text, FILE:LINE"""
KINDS = ("DataFrame", "GroupedData", "DataFrameWriter")
LATEST = 200
"""Calls of a frame that are remembered"""
WINDOW = "PARTITION BY"
GROUPS = ("groupBy", "groupby", "cube", "rollup", "distinct", "dropDuplicates", "drop_duplicates")
WIDE = {
    "REPARTITION": {"repartition", "repartitionByRange", "repartitionById", "sql"},
    "rangepartitioning": {"orderBy", "sort", "sql"},
    "hashpartitioning": {*GROUPS, "join", "intersect", "intersectAll", "subtract", "exceptAll", "sql"},
    "SinglePartition": {"agg", "count", "limit", "offset", "head", "take", "first", "show", "sql"},
}
"""What is written of an exchange → the methods that ask for it"""
_at_work: list[str] = []
"""The method that is at work, if one is: a method that calls others is one call"""


def made_by(trail: Sequence[Call], exchange: str) -> str:
    """The line of the call that asked for an exchange, or for a step that is no exchange; "": none did.

    Of several that could have, the one that names most of its columns, then the first.
    """
    kind = next((name for name in WIDE if name in exchange), "")
    wanted, words = WIDE.get(kind, set[str]()), _words([exchange])
    best, line = 0.0, ""
    for name, given, place in trail:
        shared = len(words & _words(given))
        asks = not kind or name in wanted or any(WINDOW in text for text in given)
        if asks and (score := shared + (0.5 if kind and name in wanted else 0)) > best:
            best, line = score, place
    return line


def read(details: str) -> list[Call]:
    """The calls in a call site, if they are there."""
    with suppress(ValueError):  # somebody else's call site
        return json.loads(details) if details.startswith('[["') else []
    return []


def _words(texts: Sequence[str]) -> set[str]:
    return set(re.findall(r"\w+", re.sub(r"#\d+L?", "", " ".join(texts))))


def _line() -> str:
    """FILE:LINE of the program's frame that is at work."""
    for frame, line in walk_stack(inspect.currentframe()):
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and not {"pyspark", "py4j"} & set(path.parts):
            return f"{path.name}:{line}"
    return ""


def _texts(values: Sequence[Any]) -> Iterator[str]:
    """What a call was given, as far as it names columns or counts."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _texts(cast("Sequence[Any]", value))
        elif isinstance(value, str | int):
            yield str(value)[:500]
        elif type(value).__name__ == "Column":
            yield str(value)[8:-2][:500]


def _wrapped(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; what it makes knows which calls it came from."""

    @functools.wraps(method)
    def call(this: Any, *given: Any, **named: Any) -> Any:
        if _at_work or not (line := _line()):
            return method(this, *given, **named)
        values = [*given, *named.values()]
        known: list[Any] = [getattr(v, "__dict__", {}) for v in (this, *values)]  # a frame has any attribute
        before = [one for about in known for one in about.get("_tuti_trail", [])]
        trail = [*before, (name, list(_texts(values)), line)][-LATEST:]
        _at_work.append(name)
        try:
            _say(f"{name} at {line}", json.dumps(trail))
            made = method(this, *given, **named)
        finally:
            _at_work.clear()
        if type(made).__name__ in KINDS:
            made._tuti_trail = trail
        return made

    return call


def watch() -> None:
    """Wraps the methods of PySpark's classes: from here on, calls are remembered."""
    from pyspark.sql import DataFrameWriter, SparkSession
    from pyspark.sql.classic.dataframe import DataFrame
    from pyspark.sql.group import GroupedData

    for kind in (DataFrame, GroupedData, DataFrameWriter):
        for name, found in list(vars(kind).items()):
            if name.startswith("_") or name in ("sparkSession", "schema", "columns", "dtypes"):
                continue
            if isinstance(found, property):
                setattr(kind, name, property(_wrapped(name, cast(Any, found.fget))))
            elif callable(found):
                setattr(kind, name, _wrapped(name, found))
    SparkSession.sql = _wrapped("sql", SparkSession.sql)


def _say(short: str, long: str) -> None:
    from pyspark import SparkContext

    if context := cast(Any, SparkContext)._active_spark_context:
        context.setLocalProperty("callSite.short", short)
        context.setLocalProperty("callSite.long", long)


def run_sql(path: Path) -> None:
    """Has Spark run each statement of a file; the line that it begins at is its call site."""
    from pyspark.sql import SparkSession

    spark, line = SparkSession.builder.getOrCreate(), 1
    for statement in path.read_text("utf-8").split(";"):
        begins = line + statement[: len(statement) - len(statement.lstrip())].count("\n")
        line += statement.count("\n")
        if statement.strip():
            _say(f"statement at {path.name}:{begins}", "")
            spark.sql(statement).write.format("noop").mode("overwrite").save()
    spark.stop()


def main() -> None:
    """Runs the program as itself."""
    program, sys.argv = sys.argv[1], sys.argv[1:]
    if program.endswith(".sql"):
        return run_sql(Path(program))
    if "pyspark" in Path(program).read_text(encoding="utf-8", errors="replace"):
        watch()
    sys.path[0] = str(Path(program).resolve().parent)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
