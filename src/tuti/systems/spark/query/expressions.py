"""Expressions over columns: `col("n") * 2 > col("m")`. A plan can look into them, not into functions.

So a filter can be moved to where the rows come from, and columns that nobody reads are never carried.
Null is unknown, as in SQL: null & False is False. Whole numbers that overflow are an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partialmethod

from tuti.systems.spark.query.arrow import Array, ArrowType, Batch, Schema, one_batch, pa, pc

Constant = str | int | float | bool | None


@dataclass(frozen=True, eq=False)
class Column:
    """A column by its name, a constant, or one of Arrow's kernels over other expressions."""

    kernel: str
    arguments: tuple["Column", ...] = ()
    value: Constant = None

    def call(self, kernel: str, *others: "Column | Constant") -> "Column":
        return Column(kernel, (self, *(o if isinstance(o, Column) else lit(o) for o in others)))

    __add__ = partialmethod(call, "add_checked")
    __sub__ = partialmethod(call, "subtract_checked")
    __mul__ = partialmethod(call, "multiply_checked")
    __lt__ = partialmethod(call, "less")
    __gt__ = partialmethod(call, "greater")
    __le__ = partialmethod(call, "less_equal")
    __ge__ = partialmethod(call, "greater_equal")
    __and__ = partialmethod(call, "and_kleene")
    __or__ = partialmethod(call, "or_kleene")
    __eq__ = partialmethod(call, "equal")  # type: ignore[assignment]  # an expression, as in SQL
    __ne__ = partialmethod(call, "not_equal")  # type: ignore[assignment]
    __invert__ = partialmethod(call, "invert")
    is_null = partialmethod(call, "is_null")

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth of its own; write & | ~ for and, or, not")

    def __str__(self) -> str:
        if self.kernel in ("column", "literal"):
            return str(self.value) if self.kernel == "column" else repr(self.value)
        name = self.kernel.removesuffix("_checked").removesuffix("_kleene")
        parts = ", ".join(map(str, self.arguments))
        return f"{name}({parts})"


def col(name: str) -> Column:
    """The column of this name."""
    return Column("column", value=name)


def lit(value: Constant) -> Column:
    """The same value in every row."""
    return Column("literal", value=value)


def evaluate(expression: Column, batch: Batch) -> Array:
    """[rows] the expression's value for each row."""
    found = _value(expression, batch)
    return pa.repeat(found, batch.num_rows) if isinstance(found, pa.Scalar) else found


def _value(expression: Column, batch: Batch) -> Array:
    if expression.kernel == "column":
        return batch.column(expression.value)
    if expression.kernel == "literal":
        return pa.scalar(expression.value)
    return pc.call_function(expression.kernel, [_value(part, batch) for part in expression.arguments])


def type_of(expression: Column, schema: Schema) -> ArrowType:
    """The type of an expression's values."""
    return evaluate(expression, one_batch([], schema)).type


def columns_of(expression: Column) -> frozenset[str]:
    """The columns that an expression reads."""
    if expression.kernel == "column":
        return frozenset([str(expression.value)])
    return frozenset[str]().union(*map(columns_of, expression.arguments))


def substitute(expression: Column, by: Mapping[str, Column]) -> Column:
    """The expression with each column replaced by what it is made of."""
    if expression.kernel == "column":
        return by[str(expression.value)]
    parts = tuple(substitute(part, by) for part in expression.arguments)
    return Column(expression.kernel, parts, expression.value)


def conjuncts(expression: Column) -> list[Column]:
    """The parts of an expression that all must hold."""
    if expression.kernel == "and_kleene":
        return [part for side in expression.arguments for part in conjuncts(side)]
    return [expression]
