"""Random pipelines, each described once and built twice: with our frames and with PySpark's."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tuti.systems.spark.engine import Column, Frame, col

WORDS = ["گل", "بلبل", "sun", "moon", "", "می\u200cرود", None]


def tables(seed: int, rows: int = 400) -> dict[str, pa.Table]:
    """Two tables that share the columns k (few numbers, null) and w (few words, null)."""
    chance = random.Random(seed)

    def keys() -> dict[str, list[Any]]:
        return {
            "k": [chance.choice([*range(6), None]) for _ in range(rows)],
            "w": [chance.choice(WORDS) for _ in range(rows)],
        }

    whole = pa.schema([("k", pa.int64()), ("w", pa.string()), ("x", pa.int64()), ("y", pa.float64())])
    left = {**keys(), "x": [chance.randrange(-50, 50) for _ in range(rows)]}
    left["y"] = [chance.choice([chance.randrange(-8, 8) / 4, None]) for _ in range(rows)]
    other = pa.schema([("k", pa.int64()), ("w", pa.string()), ("z", pa.int64())])
    right = {**keys(), "z": [chance.randrange(9) for _ in range(rows)]}
    right = {name: values[:40] for name, values in right.items()}
    return {"left": pa.table(left, whole), "right": pa.table(right, other)}


@dataclass(frozen=True)
class Step:
    """What is done to a frame: the same in both systems."""

    name: str
    ours: Callable[[Frame], Frame]
    theirs: Callable[[Any], Any]
    """Of a PySpark DataFrame"""


def doubled(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Every row twice, run by our engine and by Spark's mapInArrow."""
    for batch in batches:
        yield batch
        yield batch


class Drawn:
    """A random pipeline over the two tables, of 2 to 6 steps."""

    def __init__(self, seed: int, left: tuple[Frame, Any], right: tuple[Frame, Any]) -> None:
        self.chance, self.right = random.Random(seed), right
        self.ours, self.theirs = left
        self.names: list[str] = []
        for _ in range(self.chance.randrange(2, 7)):
            step = self.draw()
            self.names.append(step.name)
            self.ours, self.theirs = step.ours(self.ours), step.theirs(self.theirs)

    def draw(self) -> Step:
        """A step that the present columns allow."""
        steps = [self.filter, self.select, self.group, self.distinct, self.sort, self.double, self.union]
        if {"k", "w"} & set(self.columns):
            steps += [self.join, self.join]
        return self.chance.choice(steps)()

    @property
    def columns(self) -> list[str]:
        return self.ours.node.schema.names

    def kind(self, name: str) -> Any:
        return self.ours.node.schema.field(name).type

    def numbers(self) -> list[str]:
        return [name for name in self.columns if self.kind(name) in (pa.int64(), pa.float64())]

    def condition(self) -> tuple[Column, str]:
        """An expression of ours, and the same in SQL."""
        name = self.chance.choice(self.columns)
        if self.chance.random() < 0.2:
            return ~col(name).is_null(), f"{name} is not null"
        if self.kind(name) == pa.string():
            word = self.chance.choice([w for w in WORDS if w])
            return col(name) != word, f"{name} != '{word}'"
        value = self.chance.randrange(-20, 20)
        return col(name) > value, f"{name} > {value}"

    def filter(self) -> Step:
        ours, theirs = self.condition()
        if self.chance.random() < 0.5:
            more, also = self.condition()
            either = self.chance.random() < 0.5
            ours = ours | more if either else ours & more
            theirs = f"{theirs} {'or' if either else 'and'} {also}"
        return Step(f"filter {theirs}", lambda f: f.filter(ours), lambda d: d.filter(theirs))

    def select(self) -> Step:
        kept = sorted(self.chance.sample(self.columns, self.chance.randrange(1, len(self.columns) + 1)))
        numbers = self.numbers()
        if not numbers:
            return Step(f"select {kept}", lambda f: f.select(*kept), lambda d: d.select(*kept))
        of, by, new = self.chance.choice(numbers), self.chance.randrange(1, 4), f"n{len(self.names)}"
        return Step(
            f"select {kept}, {of} * {by} + 1 as {new}",
            lambda f: f.select(*kept, **{new: col(of) * by + 1}),
            lambda d: d.selectExpr(*kept, f"{of} * {by}L + 1L as {new}"),
        )

    def group(self) -> Step:
        keys = sorted(self.chance.sample(self.columns, self.chance.randrange(0, min(3, len(self.columns)))))
        new = len(self.names)
        figures: dict[str, tuple[str, str | None]] = {f"rows{new}": ("count", None)}
        for number in range(self.chance.randrange(3)):
            how = self.chance.choice(["sum", "count", "min", "max", "mean"])
            named = self.columns if how in ("count", "min", "max") else self.numbers()
            if named:
                figures[f"{how}{new}{number}"] = (how, self.chance.choice(named))
        said = [
            f"{'avg' if how == 'mean' else how}({column or '*'}) as `{name}`"
            for name, (how, column) in figures.items()
        ]

        def theirs(frame: Any) -> Any:
            from pyspark.sql import functions as F

            return frame.groupBy(*keys).agg(*map(F.expr, said))

        return Step(f"group {keys}: {said}", lambda f: f.group_by(*keys).agg(**figures), theirs)

    def distinct(self) -> Step:
        return Step("distinct", lambda f: f.distinct(), lambda d: d.distinct())

    def sort(self) -> Step:
        names = self.chance.sample(self.columns, self.chance.randrange(1, min(3, len(self.columns)) + 1))
        down = self.chance.random() < 0.5
        return Step(
            f"sort {names}{' down' * down}",
            lambda f: f.sort(*names, down=down),
            lambda d: d.orderBy(*names, ascending=not down),
        )

    def double(self) -> Step:
        return Step(
            "double",
            lambda f: f.map_partitions(doubled, f.node.schema),
            lambda d: d.mapInArrow(doubled, d.schema),
        )

    def union(self) -> Step:
        return Step("union with itself", lambda f: f.union(f), lambda d: d.union(d))

    def join(self) -> Step:
        shared = [name for name in ("k", "w") if name in self.columns]
        on = sorted(self.chance.sample(shared, self.chance.randrange(1, len(shared) + 1)))
        how = self.chance.choice(["inner", "left", "semi", "anti"])
        ours, theirs = self.right
        new, kept = f"z{len(self.names)}", [*on, "z"]
        mine = ours.select(*on, **{new: col("z")})
        other = theirs.select(*kept).withColumnRenamed("z", new)
        return Step(
            f"join {how} on {on}",
            lambda f: f.join(mine, *on, how=how),
            lambda d: d.join(other, on, how),
        )
