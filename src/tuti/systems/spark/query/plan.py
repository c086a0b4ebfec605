"""What is asked for, before anything is computed: a tree of steps over columns of known types.

Narrow steps (scan, select, filter, map, union, cache) make a partition from a partition; wide ones (group,
join, sort) need rows from all of them. A wide step is planned as what is done before the shuffle, the
exchange, and what is done after it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, dataclass_transform

from tuti.systems.spark.query.arrow import Batch, Schema, pa
from tuti.systems.spark.query.expressions import Column, type_of

How = Literal["inner", "left", "semi", "anti"]
By = tuple[tuple[str, bool], ...]
"""Columns of an order, each with whether it descends"""
Function = Callable[[Iterator[Batch]], Iterator[Batch]]
"""From the batches of a partition to others"""


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
@dataclass(frozen=True, eq=False)
class Node:
    """A step, frozen; its rows have the columns of its (first) input unless it says otherwise."""

    inputs: tuple["Node", ...]
    line: str = field(default="", kw_only=True, repr=False)
    """The line of the program that asked for it"""
    made: Schema = field(default=None, kw_only=True, repr=False)
    """Its columns, where nothing below tells them"""
    shown: ClassVar[str] = ""
    """The step (0) in words, as a pattern for `format`"""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, eq=False)(cls)

    @cached_property
    def schema(self) -> Schema:
        return self.inputs[0].schema if self.made is None else self.made

    def __str__(self) -> str:
        return self.shown.format(self)


class Scan(Node):
    """Partitions from outside: `read(item, columns)` makes the batches of one, of the columns `made`."""

    items: tuple[Any, ...]
    read: Callable[[Any, Sequence[str]], Iterator[Batch]]
    label: str

    def __str__(self) -> str:
        return f"scan {self.label} [{', '.join(self.schema.names)}]"


class Select(Node):
    """New columns, each an expression over the old ones."""

    columns: tuple[tuple[str, Column], ...]

    @cached_property
    def schema(self) -> Schema:
        below = self.inputs[0].schema
        return pa.schema([(name, type_of(made, below)) for name, made in self.columns])

    def __str__(self) -> str:
        named = (n if str(made) == n else f"{made} as {n}" for n, made in self.columns)
        return f"select {', '.join(named)}"


class Filter(Node):
    """The rows for which a condition holds (not those for which it is unknown)."""

    condition: Column
    shown = "filter {0.condition}"


class Map(Node):
    """A function over the batches of a partition. The plan cannot see into it."""

    function: Function
    label: str
    by_row: bool = False
    """It calls Python for every row"""
    shown = "{0.label}"


class Union(Node):
    """The partitions of several frames, one after the other."""

    aligned: bool = False
    """Rows lie alike in all of them: the first partitions of each make the first partition, and so on"""

    def __str__(self) -> str:
        return f"union of {len(self.inputs)}" + ", partition by partition" * self.aligned


class Cache(Node):
    """Kept by the executors once it is computed, until the session ends."""

    name: str
    shown = "cache {0.name}"


class Measure(NamedTuple):
    """A figure of a group: sum, count, min, max or mean of a column (no column: rows are counted)."""

    name: str
    how: str
    column: str | None


class Group(Node):
    """One row for each group of equal keys; without measures, the distinct keys.

    With a `fold`, the values of the one measure are joined two at a time by that associative function.
    """

    keys: tuple[str, ...]
    measures: tuple[Measure, ...]
    fold: Callable[[Any, Any], Any] | None = None

    @cached_property
    def schema(self) -> Schema:
        below = self.inputs[0].schema
        kinds = [(m.name, _type_of_measure(m, below)) for m in self.measures]
        return pa.schema([*(below.field(key) for key in self.keys), *kinds])

    def __str__(self) -> str:
        figures = ", ".join(f"{m.how}({m.column or '*'})" for m in self.measures)
        return f"group by [{', '.join(self.keys)}]: {figures}" if figures else f"distinct {self.keys}"


def _type_of_measure(measure: Measure, schema: Schema) -> Any:
    kind = pa.int64() if measure.how == "count" else schema.field(measure.column).type
    if measure.how == "mean" or (measure.how == "sum" and pa.types.is_floating(kind)):
        return pa.float64()
    return pa.int64() if measure.how == "sum" else kind


class Join(Node):
    """Rows of two sides with equal keys, which stand first; null equals nothing."""

    on: tuple[str, ...]
    how: How

    @cached_property
    def schema(self) -> Schema:
        left, right = (side.schema for side in self.inputs)
        sides = [left, right] if self.how in ("inner", "left") else [left]
        others = [field for side in sides for field in side if field.name not in self.on]
        return pa.schema([*map(left.field, self.on), *others])

    def __str__(self) -> str:
        return f"join {self.how} on [{', '.join(self.on)}]"


class Sort(Node):
    """Partitions in order, and rows in order within; nulls count as the smallest."""

    by: By
    within: bool = False
    """Rows stay in their partitions"""

    def __str__(self) -> str:
        names = ", ".join(name + " ↓" * down for name, down in self.by)
        return f"sort {'within partitions ' * self.within}by {names}"


class Layout(NamedTuple):
    """How rows are spread over partitions: those with equal keys lie in one (no keys: all rows)."""

    keys: frozenset[str]
    by: By = ()
    """The order of which partitions are ranges, if they are"""

    def __str__(self) -> str:
        if self.by:
            return f"range of [{', '.join(name for name, _ in self.by)}]"
        return f"hash of [{', '.join(sorted(self.keys))}]" if self.keys else "all to one"


class Exchange(Node):
    """A shuffle into `count` partitions."""

    layout: Layout
    count: int
    asked: bool = False
    """Asked for as such, not needed by a step"""
    shown = "exchange by {0.layout} into {0.count}"


class Partial(Node):
    """Groups within a partition, before the shuffle: most of the work, and few rows left to move."""

    of: Group
    shown = "partly {0.of}"


class Final(Node):
    """Groups of groups."""

    of: Group
    shown = "{0.of}"


def drawn(node: Node, depth: int = 0) -> list[str]:
    """The tree, a step a line, what is read below what reads it."""
    below = [line for inner in node.inputs for line in drawn(inner, depth + 1)]
    return ["  " * depth + str(node), *below]
