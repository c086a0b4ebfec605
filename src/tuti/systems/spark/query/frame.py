"""Frames: rows that are described, not computed. Nothing runs until an action asks for them."""

import inspect
import uuid
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuti.run import UserError
from tuti.systems.spark.query import plan
from tuti.systems.spark.query.arrow import ArrowType, Batch, Schema, Table, ipc, pa, table_of
from tuti.systems.spark.query.expressions import Column, col, columns_of, type_of

if TYPE_CHECKING:
    from tuti.systems.spark.engine.session import Session

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Frame:
    """Rows that are described, not computed. Every method but the last five gives another frame."""

    session: "Session"
    node: plan.Node = field(repr=False)

    def over(self, node: plan.Node) -> "Frame":
        """The frame of a step over this one; the step remembers the FILE:LINE that asked for it."""
        frame, here = inspect.currentframe(), str(Path(__file__).parent)
        while frame is not None and frame.f_code.co_filename.startswith(here):
            frame = frame.f_back
        line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""
        return Frame(self.session, replace(node, line=line))

    def check_columns(self, *names: str) -> None:
        known = self.node.schema.names
        if missing := [name for name in names if name not in known]:
            raise UserError(f"there is no column {', '.join(missing)}", hint=f"there are {', '.join(known)}")

    def check_keys(self, *names: str) -> None:
        """Refuses columns by whose values rows cannot be brought together or in order."""
        self.check_columns(*names)
        for name in names:
            kind = self.node.schema.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind):
                what = f"{name} is {kind}, which is no key"
                raise UserError(what, hint="text, numbers, dates or truths are")

    def check_type(self, expression: Column) -> ArrowType:
        """The type of an expression; one that has no meaning for these columns is refused."""
        self.check_columns(*columns_of(expression))
        try:
            return type_of(expression, self.node.schema)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise UserError(f"{expression}: {error}", hint="compare like with like") from error

    def select(self, *names: str, **made: Column) -> "Frame":
        """These columns, and new ones from expressions."""
        self.check_columns(*names)
        for expression in made.values():
            self.check_type(expression)
        return self.over(plan.Select((self.node,), (*((n, col(n)) for n in names), *made.items())))

    def filter(self, condition: Column | Callable[[Row], bool]) -> "Frame":
        """Rows for which an expression, or a function of the row, holds."""
        if isinstance(condition, Column):
            if not pa.types.is_boolean(kind := self.check_type(condition)):
                raise UserError(f"{condition} is {kind}, no condition", hint="compare it: col(…) > 0")
            return self.over(plan.Filter((self.node,), condition))

        def keep(batches: Iterator[Batch]) -> Iterator[Batch]:
            for batch in batches:
                yield batch.filter(pa.array([bool(condition(row)) for row in batch.to_pylist()], pa.bool_()))

        return self.over(plan.Map((self.node,), keep, "filter by a function", True))

    def map_partitions(self, function: plan.Function, schema: Schema) -> "Frame":
        """A function from the batches of a partition to others."""
        label = f"map partitions by {getattr(function, '__name__', 'a function')}"
        return self.over(plan.Map((self.node,), function, label, made=schema))

    def flat_map(self, function: Callable[[Row], Iterable[Row]], schema: Schema) -> "Frame":
        """A function from a row to any number of rows."""

        def mapped(batches: Iterator[Batch]) -> Iterator[Batch]:
            for batch in batches:
                rows = [new for row in batch.to_pylist() for new in function(row)]
                if strange := sorted({name for row in rows for name in row} - set(schema.names)):
                    what = f"a row has {', '.join(strange)}, which the schema does not name"
                    raise UserError(what, hint=f"it names {', '.join(schema.names)}")
                yield from pa.Table.from_pylist(rows, schema).to_batches()

        label = f"map by {getattr(function, '__name__', 'a function')}"
        return self.over(plan.Map((self.node,), mapped, label, True, made=schema))

    def map(self, function: Callable[[Row], Row], schema: Schema) -> "Frame":
        """A function from row to row."""
        return self.flat_map(lambda row: [function(row)], schema)

    def group_by(self, *keys: str) -> "Groups":
        """Rows with equal keys together (without keys: all rows)."""
        self.check_keys(*keys)
        return Groups(self, keys)

    def reduce_by_key(self, key: str, value: str, function: Callable[[Any, Any], Any]) -> "Frame":
        """The values of each key, joined two at a time by an associative, commutative function."""
        self.check_keys(key)
        self.check_columns(value)
        return self.over(plan.Group((self.node,), (key,), (plan.Measure(value, "max", value),), function))

    def distinct(self) -> "Frame":
        """Each row once."""
        self.check_keys(*self.node.schema.names)
        return self.over(plan.Group((self.node,), tuple(self.node.schema.names), ()))

    def join(self, other: "Frame", *on: str, how: plan.How = "inner") -> "Frame":
        """Rows of both with equal keys; `semi`, `anti`: rows of this one with, without such others."""
        self.check_keys(*on)
        other.check_keys(*on)
        for name in on:
            here, there = (side.schema.field(name).type for side in (self.node, other.node))
            if here != there:
                what = f"{name} is {here} on one side and {there} on the other"
                raise UserError(what, hint="make them alike with select")
        both = sorted((set(self.node.schema.names) & set(other.node.schema.names)) - set(on))
        if both and how in ("inner", "left"):
            raise UserError(f"both sides have a column {', '.join(both)}", hint="rename one with select")
        return self.over(plan.Join((self.node, other.node), on, how))

    def sort(self, *names: str, down: bool | Container[str] = False, within: bool = False) -> "Frame":
        """All rows in order (`within`: those of each partition); `down`: all columns, or those named."""
        self.check_keys(*names)
        by = tuple((name, down if isinstance(down, bool) else name in down) for name in names)
        return self.over(plan.Sort((self.node,), by, within))

    def repartition(self, *keys: str, count: int = 0) -> "Frame":
        """Rows with equal keys in one partition of `count` (0: the session's number)."""
        self.check_keys(*keys)
        layout = plan.Layout(frozenset(keys))
        return self.over(plan.Exchange((self.node,), layout, count or self.session.partitions, True))

    def union(self, *others: "Frame") -> "Frame":
        """The rows of several frames with the same columns."""
        for other in others:
            if not other.node.schema.equals(self.node.schema):
                what = f"columns differ: {self.node.schema.names} and {other.node.schema.names}"
                raise UserError(what, hint="select the same columns in the same order")
        return self.over(plan.Union((self.node, *(other.node for other in others))))

    def cache(self) -> "Frame":
        """The same rows, kept by the executors once they have been computed."""
        return self.over(plan.Cache((self.node,), uuid.uuid4().hex))

    def batches(self, limit: int = -1) -> Iterator[Batch]:
        """All rows, or some more than so many, computed now and read from disk as they are asked for."""
        with self.session.run(self.node, "collect", limit) as job:
            for path in filter(Path.exists, map(job.result, range(job.last.tasks))):
                with pa.OSFile(str(path), "rb") as file, ipc.open_stream(file) as stream:
                    yield from stream

    def collect(self) -> Table:
        return table_of(list(self.batches()), self.node.schema)

    def count(self) -> int:
        with self.session.run(self.node, "count") as job:
            return sum(done["rows"] for done in job.report if done["what"] == "count")

    def take(self, count: int) -> list[Row]:
        """The first rows; no more partitions are computed than it takes, four times as many each time."""
        return table_of(list(self.batches(count)), self.node.schema).slice(0, count).to_pylist()

    def save(self, folder: Path) -> None:
        """Parquet files, one for each partition: all of them or, on any failure, none."""
        if folder.exists():
            raise UserError(f"{folder} exists", hint="name another folder, or remove it")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as refused:
            told = f"cannot write to {folder.parent}: {refused}"
            raise UserError(told, hint="name another folder") from refused
        with self.session.run(self.node, "save", beside=folder.parent) as job:
            job.results.rename(folder)


@dataclass(frozen=True)
class Groups:
    """Rows by their keys, on the way to a figure of each group."""

    frame: Frame
    keys: tuple[str, ...]

    def agg(self, **figures: tuple[str, str | None]) -> Frame:
        """`n=("count", None), most=("max", "size")`: sum, count, min, max or mean of a column."""
        below = self.frame.node.schema
        for name, (how, column) in figures.items():
            if how not in ("sum", "count", "min", "max", "mean"):
                raise UserError(f"{name} is to be a {how}", hint="sum, count, min, max or mean")
            if column is None and how != "count":
                raise UserError(f"{name}: a {how} of what?", hint=f'{name}=("{how}", "COLUMN")')
            self.frame.check_columns(*([column] if column else []))
            kind = below.field(column).type if column else pa.int64()
            numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            if how in ("sum", "mean") and not numeric:
                raise UserError(f"{name}: a {how} of {column}, which is {kind}", hint="numbers only")
        measures = tuple(plan.Measure(name, how, column) for name, (how, column) in figures.items())
        return self.frame.over(plan.Group((self.frame.node,), self.keys, measures))
