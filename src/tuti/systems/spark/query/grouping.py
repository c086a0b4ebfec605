"""How groups are figured: of rows, of figures of rows, and at last what was asked for.

A mean is kept as a sum and a count until the end, since means of means are wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuti.run import UserError
from tuti.systems.spark.query.arrow import Batch, Schema, Table, one_batch, pa, pc, table_of
from tuti.systems.spark.query.plan import Group

PARTIAL = {
    "sum": (("sum", "sum"),),
    "count": (("count", "sum"),),
    "min": (("min", "min"),),
    "max": (("max", "max"),),
    "mean": (("sum", "sum"), ("count", "sum")),
}
"""Of each measure: the figures kept of rows, and how figures of figures are made"""


@dataclass(frozen=True)
class Grouping:
    """Partial figures of rows (`begun`), of partial figures (`merged`), and what is asked for (`done`)."""

    keys: tuple[str, ...]
    figures: Schema
    begun: Callable[[Table], Table]
    merged: Callable[[Table], Table]
    done: Callable[[Table], Table]

    def merge(self, held: list[Batch]) -> list[Batch]:
        """Partial figures of what is held, as one batch."""
        return [one_batch(self.merged(table_of(held, self.figures)).to_batches(), self.figures)]


def grouping(node: Group) -> Grouping:
    """How a step groups."""
    if node.fold is not None and node.measures:
        return _folding(node, node.fold)
    keys, below = list(node.keys), node.inputs[0].schema
    fields = [below.field(key) for key in keys]
    first: list[Any] = []
    second: list[Any] = []
    for m in node.measures:
        for number, (how, again) in enumerate(PARTIAL[m.how]):
            kind = pa.int64() if how == "count" else node.schema.field(m.name).type
            fields.append(pa.field(f"{m.name}/{number}", kind))
            first.append(([], "count_all") if m.column is None else (m.column, how))
            second.append((f"{m.name}/{number}", again))
    figures = pa.schema(fields)

    def grouped(table: Table, wanted: list[Any]) -> Table:
        table = _roomy(table, {column for column, how in wanted if how == "sum"})
        found = table.group_by(keys, use_threads=False).aggregate(wanted)
        try:
            return found.rename_columns(figures.names).cast(figures)
        except pa.ArrowInvalid as error:
            hint = "sum a column times 1.0, if digits may be lost"
            raise UserError("a sum does not fit in 64 bits", hint) from error

    def done(table: Table) -> Table:
        columns = [table[key] for key in keys]
        for m in node.measures:
            total = table[f"{m.name}/0"]
            if m.how == "mean":
                rows = table[f"{m.name}/1"].cast(pa.float64())
                total = pc.divide(total, pc.if_else(pc.equal(rows, 0.0), pa.scalar(None, rows.type), rows))
            columns.append(pc.fill_null(total, 0) if m.how == "count" else total)
        return pa.table(columns, schema=node.schema)

    return Grouping(node.keys, figures, lambda t: grouped(t, first), lambda t: grouped(t, second), done)


def _roomy(table: Table, summed: set[str]) -> Table:
    """Whole numbers whose sum might not fit in 64 bits as decimals, which tell when it does not."""
    for number, name in enumerate(table.schema.names):
        if name in summed and pa.types.is_integer(table.schema.field(name).type):
            ends = pc.min_max(table[name]).as_py()
            most = max(abs(ends["min"] or 0), abs(ends["max"] or 0))
            if most * len(table) >= 2**63:
                table = table.set_column(number, name, table[name].cast(pa.decimal128(38, 0)))
    return table


def _folding(node: Group, fold: Callable[[Any, Any], Any]) -> Grouping:
    key, value = node.keys[0], node.measures[0]

    def folded(table: Table) -> Table:
        found: dict[Any, Any] = {}
        for name, item in zip(table[0].to_pylist(), table[1].to_pylist(), strict=True):
            found[name] = fold(found[name], item) if name in found else item
        return pa.table([list(found), list(found.values())], schema=node.schema)

    return Grouping(
        node.keys, node.schema, lambda t: folded(t.select([key, value.column])), folded, lambda t: t
    )
